"""What a stream says, and in which order.

Owns the numbering of utterances and revisions and the promises about events: speech starts once
per utterance and before its text, a partial says something new, committed text only grows and the
final begins with it; and that no event holds what is masked. Must not know: samples, frames,
endpoint rules.
"""

from collections.abc import Sequence

from streamer.core.hypothesis import Alternative, Event, Final, Partial, Reason, SpeechStart, Word
from streamer.core.masking import Masks
from streamer.core.text_rules import SPOKEN, TextRules
from streamer.core.wordings import Wordings

LATE_S = 1.0
"""A word may begin so long before the time that its utterance is counted from."""


class Narrator:
    """Turns the words of the utterance in progress into events; all times in seconds."""

    def __init__(self, rules: TextRules = SPOKEN) -> None:
        self._wordings = Wordings(rules)
        self._begins_sentence = True  # the utterance in progress; else it was cut for its length
        self.utterances = 0  # finals so far
        self._revision = 0  # of the last partial
        self._speech_started = False  # in this utterance
        self._committed = ""  # of this utterance's last partial
        self._committed_words = 0
        self._tail = ""
        self._events: list[Event] = []

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        events, self._events = self._events, []
        return events

    def check_room(self, rules: TextRules, utterance_start: float) -> None:
        """Raise ValueError if `configure` cannot take these rules now."""
        self._wordings.forget(utterance_start - LATE_S)
        self._wordings.check_room(rules)

    def configure(self, since: float, rules: TextRules) -> None:
        """Other rules for the words that begin at `since` or later, of which none was told."""
        self._wordings.add(since, rules)

    def say(self, *events: Event) -> None:
        """Events that concern no utterance."""
        self._events += events

    def is_silent(self) -> bool:
        """Whether nothing of this utterance is on display."""
        return not (self._committed or self._tail)

    def show(self, committed: Sequence[Word], tail: Sequence[Word], now: float) -> None:
        """The utterance in progress at `now`; a partial if its text is not what was shown last."""
        committed, tail = self._wordings.partial(committed, tail)
        committed_text = self._committed
        if len(committed) > self._committed_words:  # those that stand already never change
            added = _text(committed[self._committed_words :])
            committed_text = f"{committed_text} {added}".lstrip()
            self._committed_words = len(committed)
        tail_text = _text(tail)
        if committed_text == self._committed and tail_text == self._tail:
            return
        self._committed, self._tail = committed_text, tail_text
        self._revision += 1
        words = (*committed, *tail)
        start = end = now
        if words:
            start, end = words[0].start, words[-1].end
            self.start_speech(start)
        self._events.append(
            Partial(self.utterances, self._revision, committed_text, tail_text, words, start, end)
        )

    def end(
        self,
        words: tuple[Word, ...],
        reason: Reason,
        now: float,
        alternatives: Sequence[Alternative] | None = None,
    ) -> None:
        """The utterance is over at `now`; a final if it has words."""
        if not words:
            self.show((), (), now)  # takes back what lookahead had promised
            return
        rules, masks = self._wordings.for_words(words)
        words = self._wordings.final(words)
        start, end = words[0].start, words[-1].end
        self.start_speech(start)
        confidence = sum(word.confidence for word in words) / len(words)
        display, shown = None, None
        if rules.written and rules.writer is not None:
            shown = rules.writer(words, begins=self._begins_sentence)
            display = _text(shown)
        text = _text(words)
        heard = self.utterances, text, words, start, end, confidence, reason
        # A number's alternatives sound like it: where numbers are masked, there are none.
        tells = alternatives is not None and not masks.numbers
        masked = _masked(alternatives or (), masks) if tells else None
        self._events.append(Final(*heard, display, shown, masked))
        self._begins_sentence = reason != "length"
        self.utterances += 1
        self._speech_started = False
        self._committed = self._tail = ""
        self._committed_words = 0

    def start_speech(self, time: float) -> None:
        """The first text of the utterance, or speech in it, begins at `time`; said once."""
        if not self._speech_started:
            self._speech_started = True
            self._events.append(SpeechStart(time))


def _text(words: Sequence[Word]) -> str:
    return " ".join([word.word for word in words])


def _masked(alternatives: Sequence[Alternative], masks: Masks) -> tuple[Alternative, ...]:
    masked: dict[str, float] = {}
    for each in alternatives:
        words = tuple(Word(word, 0.0, 0.0, 1.0) for word in each.text.split())
        masked.setdefault(_text(masks.final(words)), each.score)
    return tuple(Alternative(text, score) for text, score in masked.items())
