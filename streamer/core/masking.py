"""What must not be read in any text that leaves a stream: numbers, and words of a list.

Owns which words are numbers and what stands in their place. Words are masked before anything else
sees them, partials as finals; so committed text still only grows, and finals begin with it. English
only. Must not know: events, how words are found.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from streamer.core.hypothesis import Word

NUMBER = "[number]"
"""Stands for a run of redacted words, however many there are."""

# fmt: off
_CARDINALS = (
    "zero", "nought", "naught", "one", "two", "three", "four", "five", "six", "seven", "eight",
    "nine", "niner", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
    "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty", "fourty", "fifty", "sixty",
    "seventy", "eighty", "ninety", "hundred", "thousand", "million", "billion", "trillion",
)
_ORDINALS = (
    "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth", "thirtieth", "fortieth", "fiftieth", "sixtieth", "seventieth",
    "eightieth", "ninetieth", "hundredth", "thousandth", "millionth", "billionth",
)
_LIKE_NUMBERS = frozenset((
    "oh", "o", "owe", "to", "too", "for", "fore", "won", "ate", "first", "second",
    "double", "triple", "treble",
))
# fmt: on
_NUMBER = re.compile(
    rf"(?:(?:{'|'.join((*_CARDINALS, *_ORDINALS))})-?)+(?:first|second)?(?:'?s)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Masks:
    """What is masked.

    `numbers`: every word that is a number, or sounds like one beside one, becomes NUMBER.
    `words`, in lower case: only their first letter stays.
    """

    numbers: bool = False
    words: frozenset[str] = frozenset()

    def final(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """The words of an utterance that is over."""
        return tuple(self._masked(words)) if self.numbers or self.words else tuple(words)

    def partial(
        self, committed: Sequence[Word], tail: Sequence[Word]
    ) -> tuple[Sequence[Word], Sequence[Word]]:
        """Committed words and tail of an utterance in progress.

        Where numbers are masked, words wait that may yet become a part of one: the last one of the
        tail, which may lack letters, and those before it that sound like numbers.
        """
        if not self.numbers:
            return (
                (self._masked(committed), self._masked(tail)) if self.words else (committed, tail)
            )
        settled = self._masked(_without_waiting(committed))
        whole = self._masked(_without_waiting([*committed, *tail[:-1]]))
        return settled, whole[len(settled) :]

    def _masked(self, words: Sequence[Word]) -> list[Word]:
        if self.words:
            words = [self._spared(word) for word in words]
        return _without_numbers(words) if self.numbers else list(words)

    def _spared(self, word: Word) -> Word:
        spoken = word.word.lower()
        if spoken not in self.words and spoken.removesuffix("'s") not in self.words:
            return word
        text = word.word[0] + "*" * (len(word.word) - 1)
        return Word(text, word.start, word.end, word.confidence)


def is_number(word: str) -> bool:
    """Whether a word is a number, whatever is beside it: in letters, digits, or run together."""
    return any(letter.isnumeric() for letter in word) or _NUMBER.fullmatch(word) is not None


def _may_be_number(word: Word) -> bool:
    return is_number(word.word) or word.word.lower() in _LIKE_NUMBERS


def _without_numbers(words: Sequence[Word]) -> list[Word]:
    """Each run of words that may be numbers, at least one of which is one, as one NUMBER."""
    kept: list[Word] = []
    for suspect, group in groupby(words, _may_be_number):
        run = list(group)
        if suspect and any(is_number(word.word) for word in run):
            kept.append(merged(NUMBER, run))
        else:
            kept += run
    return kept


def _without_waiting(words: Sequence[Word]) -> Sequence[Word]:
    """The words but for a last run that the next word may turn into a number."""
    end = len(words)
    while end and _may_be_number(words[end - 1]):
        end -= 1
    is_settled = any(is_number(word.word) for word in words[end:])
    return words if is_settled else words[:end]


def merged(text: str, words: Sequence[Word]) -> Word:
    """One written word for several spoken ones: their time, the least of their confidences."""
    confidence = min(word.confidence for word in words)
    return Word(text, words[0].start, words[-1].end, confidence)
