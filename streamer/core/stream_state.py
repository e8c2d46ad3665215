"""All that a stream remembers, and how it begins.

Must not know: in which order any of it is used.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamer.core.changes import Changes
from streamer.core.chunker import Chunker
from streamer.core.context import Context, Grid
from streamer.core.decoder import Change, Decoded, Decoder
from streamer.core.decoding import DecoderSettings, InFlight
from streamer.core.frames import Labels
from streamer.core.loudness import LoudnessMeter
from streamer.core.settings import Settings
from streamer.core.speech import Detector, SpeechMeter
from streamer.core.timeline import Timeline
from streamer.core.transcript import Transcript
from streamer.core.utterance import Utterance


@dataclass(slots=True)
class StreamState:
    """All that `Stream.reset` forgets."""

    timeline: Timeline
    chunker: Chunker
    loudness: LoudnessMeter
    speech: SpeechMeter | None  # None: there is no detector
    transcript: Transcript
    settings: DecoderSettings  # of the decoder at the beginning
    decoder: Decoder | None = None  # made when it is needed: another one may decode
    listens: bool = False  # for keywords, in the frames behind the last window taken
    in_flight: deque[InFlight] = field(default_factory=deque)
    ending: Decoded | None = None  # what a mark would settle that passes now
    begins: bool = True  # a mark was passed, and no window was taken since
    changes: Changes = field(default_factory=Changes)  # later ones
    is_finished: bool = False
    is_done: bool = False

    def listens_within(self, changes: Sequence[Change]) -> bool:
        """Whether there are keywords in the next chunk, which has these changes."""
        if not changes:
            return self.listens
        before, self.listens = self.listens, bool(changes[-1].keywords)
        return before or any(change.keywords for change in changes)


def begin(
    context: Context, grid: Grid, labels: Labels, settings: Settings, detector: Detector | None
) -> StreamState:
    """A stream that has heard nothing."""
    timeline = Timeline(
        grid,
        start_delay=grid.samples_in(labels.word_start_delay_ms / 1000),
        end_delay=grid.samples_in(labels.word_end_delay_ms / 1000),
    )
    loudness = LoudnessMeter(grid)
    speech = None if detector is None else SpeechMeter(detector)
    if speech is not None and settings.endpoint.vad:
        speech.turn_on(0)
    utterance = Utterance(settings.endpoint, loudness, speech)
    transcript = Transcript(labels, timeline, utterance, settings.text, settings.options)
    decoding = settings.endpoint, settings.options, settings.keywords
    return StreamState(
        timeline,
        Chunker(context, grid),
        loudness,
        speech,
        transcript,
        DecoderSettings(labels, grid, *decoding),
        listens=bool(settings.keywords),
    )
