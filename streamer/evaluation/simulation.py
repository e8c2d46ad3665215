"""Live streams in audio time: what came out after how many received samples.

Owns the packets, the slots of streams that run side by side, and the clock that is none: the time
of an event is the number of samples its stream had accepted by then, so that it depends on neither
the machine nor the neighbours. Computing time is measured apart (`pace`). One pass of the network
serves any number of ways to decode its frames. Must not know: texts, measures.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer.audio import Samples
from streamer.core.chunker import Window
from streamer.core.context import SAMPLE_RATE, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Final, Partial
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.recognizer import Model
from streamer.core.speech import Detector, Probabilities
from streamer.core.stream import Stream
from streamer.evaluation.manifest import Recording

PACKET_SAMPLES = SAMPLE_RATE // 50  # 20 ms, as telephones send
WARM_UP_STEPS = 2
Timed = tuple[float, Partial | Final]  # seconds of audio received, and what came out then
Progress = Callable[[float], object]  # takes seconds of audio that are done


def no_options(recording: Recording) -> DecodingOptions:
    """What a recording's stream asks of its decoding, where all ask for nothing."""
    return DEFAULT_OPTIONS


@dataclass(frozen=True, slots=True)
class Way:
    """One way to decode a network's frames: with these labels and this search, as asked."""

    labels: Labels
    search: BeamSearch | None
    options: Callable[[Recording], DecodingOptions] = no_options

    @staticmethod
    def of(model: Model, options: Callable[[Recording], DecodingOptions] = no_options) -> "Way":
        """The way of the model itself."""
        return Way(model.labels, model.search, options)


@dataclass(slots=True)
class Heard:
    """What one way heard: the events of each recording, and its computing beside the network's."""

    events: list[list[Timed]]
    computing_s: float = 0.0


@dataclass(slots=True)
class _Listener:
    """One way to decode a recording on its way through a slot."""

    stream: Stream
    events: list[Timed] = field(default_factory=list)
    computing_s: float = 0.0

    def feed(self, packet: Samples) -> None:
        """Take a packet; an empty one is the end."""
        began = time.perf_counter()
        if len(packet):
            self.stream.accept_waveform(packet)
        else:
            self.stream.input_finished()
        self._note(began)  # silence may end an utterance between two windows

    def accept(self, frames: Frames) -> None:
        """Take the frames of the window in flight."""
        began = time.perf_counter()
        self.stream.accept_frames(frames)
        self._note(began)

    def accept_verdict(self, verdict: Probabilities) -> None:
        """Take what the detector says of what was unheard."""
        began = time.perf_counter()
        self.stream.accept_verdict(verdict)
        self._note(began)

    def _note(self, began: float) -> None:
        """Keep what came out, with the time."""
        at_s = Grid.seconds(self.stream.received_samples)
        self.events += [
            (at_s, event)
            for event in self.stream.take_events()
            if isinstance(event, Partial | Final)
        ]
        self.computing_s += time.perf_counter() - began


@dataclass(slots=True)
class _Live:
    """One recording on its way through a slot; its listeners hear the same, at the same time."""

    index: int
    slot: int
    detector: Detector | None
    listeners: list[_Listener]
    samples: Samples
    fed_samples: int = 0

    def feed(self) -> bool:
        """Packets until a window is ready; False when the streams are done."""
        stream = self.listeners[0].stream
        while not stream.is_ready() and not stream.is_done:
            packet = self.samples[self.fed_samples : self.fed_samples + PACKET_SAMPLES]
            self.fed_samples += len(packet)
            for each in self.listeners:
                each.feed(packet)
            if any(each.stream.wants_verdict() for each in self.listeners):
                self.judge()
        return not stream.is_done

    def judge(self) -> None:
        """Let the detector hear what the streams have for it, which is the same for all."""
        unheard, *_ = [each.stream.take_unheard() for each in self.listeners]
        if unheard is not None and self.detector is not None:
            (verdict,) = self.detector.detect([self.slot], [unheard])
            for each in self.listeners:
                each.accept_verdict(verdict)

    def next_window(self) -> Window:
        """The next one: decoding has no part in how a stream is cut."""
        window, *others = (each.stream.next_window() for each in self.listeners)
        for other in others:
            assert (other.start_sample, other.chunk) == (window.start_sample, window.chunk), other
        return window

    def accept(self, frames: Frames) -> None:
        """The window's frames, for every listener."""
        for each in self.listeners:
            each.accept(frames)


