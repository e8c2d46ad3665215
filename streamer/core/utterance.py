"""The words of the utterance in progress, and where it ends.

Owns spelling (letters become words), what of it is committed, and the cut of an utterance that is
too long. Counts in samples on the stream's clock. Must not know: frames, windows, events.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from streamer.core.context import Grid
from streamer.core.endpoint import EndpointRules, next_endpoint
from streamer.core.hypothesis import Word
from streamer.core.loudness import LoudnessMeter
from streamer.core.speech import SpeechMeter

WORD_PAUSE_S = 0.4
"""A pause this long closes a word: CTC models often emit the delimiter only with the next word."""

LATER_PART = 0.75
"""An utterance that is too long is cut at a pause behind this fraction of the allowed length."""

LOOK_AHEAD = 4
"""Of a quiet silence, one part in so many may end an utterance before its frames are decoded."""

Ended: TypeAlias = tuple[tuple[Word, ...], Literal["endpoint", "length"]]

_WORD_PAUSE_SAMPLES = Grid.samples_in(WORD_PAUSE_S)


class Letter(NamedTuple):
    """A visible token, or the word delimiter (`text` is None), over samples [start, end).

    These are the model's frames, by which everything here is decided. Where its sound lies, which
    is earlier, is for the words' times alone.
    """

    text: str | None
    start: int
    end: int
    log_prob: float
    sound_start: int
    sound_end: int


@dataclass(frozen=True, slots=True)
class _Pause:
    """The pause before the word `index`, which begins at the sample `word_start`."""

    index: int
    samples: int
    word_start: int


class Utterance:
    """Letters in, words out; one object serves all utterances of a stream, one after the other.

    Closed words are committed, with one exception. In the later part of an utterance that grows
    too long, the words behind its longest pause are held back: they would begin the next
    utterance, were it cut now.
    """

    def __init__(
        self, rules: EndpointRules, loudness: LoudnessMeter, speech: SpeechMeter | None = None
    ) -> None:
        self.configure(rules)
        self._loudness, self._speech = loudness, speech
        self._known = 0  # how far it is known where speech is, when it was last looked at
        self._closed: list[Word] = []
        self._letters: list[Letter] = []  # of the open word
        self._told_s = 0.0  # end of the last word that was closed, in this utterance or before
        self._start = 0  # where the utterance's length is counted from
        self._last = 0  # end of the last letter
        self._now = 0  # how far time has advanced
        self._due = 0  # nothing happens before this sample (perhaps not even then)
        self._cut: _Pause | None = None  # the longest pause of the later part

    def configure(self, rules: EndpointRules) -> None:
        """Rules for the utterance in progress and those to come."""
        self._rules = rules
        self._silence = Grid.samples_in(rules.silence_s)
        self._later = Grid.samples_in(LATER_PART * rules.max_utterance_s)
        self._due = 0

    @property
    def start(self) -> int:
        """Where its length is counted from; nothing of it was decoded before."""
        return self._start

    def is_blank(self) -> bool:
        """Whether nothing is decoded."""
        return not (self._letters or self._closed)

    def shown(self, upcoming: Sequence[Letter]) -> tuple[list[Word], list[Word]]:
        """The words that stand, and those behind them if `upcoming` came next; changes nothing."""
        count = self._committed_count()
        committed, tail = self._closed[:count], self._closed[count:]
        letters, told_s = self._letters, self._told_s
        for letter in upcoming:
            if letters and _closes(letters[-1], letter):
                tail.append(_spell(letters, told_s))
                letters, told_s = [], tail[-1].end
            if letter.text is not None:
                letters = [*letters, letter]
        if letters:
            tail.append(_spell(letters, told_s))
        return committed, tail

    def add(self, letter: Letter) -> list[Ended]:
        """The next letter; first time advances to its start. Returns the utterances that ended."""
        ended = self._pass(letter.start)
        if letter.text is None:
            self._close_word()
            return ended
        if not self._letters:
            self._note_pause(letter.start)
            self._due = 0  # it may be near now; each further letter only puts it off
        self._letters.append(letter)
        self._last = letter.end
        return ended

    def advance(self, now: int) -> list[Ended]:
        """Let time pass up to the sample `now`. Returns the utterances that ended on the way."""
        ended = self._pass(now)
        before = self._now if self.is_blank() else self._last
        self._loudness.forget(before)
        if self._speech is not None:
            self._speech.forget(before)
        return ended

    def _pass(self, now: int) -> list[Ended]:
        ended: list[Ended] = []
        if self._speech is not None and self._speech.known > self._known:
            self._known, self._due = self._speech.known, 0
        while now >= self._due:
            at, rule = self._next_endpoint()
            closes_at = self._last + _WORD_PAUSE_SAMPLES
            if self._letters and closes_at <= min(at, now):
                self._close_word()
            elif at > now:
                self._due = min(at, closes_at) if self._letters else at
            elif rule == "idle":
                period = at - self._start
                self._start += (now - self._start) // period * period
            else:
                at = max(at, self._now)  # rules may have been tightened behind time's back
                words = self.end(at) if rule == "endpoint" else self._end_at_pause(at)
                if words:
                    ended.append((words, rule))
        if now > self._now:
            self._now = now
        return ended

    def may_end_by(self, until: int) -> bool:
        """Whether `look_ahead` may find an end, by what is measured up to now."""
        until = self._latest_end(until)
        is_long_enough = not self.is_blank() and self._last + self._silence <= until
        return is_long_enough and self._quiet_end() <= until

    def wants_verdict(self, until: int) -> bool:
        """Whether more of what a detector hears may let `look_ahead` find an end."""
        meter = self._hears_speech()
        if meter is None or self.is_blank():
            return False
        return meter.may_be_quiet_by(self._last, self._silence, self._latest_end(until))

    def _latest_end(self, until: int) -> int:
        return min(until, self._now + self._silence // LOOK_AHEAD)

    def _hears_speech(self) -> SpeechMeter | None:
        return self._speech if self._rules.vad else None

    def new_speech(self) -> int | None:
        """Where speech began in this utterance, as far as a detector is asked and has heard."""
        meter = self._hears_speech()
        return None if meter is None else meter.onset(self._start)

    def look_ahead(self, until: int) -> list[Ended]:
        """End the utterance at the end of a quiet silence up to `until`, though not yet decoded.

        Time does not advance: what is decoded next may begin before the end of that silence.
        """
        at, rule = self._next_endpoint()
        if not self.may_end_by(until) or at != self._quiet_end() or rule != "endpoint":
            return []
        return [(self.end(at), rule)]

    def _quiet_end(self) -> int:
        meter = self._hears_speech() or self._loudness
        return meter.quiet_end(self._last, self._silence)

    def _next_endpoint(self) -> tuple[int, Literal["idle", "endpoint", "length"]]:
        return next_endpoint(
            self._rules,
            decoded=not self.is_blank(),
            start_sample=self._start,
            last_sample=self._last,
            quiet_sample=self._quiet_end(),
        )

    def end(self, at: int) -> tuple[Word, ...]:
        """End the utterance at the sample `at`, begin the next one there; returns its words."""
        self._close_word()
        words = tuple(self._closed)
        self._begin(at, [], [])
        return words

    def _end_at_pause(self, at: int) -> tuple[Word, ...]:
        """End the utterance before `at` at its best pause; what follows begins the next one."""
        if self._cut is None and not self._closed:
            return self._end_within_word(at)
        count = self._committed_count(at)
        words, held = tuple(self._closed[:count]), self._closed[count:]
        if held:
            assert self._cut is not None, (count, at)
            start = self._cut.word_start
        else:
            start = self._letters[0].start if self._letters else at
        self._begin(start, held, self._letters)
        return words

    def _end_within_word(self, at: int) -> tuple[Word, ...]:
        """The utterance is one endless word: cut it at its longest pause, never within a letter."""
        letters = self._letters
        later = self._start + self._later
        pauses = [
            (after.start >= later, after.start - before.end, index)
            for index, (before, after) in enumerate(pairwise(letters), start=1)
        ]
        if not pauses:
            self._begin(at, [], letters)
            return ()
        index = max(pauses)[2]
        word = _spell(letters[:index], self._told_s)
        self._told_s = word.end
        self._begin(letters[index].start, [], letters[index:])
        return (word,)

    def _begin(self, start: int, closed: list[Word], letters: list[Letter]) -> None:
        self._start = start
        self._closed = closed
        self._letters = letters
        self._cut = None
        self._due = 0

    def _close_word(self) -> None:
        if self._letters:
            self._closed.append(_spell(self._letters, self._told_s))
            self._letters, self._told_s = [], self._closed[-1].end

    def _note_pause(self, word_start: int) -> None:
        """A word begins: remember the pause before it if the utterance had better be cut there."""
        if not self._closed or word_start < self._start + self._later:
            return
        samples = word_start - self._last
        if self._cut is None or samples >= self._cut.samples:
            self._cut = _Pause(len(self._closed), samples, word_start)

    def _committed_count(self, at: int | None = None) -> int:
        """Closed words that no cut from `at` (default: now) on would move."""
        pause = (self._now if at is None else at) - self._last
        if self._cut is None or (not self._letters and pause >= self._cut.samples):
            return len(self._closed)
        return self._cut.index


def _closes(last: Letter, following: Letter) -> bool:
    """Whether `following` ends the word whose last letter is `last`."""
    return following.text is None or following.start - last.end >= _WORD_PAUSE_SAMPLES


def _spell(letters: Sequence[Letter], told_s: float) -> Word:
    """The word of these letters, which begins no earlier than at `told_s`."""
    texts, _, _, log_probs, *_ = zip(*letters, strict=True)
    start, end = Grid.seconds(letters[0].sound_start), Grid.seconds(letters[-1].sound_end)
    return Word("".join(texts), max(start, told_s), end, math.exp(sum(log_probs) / len(letters)))
