"""Spoken words with the numbers among them found: what the rules of writing work on.

Owns what is known of text2num, and how a number is put in figures. Must not know: times, money.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import text_to_num

from streamer.core.hypothesis import Word
from streamer.core.masking import merged

PAUSE_S = 0.6
"""Numbers with so long a pause between them are two."""

MAX_FIGURES = 15
"""A longer number is left as it is."""

SCALES = frozenset(
    f"{name}{plural}"
    for name in ("hundred", "thousand", "million", "billion", "trillion")
    for plural in ("", "s")
)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz'-")
_NO_NUMBER = ","  # for the library: something that belongs to no number


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that are written as `text`; a number has its value."""

    text: str
    words: tuple[Word, ...]
    value: float | None = None
    is_ordinal: bool = False

    @property
    def spoken(self) -> str:
        """What was said, in lower case."""
        return " ".join(word.word for word in self.words).lower()

    @property
    def written(self) -> Word:
        """As one word."""
        if len(self.words) == 1 and self.words[0].word == self.text:
            return self.words[0]
        return merged(self.text, self.words)


class Pieces(NamedTuple):
    """A place among pieces; behind either end are empty ones."""

    every: Sequence[Piece]
    at: int

    def piece(self, offset: int) -> Piece:
        """The piece `offset` after this place."""
        at = self.at + offset
        return self.every[at] if 0 <= at < len(self.every) else _NOTHING

    def word(self, offset: int) -> str:
        """What was said there if it is no number, else an empty string."""
        piece = self.piece(offset)
        return piece.spoken if piece.value is None else ""

    def integer(self, offset: int, low: int, high: int) -> int | None:
        """The number there if it is a plain one from `low` to `high`."""
        piece = self.piece(offset)
        is_plain = piece.value is not None and piece.text.isdecimal() and piece.text[0] != "0"
        if not is_plain or len(piece.text) > len(str(high)):
            return None
        value = int(piece.text)
        return value if low <= value <= high else None

    def joined(self, text: str, begin: int, end: int) -> Piece:
        """The pieces from `begin` up to `end` in one."""
        words = (word for offset in range(begin, end) for word in self.piece(offset).words)
        return Piece(text, tuple(words))


_NOTHING = Piece("", ())


class _Token(text_to_num.Token):  # type: ignore[misc]  # the package is not annotated
    """A word as text2num wants it."""

    def __init__(self, word: Word) -> None:
        spoken = word.word.lower()
        self._text = spoken if _LETTERS.issuperset(spoken) else _NO_NUMBER
        self._word = word

    def text(self) -> str:
        return self._text

    def nt_separated(self, previous: Any) -> bool:
        return bool(self._word.start - previous._word.end >= PAUSE_S)


def find_numbers(words: Sequence[Word]) -> list[Piece]:
    """The words as pieces, each number a piece of its own; "a hundred" is one."""
    pieces: list[Piece] = []
    done = 0
    for found in text_to_num.find_numbers([_Token(word) for word in words], "en", 0):
        begin, end = found.start, found.end
        if words[begin].word.lower() in SCALES and begin > done:
            begin -= words[begin - 1].word.lower() == "a"
        spoken = tuple(words[begin:end])
        if [word.word.lower() for word in spoken] == ["o"]:
            continue  # a letter as often as a zero
        pieces += [Piece(word.word, (word,)) for word in words[done:begin]]
        pieces.append(Piece(found.text, spoken, found.value, found.is_ordinal))
        done = end
    return pieces + [Piece(word.word, (word,)) for word in words[done:]]


def figures(piece: Piece) -> str:
    """A number in figures: 12,000 from five digits on, 1.5 million where that is all of it."""
    assert piece.value is not None, piece
    if not piece.text.isdecimal() or piece.text[0] == "0" or len(piece.text) > MAX_FIGURES:
        return piece.text
    value = int(piece.text)
    for scale, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if value >= scale and value % (scale // 10) == 0 and value < 1000 * scale:
            return f"{value / scale:g} {name}"
    return f"{value:,}" if value >= 10_000 else piece.text
