"""What the recognizer says: words, and the events that carry them.

Owns the vocabulary between the core and everyone who listens; imports nothing but the standard
library. Must not know: how words are found or how events travel. All times are seconds of audio
on the stream's clock: samples received, plus what `Gap` events report as lost. `channel`, from 0,
is set by whoever has a stream for each channel of its audio.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Reason: TypeAlias = Literal["endpoint", "flush", "length", "end"]
"""Why an utterance ended: silence, a client's flush, too long, end of the stream."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word: text, [start, end) in seconds, geometric mean of its tokens' probabilities."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """The utterance in progress has its first text, or speech that a detector hears, at `time`."""

    time: float
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """The utterance as far as it is decoded: `committed` stands, `tail` may still change.

    `words` covers both. `revision` strictly increases within a stream.
    """

    utterance: int
    revision: int
    committed: str
    tail: str
    words: tuple[Word, ...]
    start: float
    end: float
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """What an utterance may have been, and its score against the best: a natural logarithm."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Final:
    """An utterance's last word on itself; `text` starts with the last committed text.

    `display` is its written form where one was asked for, `display_words` the words of that.
    `alternatives` are the n-best where they are asked for, `text` itself first; none where numbers
    are redacted.
    """

    utterance: int
    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    confidence: float
    reason: Reason
    display: str | None = None
    display_words: tuple[Word, ...] | None = None
    alternatives: tuple[Alternative, ...] | None = None
    channel: int | None = None

    @property
    def shown(self) -> str:
        """What a reader should see: the written form, or else the spoken one."""
        return self.text if self.display is None else self.display

    @property
    def shown_words(self) -> tuple[Word, ...]:
        """The words of `shown`."""
        return self.words if self.display_words is None else self.display_words


@dataclass(frozen=True, slots=True)
class Keyword:
    """A phrase that was listened for was said over [start, end) seconds.

    `score`, in (0, 1], is how well its letters fit what was heard; 1: nothing fits better.
    """

    keyword: str
    start: float
    end: float
    score: float
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything received before the flush `id` is in a final by now."""

    id: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio was lost upstream: `duration` seconds from `start`."""

    start: float
    duration: float
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a stream: samples received, finals sent."""

    received: int
    utterances: int


Event: TypeAlias = SpeechStart | Partial | Final | Keyword | Flushed | Gap | Closed
