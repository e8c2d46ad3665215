"""Masks: no number and no listed word gets through, and committed text still only grows."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamer.core.hypothesis import Word
from streamer.core.masking import NUMBER, Masks

# fmt: off
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "nineteen", "ninety", "hundred")
OTHERS = ("my", "pin", "is", "oh", "to", "for", "won", "double", "the", "lamp", "stone", "often",
          "second", "7", "4th", "５", "Five")
# fmt: on
REDACT = Masks(numbers=True)


def spoken(*texts: str) -> list[Word]:
    return [Word(text, i / 2, i / 2 + 0.4, 1 - i / 100) for i, text in enumerate(texts)]


def text(words) -> str:
    return " ".join(word.word for word in words)


def holds_number(words) -> bool:
    """Asked another way than the masks do."""
    shown = text(words).lower().replace(NUMBER, "")
    return re.search(rf"\d|\b({'|'.join(NUMBERS)})\b", shown) is not None


words_of_speech = st.lists(
    st.one_of(
        st.sampled_from(NUMBERS + OTHERS),
        st.text("ab'-７\N{ROMAN NUMERAL FIVE}", min_size=1, max_size=6),
    ),
    max_size=25,
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("my pin is four one one two thanks", "my pin is [number] thanks"),
        ("it is oh four two for you", "it is [number] you"),
        ("for to the house", "for to the house"),
        ("call for one two for six now", "call [number] now"),
        ("twenty first of may", "[number] of may"),
        ("wait a second", "wait a second"),
        ("fortytwo forty-two fourfive 1a ⅷ", "[number]"),
        (
            "often someone alone stones tension eighty's",
            "often someone alone stones tension [number]",
        ),
    ],
)
def test_numbers_are_redacted(said, shown):
    assert text(REDACT.final(spoken(*said.split()))) == shown


def test_a_redacted_run_has_its_time_and_its_least_confidence():
    (before, number, after) = REDACT.final(spoken("pin", "four", "one", "two", "now"))
    assert number == Word(NUMBER, 0.5, 1.9, 0.97)
    assert (before.word, after.word) == ("pin", "now")


def test_listed_words_keep_their_first_letter():
    masks = Masks(words=frozenset({"darn"}))
    assert text(masks.final(spoken("Darn", "darn's", "darning"))) == "D*** d***** darning"
    assert text(masks.partial(spoken("darn"), spoken("darn"))[1]) == "d***"


def test_without_masks_words_are_left_alone():
    words = spoken("four", "darn")
    assert Masks().final(words) == tuple(words)
    assert Masks().partial(words, words) == (words, words)


@settings(max_examples=300, deadline=None)
@given(words_of_speech)
def test_no_final_holds_a_number(texts):
    shown = REDACT.final(spoken(*texts))
    assert not holds_number(shown)
    assert all(before.end <= after.start for before, after in pairwise(shown))


@settings(max_examples=300, deadline=None)
@given(words_of_speech, st.integers(0, 25), st.integers(0, 25))
@example(["for", "two"], 1, 1)
def test_no_partial_holds_a_number_or_a_word_that_lacks_letters(texts, closed, seen):
    words = spoken(*texts)
    committed, tail = REDACT.partial(words[:closed], words[closed : closed + seen])
    shown = [*committed, *tail]
    assert not holds_number(shown)
    if words[closed : closed + seen]:
        assert words[closed : closed + seen][-1] not in shown


@settings(max_examples=300, deadline=None)
@given(words_of_speech, st.sampled_from((REDACT, Masks(words=frozenset({"the", "lamp"})))))
@example(["for", "to", "four", "for", "you"], REDACT)
def test_committed_text_only_grows_and_the_final_begins_with_it(texts, masks):
    words, before = spoken(*texts), ""
    final = text(masks.final(words))
    for closed in range(len(words) + 1):
        for seen in (0, 1, 2):
            committed, _ = masks.partial(words[:closed], words[closed : closed + seen])
            now = text(committed)
            assert now.startswith(before)
            assert final.startswith(now)
            before = now


@settings(max_examples=300, deadline=None)
@given(words_of_speech, st.integers(0, 25))
def test_what_is_shown_of_an_utterance_is_the_beginning_of_its_final(texts, closed):
    words = spoken(*texts)
    committed, tail = REDACT.partial(words[:closed], words[closed:])
    shown = [word.word for word in (*committed, *tail)]
    assert [word.word for word in REDACT.final(words)][: len(shown)] == shown