def pause_samples(model: Model, rules: EndpointRules) -> int:
    """Silence behind a recording in which the rules surely end its last utterance."""
    latency_s = model.context.latency_s(model.grid)
    return Grid.samples_in(max(rules.silence_s, rules.blank_s) + 2 * latency_s)


def simulate(
    model: Model,
    recordings: Sequence[Recording],
    rules: EndpointRules,
    progress: Progress = lambda seconds: None,
    ways: Sequence[Way] = (),
) -> list[Heard]:
    """What each way (none: the model's own) hears in each recording.

    Recordings are streamed in packets of 20 ms and followed by silence, as many side by side as the
    model has slots; a slot that is done takes the next one. Raises AudioFileError for audio that
    cannot be read.
    """
    ways = ways or [Way.of(model)]
    heard = [Heard([[] for _ in recordings]) for _ in ways]
    waiting = iter(enumerate(recordings))
    live: dict[int, _Live] = {}
    free = list(range(model.slots))
    while True:
        while free and (following := next(waiting, None)):
            slot = free.pop()
            live[slot] = _begin(model, slot, rules, *following, ways)
        if not live:
            return heard
        ready = [slot for slot in sorted(live) if live[slot].feed()]
        for slot in sorted(live.keys() - set(ready)):
            done = live.pop(slot)
            for each, listener in zip(heard, done.listeners, strict=True):
                each.events[done.index] = listener.events
                each.computing_s += listener.computing_s
            progress(Grid.seconds(len(done.samples) - pause_samples(model, rules)))
            free.append(slot)
        if ready:
            for slot in ready:
                live[slot].judge()
            windows = [live[slot].next_window() for slot in ready]
            for slot, frames in zip(ready, model.run(ready, windows), strict=True):
                live[slot].accept(frames)


def _begin(
    model: Model,
    slot: int,
    rules: EndpointRules,
    index: int,
    recording: Recording,
    ways: Sequence[Way],
) -> _Live:
    detector = model.detector

    def listener(way: Way) -> _Listener:
        geometry, options = (model.context, model.grid, way.labels), way.options(recording)
        stream = Stream(*geometry, rules, way.search, options=options, detector=detector)
        return _Listener(stream)

    silence = np.zeros(pause_samples(model, rules), np.float32)
    samples = np.concatenate([recording.samples(), silence])
    model.reset([slot])
    return _Live(index, slot, detector, [listener(way) for way in ways], samples)


@dataclass(frozen=True, slots=True)
class Pace:
    """Computing seconds of each step of one stream alone, and the audio they were for."""

    steps_s: tuple[float, ...]
    audio_s: float

    @property
    def real_time_factor(self) -> float:
        """Computing time per second of audio."""
        return sum(self.steps_s) / self.audio_s


def pace(
    model: Model,
    recordings: Sequence[Recording],
    rules: EndpointRules,
    audio_s: float,
    options: Callable[[Recording], DecodingOptions] = no_options,
) -> Pace:
    """Run recordings one after the other in slot 0 for about `audio_s` seconds and time each step.

    The first steps only warm up. A step is everything between a ready window and its events.
    """
    steps_s: list[float] = []
    chunk_s = Grid.seconds(model.grid.samples(model.context.chunk))
    for step_s in _steps(model, recordings, rules, Way.of(model, options)):
        steps_s.append(step_s)
        if len(steps_s) * chunk_s >= audio_s:
            break
    kept = tuple(steps_s[WARM_UP_STEPS:] or steps_s)
    return Pace(kept, len(kept) * chunk_s)


def _steps(
    model: Model, recordings: Sequence[Recording], rules: EndpointRules, way: Way
) -> Iterator[float]:
    for index, recording in enumerate(recordings):
        live = _begin(model, 0, rules, index, recording, [way])
        while live.feed():
            began = time.perf_counter()
            live.judge()
            (frames,) = model.run([0], [live.next_window()])
            live.accept(frames)
            yield time.perf_counter() - began
