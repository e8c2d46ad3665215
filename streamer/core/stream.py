"""One stream of audio, decoded: the sans-I/O heart.

Owns everything that is remembered about one audio source, and the order of its events. Samples go
in, windows come out; frames go in, events come out. Must not know: models, batches, tasks, clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamer.core.changes import Changes
from streamer.core.chunker import Chunker, Waveform, Window, check_waveform
from streamer.core.context import Context, Grid
from streamer.core.decoder import (
    BeamDecoder,
    BeamSearch,
    Change,
    Decoded,
    Decoder,
    GreedyDecoder,
    supported,
)
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Closed, Event, Flushed, Gap
from streamer.core.keywords import Phrase
from streamer.core.listener import KeywordListener, check_keywords
from streamer.core.loudness import LoudnessMeter
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.text_rules import SPOKEN, TextRules
from streamer.core.timeline import Mark, Timeline
from streamer.core.transcript import Transcript
from streamer.core.utterance import Utterance


@dataclass(slots=True)
class _State:
    """All that `reset` forgets."""

    timeline: Timeline
    chunker: Chunker
    loudness: LoudnessMeter
    transcript: Transcript
    decoder: Decoder
    listener: KeywordListener
    in_flight: Window | None = None
    in_flight_changes: list[Change] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)  # later ones
    is_finished: bool = False
    is_done: bool = False


class Stream:
    """The decoding state of one audio source.

    Feed it with `accept_waveform`, `flush`, `report_gap` and `input_finished`; while `is_ready()`,
    give `next_window()` to a model and its answer to `accept_frames`; any of these may leave
    events for `take_events`. What is said depends on the samples and on where the flushes, gaps
    and changes lie between them, not on the size of the packets.

    `keywords` change nothing in the decoding; ValueError as by `check_keywords`.
    """

    def __init__(
        self,
        context: Context,
        grid: Grid,
        labels: Labels,
        endpoint: EndpointRules = DEFAULT_RULES,
        search: BeamSearch | None = None,
        text: TextRules = SPOKEN,
        keywords: Sequence[Phrase] = (),
        options: DecodingOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._context, self._grid = context, grid
        self._chunk_samples = grid.samples(context.chunk)
        self._labels, self._endpoint = labels, endpoint
        self._search = search  # None: greedy
        self._text, self._keywords = text, tuple(keywords)
        check_keywords(self._keywords, labels, text)
        self._options, _ = supported(search, options)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the configuration: a new stream begins."""
        timeline = Timeline(
            self._grid,
            start_delay=self._grid.samples_in(self._labels.word_start_delay_ms / 1000),
            end_delay=self._grid.samples_in(self._labels.word_end_delay_ms / 1000),
        )
        loudness = LoudnessMeter(self._grid)
        utterance = Utterance(self._endpoint, loudness)
        transcript = Transcript(self._labels, timeline, utterance, self._text, self._options)
        chunker = Chunker(self._context, self._grid)
        heard_by = self._new_decoder(), KeywordListener(self._keywords, self._labels, self._grid)
        self._state = _State(timeline, chunker, loudness, transcript, *heard_by)

    def _new_decoder(self) -> Decoder:
        if self._search is None:
            return GreedyDecoder(self._labels)
        return BeamDecoder(self._search, self._labels, self._grid, self._endpoint, self._options)

    # --- audio in ---------------------------------------------------------------------------------

    def accept_waveform(self, samples: Waveform) -> None:
        """Take float32 (S,) samples in [-1, 1] at 16 kHz, S >= 0; ValueError for anything else."""
        state = self._open_state("accept_waveform")
        check_waveform(samples)
        state.chunker.append(samples)
        state.loudness.accept(samples)
        state.timeline.received += len(samples)
        self._look_ahead()

    def flush(self, id: str = "") -> None:  # noqa: A002 (the wire's name)
        """Finalise what was received so far, then say `Flushed(id)`, and go on."""
        self._mark(Mark(self._open_state("flush").timeline.received, "flush", id=id))

    def report_gap(self, duration: int) -> None:
        """`duration` samples were lost here: the stream's clock moves on, as over silence."""
        if duration < 1:
            raise ValueError(f"expected a gap of at least 1 sample, got {duration}")
        received = self._open_state("report_gap").timeline.received
        self._mark(Mark(received, "gap", lost_samples=duration))

    def input_finished(self) -> None:
        """No more samples will come: finalise, then say `Closed`. Again: no effect."""
        if not self._state.is_finished:
            self._mark(Mark(self.received_samples, "end"))
            self._state.is_finished = True

    def configure(self, endpoint: EndpointRules, options: DecodingOptions | None = None) -> int:
        """Other settings (`options` None: as they are) for what comes behind the samples so far.

        Returns their number, and the settings hold from exactly there: endpoint rules from that
        sample, options from the first frame that begins at it or behind it. So it makes no
        difference how much of the samples is decoded. Options that are not `supported` are
        ignored. Raises ValueError where `Changes` is full.
        """
        state, at = self._state, self._state.timeline.received
        state.changes.check_room(at)
        if options is not None:
            self._options, _ = supported(self._search, options)
        self._endpoint = endpoint
        state.changes.add(at, endpoint, self._options)
        state.transcript.configure(state.timeline.clock_received, endpoint, self._options)
        return at

    def check_configure(self) -> None:
        """Raise ValueError where `configure` would."""
        self._state.changes.check_room(self._state.timeline.received)

    @property
    def options(self) -> DecodingOptions:
        """What holds for the samples to come."""
        return self._options

    def unsupported(self, options: DecodingOptions) -> list[str]:
        """The names of the options that this stream would ignore."""
        return supported(self._search, options)[1]

    # --- windows out, frames in -------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether `next_window` may be called: a window is ready and none is in flight."""
        return self._state.in_flight is None and self._state.chunker.is_ready()

    @property
    def ready_windows(self) -> int:
        """Windows whose samples are all there, the one in flight not counted."""
        return self._state.chunker.ready_windows

    def next_window(self) -> Window:
        """The next window; its frames must come back before the next one is taken."""
        state = self._state
        assert state.in_flight is None, ("a window is in flight", state.in_flight.start_sample)
        state.in_flight = state.listener.asked_for(state.chunker.next_window())
        state.in_flight_changes = state.changes.due(state.in_flight, self._grid)
        return state.in_flight

    def accept_frames(self, frames: Frames) -> None:
        """Fold in the frames of the window in flight."""
        self.accept_decoded(self.decode(frames))

    def decode(self, frames: Frames) -> Decoded:
        """The first half of `accept_frames`: the only call that another thread may make."""
        window, changes = self._state.in_flight, self._state.in_flight_changes
        assert window is not None, "no window is in flight"
        ahead, end = window.left + window.chunk, window.left + window.chunk + window.right
        assert frames.token_ids.shape == frames.log_probs.shape == (end,), (frames, end)
        chunk, lookahead = frames.part(window.left, ahead), frames.part(ahead, end)
        decoded = self._state.decoder.decode(chunk, lookahead, changes)
        return self._state.listener.heard(decoded, chunk)

    def accept_decoded(self, decoded: Decoded) -> None:
        """The second half of `accept_frames`."""
        state = self._state
        window = state.in_flight
        assert window is not None, "no window is in flight"
        state.in_flight = None
        state.loudness.measure()
        chunk_end = window.start_sample + self._grid.samples(window.chunk)
        state.timeline.decoded = min(chunk_end, state.timeline.known_end)
        state.transcript.say(*state.listener.events(decoded.spotted, state.timeline))
        state.transcript.settle(decoded)
        state.transcript.pass_decoded(decoded.open_tokens)
        ends_segment = self._pass_marks()
        if not state.is_done:
            state.transcript.show([] if ends_segment else decoded.upcoming)
            self._look_ahead()

    # --- events out -------------------------------------------------------------------------------

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

    # --- inside -----------------------------------------------------------------------------------

    def _open_state(self, caller: str) -> _State:
        if self._state.is_finished:
            raise ValueError(f"expected no {caller} after input_finished")
        return self._state

    def _mark(self, mark: Mark) -> None:
        state = self._state
        state.chunker.flush()
        state.loudness.end_segment()
        self._look_ahead()
        state.timeline.marks.append(mark)
        if mark.what == "gap":
            state.loudness.skip(mark.lost_samples)
        self._pass_marks()

    def _look_ahead(self) -> None:
        """End the utterance within the next chunk, of which only the loudness counts as known yet.

        Not beyond, nor beyond the segment: so the time at which audio arrives changes nothing.
        """
        state = self._state
        if state.transcript.is_speaking:
            return
        timeline = state.timeline
        until = min(timeline.decoded + self._chunk_samples, timeline.known_end) + timeline.lost
        state.transcript.look_ahead(until, state.loudness.measure)

    def _pass_marks(self) -> bool:
        """Let happen what waits for the samples decoded by now; whether there was anything."""
        state, seconds = self._state, self._grid.seconds
        timeline, transcript, passed = state.timeline, state.transcript, False
        while mark := timeline.passed_mark():
            passed = True
            transcript.say(*state.listener.events(state.listener.finish(), timeline))
            transcript.settle(state.decoder.finish())
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
