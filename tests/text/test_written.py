"""Written form: what is written for what is said, and that no text breaks it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core.hypothesis import Word
from streamer.text.written import written

# fmt: off
SAID_AND_WRITTEN = {
    # times
    "turn it on at five thirty p m": "Turn it on at 5:30 p.m.",
    "five pm or ten a.m. or five": "5 p.m. or 10 a.m. or 5",
    "at ten oh five": "At 10:05",
    "two o'clock": "2 o'clock",
    "half past three": "3:30",
    "a quarter to one": "12:45",
    "quarter past twelve": "12:15",
    # money and shares
    "five dollars and ten cents": "$5.10",
    "one dollar": "$1",
    "twelve euros and one pound": "€12 and £1",
    "five pounds of sugar": "5 pounds of sugar",
    "one point five million dollars": "$1.5 million",
    "a thousand dollars": "$1000",
    "five percent and ten per cent": "5% and 10%",
    # dates and ordinals
    "the twenty first of october nineteen eighty four": "The 21st of October 1984",
    "may first and the second of march": "May 1st and the 2nd of March",
    "you may march on monday": "You may march on Monday",
    "the first one and the second one": "The first one and the second one",
    "the eleventh hour three tenths": "The 11th hour three tenths",
    "twenty twenty six": "2026",
    "nineteen oh five": "1905",
    # numbers
    "i need one of a hundred": "I need one of a hundred",
    "twenty five cows and one hundred and one dalmatians": "25 cows and 101 dalmatians",
    "three point one four": "3.14",
    "fifty thousand or two million": "50,000 or 2 million",
    "four one five five five five oh one two": "415555012",
    "double five seven triple zero": "557000",
    "o dear five": "O dear 5",
    # case
    "i think i'm in april": "I think I'm in April",
    "TURN ON LAMP FIVE": "Turn on lamp 5",
    "Ask Tom": "Ask Tom",
    "[number] f***": "[number] f***",
    "": "",
}
# fmt: on


def spoken(text: str, pause_s: float = 0.1) -> list[Word]:
    pace = 0.4 + pause_s
    return [
        Word(word, at * pace, at * pace + 0.4, 1 - at / 100) for at, word in enumerate(text.split())
    ]


def text(words) -> str:
    return " ".join(word.word for word in words)


@pytest.mark.parametrize("said", SAID_AND_WRITTEN)
def test_what_is_said_is_written(said):
    assert text(written(spoken(said), begins=True)) == SAID_AND_WRITTEN[said]


def test_a_sentence_that_goes_on_has_no_capital():
    assert text(written(spoken("and then"), begins=False)) == "and then"


def test_written_words_have_the_times_of_what_was_said():
    said = spoken("at five thirty p m sharp")
    at, time, half, sharp = written(said, begins=False)
    assert (time.word, time.start, time.end) == ("5:30", said[1].start, said[2].end)
    assert (half.word, half.start, half.end) == ("p.m.", said[3].start, said[4].end)
    assert (time.confidence, half.confidence) == (said[2].confidence, said[4].confidence)
    assert (at, sharp) == (said[0], said[5])


def test_a_pause_parts_two_numbers():
    assert text(written(spoken("forty two"), begins=False)) == "42"
    assert text(written(spoken("forty two", pause_s=0.7), begins=False)) == "40 2"


SPEECH = st.lists(
    st.one_of(
        st.sampled_from(" ".join(SAID_AND_WRITTEN).split()),
        st.sampled_from(("trillion", "hundredth", "zero", "5", "5th", "a", "point", "and", "oh")),
        st.text(min_size=1, max_size=5),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=500)
@given(SPEECH, st.booleans())
def test_any_text_can_be_written_and_no_word_is_lost(texts, begins):
    said = [Word(each, i / 2, i / 2 + 0.4, 1 - i / 100) for i, each in enumerate(texts)]
    shown = written(said, begins=begins)
    starts, ends = [word.start for word in said], [word.end for word in said]
    places = [(starts.index(word.start), ends.index(word.end)) for word in shown]
    assert [first for first, _ in places] == [0, *(last + 1 for _, last in places[:-1])][
        : len(shown)
    ]
    assert not said or places[-1][1] == len(said) - 1
    for word, (first, last) in zip(shown, places, strict=True):
        assert word.confidence == min(each.confidence for each in said[first : last + 1])
        assert word.word
    assert all(before.end <= after.start for before, after in pairwise(shown))


@pytest.mark.parametrize("word", ["nine", "zero", "trillion", "double", "oh", "twenty", "first"])
def test_no_row_of_numbers_is_too_long(word):
    shown = written(spoken(" ".join([word] * 6_000)), begins=True)
    assert text(shown)
