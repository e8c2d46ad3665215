"""Texts that no corpus has enough of: numbers, times, dates, names, short commands, spelled words.

python -m models.training.phrases --seed 1 --count 20000 --out TEXTS/phrases.txt

Owns the patterns. The same seed gives the same lines; every line is normalised (a to z, apostrophe,
space). Synthesis reads the file like any other text.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from models.training.mistakes import positive, told


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split(",")]


ONES = _words("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen
""")
TENS = _words("""
    twenty thirty forty fifty sixty seventy eighty ninety
""")
ORDINALS = _words("""
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
""")
MONTHS = _words("""
    january february march april may june july august september october november december
""")
DAYS = _words("""
    monday tuesday wednesday thursday friday saturday sunday today tomorrow
""")
NAMES = _words("""
    alice anna arthur barbara ben carlos carol charles chen clara daniel david diana edward
    elena emma eric fatima felix frank george grace hannah harry helen henry ibrahim irene ivan
    jack james jane jennifer john joseph julia karen kevin kumar laura leo linda lisa lucy maria
    mark martin mary michael mohammed nancy nina oliver oscar patricia paul peter rachel richard
    robert rosa ruth samuel sarah simon sofia stephen susan theodore thomas victor wang william
    yuki zoe
""")
SURNAMES = _words("""
    anderson baker brown carter clark davis edwards evans fischer garcia green hall harris hill
    jackson johnson jones kelly kim king lee lewis lopez martin miller mitchell moore morgan
    murphy nelson nguyen parker patel phillips roberts robinson rossi schmidt scott singh smith
    stewart taylor thompson turner walker watson white williams wilson wood wright young
""")
PLACES = _words("""
    amsterdam athens austin berlin boston brussels cairo chicago dallas denver dublin edinburgh
    florida geneva houston india ireland italy japan kenya lisbon london madrid manchester
    mexico milan moscow nairobi oregon oslo paris portland prague rome seattle spain sydney
    texas tokyo toronto vienna virginia warsaw washington zurich
""")
THINGS = _phrases("""
    the lamp, the light, the kitchen light, the bedroom lights, the heating, the fan, the radio,
    the television, the garage door, the front door, the blinds, the music, the coffee machine,
    the alarm, the living room lamp, the oven, the speaker, the hall light, the dishwasher
""")
ROOMS = _words("""
    kitchen bedroom bathroom hallway office garage garden basement attic nursery
""")
COLORS = _words("""
    red green blue white yellow orange purple pink
""")
UNITS = _words("""
    seconds minutes hours days dollars euros pounds miles meters degrees percent
""")
VERBS = _phrases("""
    turn on, turn off, switch on, switch off, open, close, start, stop, check, dim
""")


def number(value: int) -> str:
    """The cardinal ``value`` (0 to 999,999) in words.

    >>> number(1207)
    'one thousand two hundred and seven'
    """
    if value < 20:
        return ONES[value]
    if value < 100:
        ones = f" {ONES[value % 10]}" if value % 10 else ""
        return TENS[value // 10 - 2] + ones
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = value % size
            joint = " and " if rest < 100 else " "
            return f"{number(value // size)} {name}" + (joint + number(rest) if rest else "")
    raise AssertionError(value)


def _day(rng: random.Random) -> str:
    ordinal = rng.choice(ORDINALS)
    day = rng.choice((ordinal, f"twenty {rng.choice(ORDINALS[:9])}", "thirtieth", "thirty first"))
    month = rng.choice(MONTHS)
    return rng.choice((f"{month} {day}", f"the {day} of {month}", f"on {rng.choice(DAYS)}"))


def _time(rng: random.Random) -> str:
    hour, minute = ONES[rng.randint(1, 12)], rng.choice((5, 10, 15, 20, 25, 30, 40, 45, 50))
    return rng.choice(
        (
            f"{hour} o'clock",
            f"half past {hour}",
            f"quarter to {hour}",
            f"{hour} {number(minute)} {rng.choice(('a m', 'p m'))}",
            f"{number(minute)} past {hour}",
            f"{hour} in the {rng.choice(('morning', 'evening', 'afternoon'))}",
        )
    )


def _value(rng: random.Random) -> str:
    return number(int(10 ** rng.uniform(0, 5.5)))


def _digits(rng: random.Random) -> str:
    return " ".join(ONES[rng.randint(0, 9)] for _ in range(rng.randint(2, 8)))


def _year(rng: random.Random) -> str:
    return f"{number(rng.randint(15, 20))} {number(rng.randint(10, 99))}"


def phrase(rng: random.Random) -> str:
    """One line of one of the patterns."""
    name = f"{rng.choice(NAMES)} {rng.choice(SURNAMES)}"
    thing, verb, unit, room = (rng.choice(words) for words in (THINGS, VERBS, UNITS, ROOMS))
    patterns = (
        f"{_value(rng)} {unit}",
        _digits(rng),
        f"my number is {_digits(rng)}",
        f"set {rng.choice(('a timer', 'an alarm'))} for {_time(rng)}",
        f"set a timer for {number(rng.randint(1, 90))} {rng.choice(UNITS[:3])}",
        f"remind me {_day(rng)} at {_time(rng)}",
        f"it was {_day(rng)} {_year(rng)}",
        f"in {_year(rng)} there were {_value(rng)} of them",
        f"call {name}",
        f"{name} and {rng.choice(NAMES)} live in {rng.choice(PLACES)}",
        f"what is the weather in {rng.choice(PLACES)} {rng.choice(DAYS)}",
        f"{verb} {thing}",
        f"please {verb} {thing} in the {room}",
        f"set the {room} light to {rng.choice(COLORS)}",
        f"dim {thing} to {number(rng.randint(0, 100))} percent",
        f"how much is {_value(rng)} {rng.choice(('plus', 'minus', 'times'))} {_value(rng)}",
        f"i was born in {rng.choice(PLACES)} {_day(rng)}",
        " ".join(rng.choice(NAMES + PLACES)),
        f"the temperature is {number(rng.randint(1, 110))} degrees in {rng.choice(PLACES)}",
    )
    return rng.choice(patterns)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="write lines of numbers, names and commands")
    parser.add_argument("--count", type=positive, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="text file to write")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    lines = dict.fromkeys(phrase(rng) for _ in range(arguments.count))
    return told("phrases", lambda: arguments.out.write_text("\n".join(lines) + "\n"))


if __name__ == "__main__":
    sys.exit(main())
