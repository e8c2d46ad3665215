"""The events of several sessions as those of one.

Owns where a session lies on the clock of all audio sent, and the numbers of utterances. Pure.
"""

from dataclasses import dataclass, replace

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
class Timeline:
    """Where the session in progress begins; all zero for the first."""

    start_s: float = 0.0
    utterances: int = 0
    revisions: int = 0
    last_utterance: int = -1  # that had its final
    last_revision: int = 0
    has_text: bool = False  # something was appended

    def begin(self, start_s: float) -> None:
        """Another session begins at this time of the audio."""
        self.start_s = start_s
        self.utterances, self.revisions = self.last_utterance + 1, self.last_revision

    def placed(self, message: ServerMessage) -> ServerMessage:
        """The message with its times and numbers among all of them."""
        moved = self._moved(message)
        if isinstance(moved, Final):
            self.last_utterance = moved.utterance
        elif isinstance(moved, Partial):
            self.last_revision = moved.revision
        elif isinstance(moved, Append):
            self.has_text = True
        return moved

    def _moved(self, message: ServerMessage) -> ServerMessage:
        by, samples = self.start_s, round(self.start_s * SAMPLE_RATE)
        if not (by or self.utterances or self.revisions):
            return message
        match message:
            case Partial() | Final():
                start, end = message.start + by, message.end + by
                number, words = message.utterance + self.utterances, _later(message.words, by)
                placed = replace(message, utterance=number, words=words, start=start, end=end)
                if isinstance(placed, Final):
                    shown = placed.display_words
                    return replace(placed, display_words=shown and _later(shown, by))
                return replace(placed, revision=placed.revision + self.revisions)
            case Append():  # only the first text of a session begins without a space
                first = self.has_text and not message.text.startswith(" ")
                text = f" {message.text}" if first else message.text
                return Append(message.utterance + self.utterances, text)
            case Keyword():
                return replace(message, start=message.start + by, end=message.end + by)
            case SpeechStart():
                return SpeechStart(message.time + by)
            case Gap():
                return Gap(message.start + by, message.duration)
            case Configured():
                return Configured(message.sample + samples)
            case Ack():
                return replace(message, received=message.received + samples)
            case Closed():
                return Closed(message.received + samples, message.utterances + self.utterances)
        return message


def _later(words: tuple[Word, ...], by_s: float) -> tuple[Word, ...]:
    return tuple(replace(word, start=word.start + by_s, end=word.end + by_s) for word in words)
