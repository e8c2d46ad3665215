"""Spoken words in written form: numbers, times, money, dates and sentence case.

Owns the rules of writing, English ones. Each written word carries the time of the words it stands
for and the least of their confidences. Must not know: how numbers are found, events.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from streamer.core.hypothesis import Word
from streamer.text.pieces import SCALES, Piece, Pieces, figures, find_numbers

Rule: TypeAlias = Callable[[Pieces], tuple[list[Piece], int] | None]
"""What is written from a place on, and for how many pieces; None: the rule does not apply."""

KEPT_AS_WORDS = 3
"""Up to here a number that stands alone is written as it was said."""

DIGITS_IN_A_ROW = 3
"""So many single digits, one after the other, are one number: of a telephone, a room."""

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "april", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_ALSO_WORDS = ("march", "may")  # months only beside a number
_CAPITALS = {name: name.capitalize() for name in (*_DAYS, *_MONTHS)}
_CAPITALS |= {"i": "I"} | {f"i'{rest}": f"I'{rest}" for rest in ("m", "ll", "d", "ve")}
_MONEY = {"dollar": "$", "euro": "€", "pound": "£", "yen": "¥"}
_CENTS = {"$": ("cent", "cents"), "€": ("cent", "cents"), "£": ("penny", "pence"), "¥": ()}
_HALVES = {"a m": "a.m.", "p m": "p.m.", "am": "a.m.", "pm": "p.m."}
_ZERO = ("oh", "o")
_REPEATED = {"double": 2, "triple": 3, "treble": 3}


def written(words: Sequence[Word], *, begins: bool) -> tuple[Word, ...]:
    """The words as one would write them; `begins`: a sentence begins with the first."""
    pieces = find_numbers(_lowered(words))
    done: list[Piece] = []
    at = 0
    while at < len(pieces):
        place = Pieces(pieces, at)
        made, count = next(filter(None, (rule(place) for rule in RULES)), ([place.piece(0)], 1))
        done += made
        at += count
    if done and begins:
        first = done[0]
        done[0] = Piece(first.text[:1].upper() + first.text[1:], first.words)
    return tuple(piece.written for piece in done)


def _lowered(words: Sequence[Word]) -> Sequence[Word]:
    """Words of a model that knows capitals only, in lower case."""
    if not "".join(word.word for word in words).isupper():
        return words
    return [Word(w.word.lower(), w.start, w.end, w.confidence) for w in words]


# --- times ----------------------------------------------------------------------------------------


def _clock(place: Pieces) -> tuple[list[Piece], int] | None:
    """`five thirty p m`, `at five thirty`, `five p m`, `five o'clock`."""
    hour = place.integer(0, 1, 12)
    if hour is None:
        return None
    minutes, end = _minutes(place)
    text = str(hour) if minutes is None else f"{hour}:{minutes:02}"
    for count in (1, 2):
        spoken = " ".join(place.word(end + each) for each in range(count)).replace(".", "")
        if spoken in _HALVES:
            half = place.joined(_HALVES[spoken], end, end + count)
            return [place.joined(text, 0, end), half], end + count
    is_time = place.word(-1) == "at" if minutes is not None else place.word(1) == "o'clock"
    return ([place.joined(text, 0, end)], end) if is_time else None


def _minutes(place: Pieces) -> tuple[int | None, int]:
    """The minutes behind an hour, and where they end."""
    minutes = place.integer(1, 10, 59)
    if minutes is not None:
        return minutes, 2
    if place.word(1) in _ZERO and (minutes := place.integer(2, 1, 9)) is not None:
        return minutes, 3
    return None, 1


def _parts_of_hours(place: Pieces) -> tuple[list[Piece], int] | None:
    """`half past five`, `a quarter to five`."""
    article = int(place.word(0) == "a")
    part, way = place.word(article), place.word(article + 1)
    minutes = {("half", "past"): 30, ("quarter", "past"): 15, ("quarter", "to"): 45}.get(
        (part, way)
    )
    hour = place.integer(article + 2, 1, 12)
    if hour is None or minutes is None:
        return None
    if way == "to":
        hour = (hour - 2) % 12 + 1
    return [place.joined(f"{hour}:{minutes}", 0, article + 3)], article + 3


# --- money and shares -----------------------------------------------------------------------------


def _amount(place: Pieces) -> tuple[str, int] | None:
    """A number in figures, perhaps with a scale of its own: `one point five` `million`."""
    first, second = place.piece(0), place.piece(1)
    if first.value is None or first.is_ordinal:
        return None
    if "." in first.text and second.value is not None and second.spoken in SCALES:
        return f"{first.text} {second.spoken}", 2
    return figures(first), 1


def _money(place: Pieces) -> tuple[list[Piece], int] | None:
    """`five dollars and ten cents`, `twelve euros`; not `five pounds of sugar`."""
    if (amount := _amount(place)) is None:
        return None
    text, end = amount
    symbol = _MONEY.get(place.word(end).removesuffix("s"))
    if symbol is None or (symbol == "£" and place.word(end + 1) == "of"):
        return None
    end += 1
    after = end + (place.word(end) == "and")
    cents = place.integer(after, 1, 99)
    if cents is not None and place.word(after + 1) in _CENTS[symbol] and "." not in text:
        text, end = f"{text}.{cents:02}", after + 2
    return [place.joined(symbol + text, 0, end)], end


def _percent(place: Pieces) -> tuple[list[Piece], int] | None:
    """`five percent`, `five per cent`."""
    if (amount := _amount(place)) is None:
        return None
    text, end = amount
    if place.word(end) == "percent":
        return [place.joined(f"{text}%", 0, end + 1)], end + 1
    if (place.word(end), place.word(end + 1)) == ("per", "cent"):
        return [place.joined(f"{text}%", 0, end + 2)], end + 2
    return None


# --- numbers --------------------------------------------------------------------------------------


def _year(place: Pieces) -> tuple[list[Piece], int] | None:
    """`nineteen eighty four`, `twenty twenty six`, `nineteen oh five`."""
    century, rest = place.integer(0, 16, 20), place.integer(1, 10, 99)
    if century is None:
        return None
    if rest is not None:
        return [place.joined(f"{century}{rest}", 0, 2)], 2
    if place.word(1) in _ZERO and (rest := place.integer(2, 1, 9)) is not None:
        return [place.joined(f"{century}0{rest}", 0, 3)], 3
    return None


def _digits(place: Pieces) -> tuple[list[Piece], int] | None:
    """`four one double five oh two`."""
    text, end = "", 0
    while True:
        times = _REPEATED.get(place.word(end), 1)
        skip = int(times > 1)
        digits = "0" if place.word(end + skip) in _ZERO else place.piece(end + skip).text
        is_zero_or_digits = digits == "0" or place.piece(end + skip).value is not None
        if not (is_zero_or_digits and re.fullmatch(r"\d|0\d+", digits, re.ASCII)):
            break
        text, end = text + digits[:1] * (times - 1) + digits, end + skip + 1
    if len(text) < DIGITS_IN_A_ROW or place.word(0) == "o":
        return None
    return [place.joined(text, 0, end)], end


def _number(place: Pieces) -> tuple[list[Piece], int] | None:
    """Any other number: in figures, or as it was said where one would not write figures."""
    piece = place.piece(0)
    if piece.value is None:
        return None
    before, after = place.piece(-1), place.piece(1)
    if piece.is_ordinal:
        is_date = _is_month(before.spoken) or (after.spoken == "of" and _is_month(place.word(2)))
        kept = (piece.value <= KEPT_AS_WORDS and not is_date) or piece.text.endswith("s")
        text = piece.spoken if kept else piece.text
    else:
        alone = not any(each.value is not None and not each.is_ordinal for each in (before, after))
        kept = alone and (piece.value <= KEPT_AS_WORDS or _is_scale(piece))
        amount = None if kept else _amount(place)
        if amount is not None and amount[1] == 2:
            return [place.joined(amount[0], 0, 2)], 2
        text = piece.spoken if amount is None else amount[0]
    if not kept:
        return [Piece(text, piece.words)], 1
    return [Piece(word.word, (word,)) for word in piece.words], 1


def _is_scale(piece: Piece) -> bool:
    """`a hundred`, `thousands`, but not `two hundred`."""
    return all(word in SCALES or word == "a" for word in piece.spoken.split())


# --- case -----------------------------------------------------------------------------------------


def _capital(place: Pieces) -> tuple[list[Piece], int] | None:
    """Names of days and months, and `I`."""
    spoken = place.word(0)
    if spoken in _ALSO_WORDS:
        is_month = place.word(-1) == "of" or any(place.piece(k).value is not None for k in (-1, 1))
        text = spoken.capitalize() if is_month else ""
    else:
        text = _CAPITALS.get(spoken, "")
    return ([Piece(text, place.piece(0).words)], 1) if text else None


def _is_month(word: str) -> bool:
    return word in _MONTHS or word in _ALSO_WORDS


RULES: tuple[Rule, ...] = (
    *(_clock, _parts_of_hours, _money, _percent),
    *(_digits, _year, _number, _capital),
)
