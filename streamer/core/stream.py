"""One stream of audio, decoded: the sans-I/O heart.

Owns everything that is remembered about one audio source, and the order of its events. Samples go
in, windows come out; frames go in, events come out. Must not know: models, batches, tasks, clocks.
"""

from collections.abc import Sequence

from streamer.core import stream_state
from streamer.core.chunker import Waveform, Window, check_waveform
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch, Chunk, Decoded, supported
from streamer.core.decoding import DecoderSettings, InFlight, new_decoder
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Closed, Event, Flushed, Gap
from streamer.core.keywords import Phrase
from streamer.core.listener import check_keywords, heard_keywords
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.settings import Settings
from streamer.core.speech import Detector, Probabilities
from streamer.core.stream_state import StreamState
from streamer.core.text_rules import SPOKEN, TextRules
from streamer.core.timeline import Mark


class Stream:
    """The decoding state of one audio source.

    Feed it with `accept_waveform`, `flush`, `report_gap` and `input_finished`; while `is_ready()`,
    give `next_window()` to a model and its answer to `accept_frames`; any may leave events for
    `take_events`. How samples come in packets changes nothing, nor do `keywords` in the decoding;
    ValueError as by `check_keywords`. With a `detector` rules may have `vad`: what `take_unheard`
    gives before a window it judges, and `accept_verdict` is told before that window's frames are.
    """

    def __init__(
        self,
        context: Context,
        grid: Grid,
        labels: Labels,
        endpoint: EndpointRules = DEFAULT_RULES,
        search: BeamSearch | None = None,  # greedy
        text: TextRules = SPOKEN,
        keywords: Sequence[Phrase] = (),
        options: DecodingOptions = DEFAULT_OPTIONS,
        detector: Detector | None = None,
    ) -> None:
        self._context, self._grid, self._detector = context, grid, detector
        self._labels, self._search = labels, search
        self._chunk_samples = grid.samples(context.chunk)
        check_keywords(keywords, labels, text)
        self._settings = Settings(endpoint, supported(search, options)[0], text, tuple(keywords))
        self.reset()

    def reset(self) -> None:
        """Forget everything but the configuration: a new stream begins."""
        made_of = self._context, self._grid, self._labels, self._settings, self._detector
        self._state = stream_state.begin(*made_of)

    # --- audio in ---------------------------------------------------------------------------------

    def accept_waveform(self, samples: Waveform) -> None:
        """Take float32 (S,) samples in [-1, 1] at 16 kHz, S >= 0; ValueError for anything else."""
        state = self._open_state("accept_waveform")
        check_waveform(samples)
        state.chunker.append(samples)
        state.timeline.received += len(samples)
        if state.speech:
            state.speech.accept(samples)
        if state.chunker.is_ready():
            self._measure()  # no window goes out unmeasured; now they are in the processor's cache
        self._look_ahead()

    def flush(self, id: str = "") -> None:  # noqa: A002 (the wire's name)
        """Finalise what was received so far, then say `Flushed(id)`, and go on."""
        self._mark(Mark(self._open_state("flush").timeline.received, "flush", id=id))

    def report_gap(self, duration: int) -> None:
        """`duration` samples were lost here: the stream's clock moves on, as over silence."""
        if duration < 1:
            raise ValueError(f"expected a gap of at least 1 sample, got {duration}")
        at = self._open_state("report_gap").timeline.received
        self._mark(Mark(at, "gap", lost_samples=duration))

    def input_finished(self) -> None:
        """No more samples will come: finalise, then say `Closed`. Again: no effect."""
        if not self._state.is_finished:
            self._mark(Mark(self.received_samples, "end"))
            self._state.is_finished = True

    def configure(
        self,
        endpoint: EndpointRules,
        options: DecodingOptions | None = None,
        text: TextRules | None = None,
        keywords: Sequence[Phrase] | None = None,
    ) -> int:
        """Other settings (None: as they are) for what comes behind the samples so far.

        Returns their number, and the settings hold from there, however much is decoded: options and
        keywords for frames that begin there or later, masks for words, written form for last words.
        Options that are not `supported` are ignored. ValueError as `check_configure`.
        """
        self.check_configure(text, keywords)
        state, timeline = self._state, self._state.timeline
        at, clock = timeline.received, timeline.clock_received
        options = options and supported(self._search, options)[0]
        self._settings = self._settings.changed(endpoint, options, text, keywords)
        if state.speech and endpoint.vad:
            state.speech.turn_on(clock)
        state.changes.add(at, self._settings)
        state.transcript.configure(clock, self._settings)
        return at

    def check_configure(
        self, text: TextRules | None = None, keywords: Sequence[Phrase] | None = None
    ) -> None:
        """Raise ValueError for keywords as `check_keywords` does, and for too many changes."""
        asked = self._settings.changed(text=text, keywords=keywords)
        if asked != self._settings:
            check_keywords(asked.keywords, self._labels, asked.text)
        self._state.changes.check_room(self._state.timeline.received)
        self._state.transcript.check_room(asked.text)

    @property
    def options(self) -> DecodingOptions:
        """What holds for the samples to come."""
        return self._settings.options

    def unsupported(self, options: DecodingOptions) -> list[str]:
        """The names of the options that this stream would ignore."""
        return supported(self._search, options)[1]

    # --- windows and samples out, frames and verdicts in ------------------------------------------

    def is_ready(self) -> bool:
        """Whether `next_windows` may be called: a window is ready and none is in flight."""
        return not self._state.in_flight and self._state.chunker.is_ready()

    def is_behind(self) -> bool:
        """Whether a window is ready or in flight."""
        return bool(self._state.in_flight or self._state.chunker.is_ready())

    @property
    def ready_windows(self) -> int:
        """Windows whose samples are all there, those in flight not counted."""
        return self._state.chunker.ready_windows

    def next_window(self) -> Window:
        """The next window; its frames must come back before the next one is taken."""
        return self.next_windows(1)[0]

    def next_windows(self, most: int) -> list[Window]:
        """The next one and those behind it up to a mark, at most `most`; then as `next_window`."""
        state = self._state
        assert not state.in_flight, ("a window is in flight", state.in_flight[0].window)
        for window in state.chunker.next_windows(most):
            # Behind any other chunk there is audio already, so no mark can lie there.
            may_end = state.timeline.known_end <= self._end(window)
            changes = state.changes.due(window, self._grid)
            if state.listens_within(changes):
                window = window._replace(wants_all=True)
            state.in_flight.append(InFlight(window, changes, state.begins, may_end))
            state.begins = False
        return [each.window for each in state.in_flight]

    def take_unheard(self) -> Waveform | None:
        """What the detector is to judge next, with context; None if there is nothing."""
        return None if self._state.speech is None else self._state.speech.take_unheard()

    def wants_verdict(self) -> bool:
        """Whether a verdict on what is unheard may end the utterance before a window is ready."""
        state = self._state
        is_on = state.speech is not None and state.speech.is_on
        return is_on and state.transcript.wants_verdict(state.timeline.ahead(self._chunk_samples))

    def accept_verdict(self, probabilities: Probabilities) -> None:
        """The detector's answer to the oldest samples taken."""
        assert self._state.speech is not None, "no detector was asked"
        self._state.speech.accept_verdict(probabilities)
        self._look_ahead()

    def accept_frames(self, frames: Frames) -> None:
        """Fold in the frames of the window in flight, the first one of several."""
        self.accept_decoded(self.decode(frames))

    def decode(self, frames: Frames, index: int = 0) -> Decoded:
        """The first half of `accept_frames`; another thread may call this, and `chunk`."""
        if self._state.decoder is None:
            self._state.decoder = new_decoder(self._search, self._state.settings)
        return self._state.decoder.decode(self.chunk(frames, index))

    def chunk(self, frames: Frames, index: int = 0) -> Chunk:
        """The frames of the window in flight, by the index of several, as a decoder takes them."""
        assert index < len(self._state.in_flight), (index, "windows are in flight")
        return self._state.in_flight[index].chunk(frames)

    @property
    def decoder_settings(self) -> DecoderSettings:
        """What `new_decoder` makes of these does with every `chunk` what `decode` does."""
        return self._state.settings

    def accept_decoded(self, decoded: Decoded) -> None:
        """The second half of `accept_frames`."""
        state = self._state
        assert state.in_flight, "no window is in flight"
        state.ending, window = decoded.ending, state.in_flight.popleft().window
        state.timeline.decoded = min(self._end(window), state.timeline.known_end)
        self._settle(decoded)
        state.transcript.pass_decoded(decoded.open_tokens)
        ends_segment = self._pass_marks()
        if not state.is_done:
            state.transcript.show([] if ends_segment else decoded.upcoming)
            self._look_ahead()

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        return self._state.transcript.take_events()

    @property
    def is_done(self) -> bool:
        """Whether `Closed` was said."""
        return self._state.is_done

    @property
    def received_samples(self) -> int:
        """Samples accepted so far."""
        return self._state.timeline.received

    @property
    def pending_samples(self) -> int:
        """Samples accepted but not yet decoded."""
        return self._state.timeline.received - self._state.timeline.decoded

    def _open_state(self, caller: str) -> StreamState:
        if self._state.is_finished:
            raise ValueError(f"expected no {caller} after input_finished")
        return self._state

    def _end(self, window: Window) -> int:
        return window.start_sample + self._grid.samples(window.chunk)  # behind its chunk

    def _settle(self, decoded: Decoded) -> None:
        if decoded.spotted:
            self._state.transcript.say(*heard_keywords(decoded.spotted, self._state.timeline))
        self._state.transcript.settle(decoded)

    def _mark(self, mark: Mark) -> None:
        state = self._state
        self._measure()
        state.loudness.measure(state.chunker.flush())
        self._look_ahead()
        state.timeline.marks.append(mark)
        if mark.what == "gap":
            state.loudness.skip(mark.lost_samples)
            if state.speech:
                state.speech.skip(mark.lost_samples)
        self._pass_marks()

    def _measure(self) -> int:
        """Measure the loudness of what was received, at any moment; returns how far it is known."""
        return self._state.loudness.measure(self._state.chunker.new_frames())

    def _look_ahead(self) -> None:
        """End the utterance by the quiet of the next chunk, or of less where its segment ends.

        Of no more, though it may be there: so the time at which audio arrives changes nothing.
        """
        state, transcript = self._state, self._state.transcript
        if transcript.awaits_silence or (state.speech and state.speech.is_on):
            until = state.timeline.ahead(self._chunk_samples)
            transcript.look_ahead(until, self._measure, state.speech)

    def _pass_marks(self) -> bool:
        """Let happen what waits for the samples decoded by now; whether there was anything."""
        state, seconds = self._state, self._grid.seconds
        timeline, transcript, passed = state.timeline, state.transcript, False
        while mark := timeline.passed_mark():
            passed = True
            if not state.begins:
                assert state.ending is not None, (mark, timeline.decoded)
                self._settle(state.ending)
                state.begins = True
            timeline.marks.popleft()
            now = mark.at + timeline.lost
            transcript.advance(now, at_mark=True)
            if mark.what == "gap":
                transcript.say(Gap(seconds(now), seconds(mark.lost_samples)))
                timeline.lost += mark.lost_samples
                transcript.advance(now + mark.lost_samples)
            else:
                transcript.end(now, mark.what)
            if mark.what == "flush":
                transcript.say(Flushed(mark.id))
            elif mark.what == "end":
                transcript.say(Closed(timeline.received, transcript.utterances))
                state.is_done = True
            timeline.origin = mark.at + timeline.lost
        return passed
