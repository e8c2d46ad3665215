"""The events of several sessions as those of one.

Owns where a session lies on the clock of all audio sent, and the numbers of utterances. Pure.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from streamer.messages import (
    Ack,
    Append,
    Closed,
    Configured,
    Final,
    Gap,
    Keyword,
    Partial,
    ServerMessage,
    SpeechStart,
    Word,
)

SAMPLE_RATE = 16_000  # Hz at which the server counts


@dataclass(slots=True)
class _Numbers:
    """Of a channel: those before the session in progress, and the last ones."""

    utterances: int = 0
    revisions: int = 0
    last_utterance: int = -1  # that had its final
    last_revision: int = 0
    has_text: bool = False  # something was appended


@dataclass(slots=True)
class Timeline:
    """Where the session in progress begins; all zero for the first."""

    start_s: float = 0.0
    channels: defaultdict[int | None, _Numbers] = field(
        default_factory=lambda: defaultdict(_Numbers)
    )

    def begin(self, start_s: float) -> None:
        """Another session begins at this time of the audio."""
        self.start_s = start_s
        for each in self.channels.values():
            each.utterances, each.revisions = each.last_utterance + 1, each.last_revision

    def placed(self, message: ServerMessage) -> ServerMessage:
        """The message with its times and numbers among all of them."""
        if isinstance(message, Partial | Final | Append):
            numbers = self.channels[message.channel]
            moved = self._numbered(message, numbers)
            if isinstance(moved, Final):
                numbers.last_utterance = moved.utterance
            elif isinstance(moved, Partial):
                numbers.last_revision = moved.revision
            else:
                numbers.has_text = True
            return moved
        return self._moved(message)

    def _numbered(
        self, message: Partial | Final | Append, before: _Numbers
    ) -> Partial | Final | Append:
        number = message.utterance + before.utterances
        if isinstance(message, Append):  # only the first text of a session begins without a space
            first = before.has_text and not message.text.startswith(" ")
            return replace(message, utterance=number, text=" " * first + message.text)
        by = self.start_s
        start, end, words = message.start + by, message.end + by, _later(message.words, by)
        placed = replace(message, utterance=number, words=words, start=start, end=end)
        if isinstance(placed, Final):
            shown = placed.display_words
            return replace(placed, display_words=shown and _later(shown, by))
        return replace(placed, revision=placed.revision + before.revisions)

    def _moved(self, message: ServerMessage) -> ServerMessage:
        by, samples = self.start_s, round(self.start_s * SAMPLE_RATE)
        match message:
            case Keyword():
                return replace(message, start=message.start + by, end=message.end + by)
            case SpeechStart():
                return replace(message, time=message.time + by)
            case Gap():
                return replace(message, start=message.start + by)
            case Configured():
                return Configured(message.sample + samples)
            case Ack():
                return replace(message, received=message.received + samples)
            case Closed():
                before = sum(each.utterances for each in self.channels.values())
                return Closed(message.received + samples, message.utterances + before)
        return message


def _later(words: tuple[Word, ...], by_s: float) -> tuple[Word, ...]:
    return tuple(replace(word, start=word.start + by_s, end=word.end + by_s) for word in words)
