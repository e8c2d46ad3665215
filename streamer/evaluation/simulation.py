"""Live streams in audio time: what came out after how many received samples.

Owns the packets, the slots of streams that run side by side, and the clock that is none: the time
of an event is the number of samples its stream had accepted by then, so that it depends on neither
the machine nor the neighbours. Computing time is measured apart (`pace`). Must not know: texts,
measures.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer.audio import Samples
from streamer.core.context import SAMPLE_RATE, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final, Partial
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.recognizer import Model
from streamer.core.stream import Stream
from streamer.evaluation.manifest import Recording

PACKET_SAMPLES = SAMPLE_RATE // 50  # 20 ms, as telephones send
WARM_UP_STEPS = 2
Timed = tuple[float, Partial | Final]  # seconds of audio received, and what came out then
Progress = Callable[[float], object]  # takes seconds of audio that are done


@dataclass(slots=True)
class _Live:
    """One recording on its way through a slot."""

    index: int
    stream: Stream
    samples: Samples
    fed_samples: int = 0
    events: list[Timed] = field(default_factory=list)

    def feed(self) -> bool:
        """Packets until a window is ready; False when the stream is done."""
        while not self.stream.is_ready() and not self.stream.is_done:
            packet = self.samples[self.fed_samples : self.fed_samples + PACKET_SAMPLES]
            if len(packet):
                self.stream.accept_waveform(packet)
                self.fed_samples += len(packet)
            else:
                self.stream.input_finished()
            self.note()  # silence may end an utterance between two windows
        return not self.stream.is_done

    def note(self) -> None:
        """Keep what came out, with the time."""
        at_s = Grid.seconds(self.stream.received_samples)
        self.events += [
            (at_s, event)
            for event in self.stream.take_events()
            if isinstance(event, Partial | Final)
        ]


def pause_samples(model: Model, rules: EndpointRules) -> int:
    """Silence behind a recording in which the rules surely end its last utterance."""
    latency_s = model.context.latency_s(model.grid)
    return Grid.samples_in(max(rules.silence_s, rules.blank_s) + 2 * latency_s)


def simulate(
    model: Model,
    recordings: Sequence[Recording],
    rules: EndpointRules,
    progress: Progress = lambda seconds: None,
    options: DecodingOptions = DEFAULT_OPTIONS,
) -> list[list[Timed]]:
    """The events of each recording, streamed in packets of 20 ms and followed by silence.

    As many streams run side by side as the model has slots; a slot that is done takes the next
    recording. Raises AudioFileError for audio that cannot be read.
    """
    heard: list[list[Timed]] = [[] for _ in recordings]
    waiting = iter(enumerate(recordings))
    live: dict[int, _Live] = {}
    free = list(range(model.slots))
    while True:
        while free and (following := next(waiting, None)):
            live[free[-1]] = _begin(model, rules, *following, options)
            model.reset([free.pop()])
        if not live:
            return heard
        ready = [slot for slot in sorted(live) if live[slot].feed()]
        for slot in sorted(live.keys() - set(ready)):
            done = live.pop(slot)
            heard[done.index] = done.events
            progress(Grid.seconds(len(done.samples) - pause_samples(model, rules)))
            free.append(slot)
        if ready:
            windows = [live[slot].stream.next_window() for slot in ready]
            for slot, frames in zip(ready, model.run(ready, windows), strict=True):
                live[slot].stream.accept_frames(frames)
                live[slot].note()


def _begin(
    model: Model,
    rules: EndpointRules,
    index: int,
    recording: Recording,
    options: DecodingOptions = DEFAULT_OPTIONS,
) -> _Live:
    geometry = model.context, model.grid, model.labels
    stream = Stream(*geometry, rules, model.search, options=options)
    silence = np.zeros(pause_samples(model, rules), np.float32)
    return _Live(index, stream, np.concatenate([recording.samples(), silence]))


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
    model: Model, recordings: Sequence[Recording], rules: EndpointRules, audio_s: float
) -> Pace:
    """Run recordings one after the other in slot 0 for about `audio_s` seconds and time each step.

    The first steps only warm up. A step is everything between a ready window and its events.
    """
    steps_s: list[float] = []
    chunk_s = Grid.seconds(model.grid.samples(model.context.chunk))
    for step_s in _steps(model, recordings, rules):
        steps_s.append(step_s)
        if len(steps_s) * chunk_s >= audio_s:
            break
    kept = tuple(steps_s[WARM_UP_STEPS:] or steps_s)
    return Pace(kept, len(kept) * chunk_s)


def _steps(model: Model, recordings: Sequence[Recording], rules: EndpointRules) -> Iterator[float]:
    for index, recording in enumerate(recordings):
        model.reset([0])
        live = _begin(model, rules, index, recording)
        while live.feed():
            began = time.perf_counter()
            (frames,) = model.run([0], [live.stream.next_window()])
            live.stream.accept_frames(frames)
            live.note()
            yield time.perf_counter() - began
