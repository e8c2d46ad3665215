"""Every figure against numbers worked out by hand."""

import jiwer
import pytest

from models.training.data import normalize_text
from streamer.core.hypothesis import Final, Partial, Word
from streamer.evaluation.measures import (
    Edits,
    Spread,
    calibrating_exponent,
    calibration,
    compare_characters,
    compare_words,
    count_edits,
    matches,
    spread,
    timeline,
)
from streamer.evaluation.normalization import basic, none

TEXTS = ["Don't  STOP -- 12 o'clock!", "ÀB c_d\ttab", "", "  ", "it’s"]


@pytest.mark.parametrize("text", TEXTS)
def test_basic_is_the_normalisation_of_training(text):
    assert basic(text) == normalize_text(text)


def test_none_only_joins_spaces():
    assert none(" A  b,\tC ") == "A b, C"


PAIRS = [
    ("a b c d", "a x c", Edits(4, 1, 1, 0)),
    ("a b", "z a b y", Edits(2, 0, 0, 2)),
    ("a b", "", Edits(2, 0, 2, 0)),
    ("a", "a", Edits(1, 0, 0, 0)),
]


def test_words_are_counted_as_jiwer_does():
    references, hypotheses = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]
    counted = [count_edits(each) for each in compare_words(references, hypotheses)]
    assert counted == [pair[2] for pair in PAIRS]
    total = sum(counted[1:], counted[0])
    assert total == Edits(9, 1, 3, 2)
    assert total.rate == jiwer.wer(references, hypotheses)
    letters = compare_characters(references, hypotheses)
    characters = [count_edits(each) for each in letters]
    assert sum(characters[1:], characters[0]).rate == jiwer.cer(references, hypotheses)


def test_without_references_there_is_no_rate():
    assert compare_words([], []) == compare_characters([], []) == []
    assert Edits(insertions=3).rate is None


def test_right_words_are_paired():
    (chunks,) = compare_words(["a b c d"], ["z a x c d"])
    assert matches(chunks) == [(0, 1), (2, 3), (3, 4)]


# --- what a listener sees -------------------------------------------------------------------------


def words(text, confidence=0.5):
    return tuple(Word(word, 0.0, 0.0, confidence) for word in text.split())


def partial(committed, tail=""):
    return Partial(0, 1, committed, tail, words(f"{committed} {tail}"), 0.0, 0.0)


def final(text, reason="endpoint", confidence=0.5):
    return Final(0, text, words(text, confidence), 0.0, 0.0, confidence, reason)


def test_a_word_counts_from_when_it_stays():
    seen = timeline(
        [
            (1.0, partial("", "turn")),
            (2.0, partial("turn", "of")),
            (3.0, partial("turn", "on")),
            (4.0, partial("turn", "off the")),
            (5.0, partial("turn off", "the")),
            (6.0, final("turn off the lamp")),
        ],
        basic,
    )
    assert seen.words == ["turn", "off", "the", "lamp"]
    assert seen.shown_s == [1.0, 4.0, 4.0, 6.0]
    assert seen.committed_s == [2.0, 5.0, 6.0, 6.0]
    assert (seen.first_shown_s, seen.final_s) == (1.0, 6.0)
    assert seen.unstable_words == 2  # of, on
    assert seen.erased_words == 2


def test_erasure_also_counts_what_stands_behind_the_first_difference():
    seen = timeline([(1.0, partial("", "a b c d")), (2.0, partial("", "a x c"))], basic)
    assert seen.unstable_words == 2  # b replaced, d gone
    assert seen.erased_words == 3  # b c d
    assert (seen.words, seen.final_s) == ([], None)


def test_utterances_follow_each_other():
    seen = timeline(
        [
            (1.0, partial("", "a")),
            (2.0, final("a", confidence=0.75)),
            (3.0, partial("b")),
            (4.0, final("b c", reason="end", confidence=0.25)),
        ],
        basic,
    )
    assert seen.words == ["a", "b", "c"]
    assert seen.shown_s == [1.0, 3.0, 4.0]
    assert seen.committed_s == [2.0, 3.0, 4.0]
    assert seen.confidences == [0.75, 0.25, 0.25]
    assert seen.final_s == 2.0  # the audio's end made the other
    assert seen.erased_words == seen.unstable_words == 0


def test_words_that_a_cut_moves_to_the_next_utterance_stay_on_display():
    seen = timeline(
        [
            (1.0, partial("a", "b c")),
            (2.0, final("a b", reason="length")),
            (3.0, partial("", "c d")),
            (4.0, final("c d")),
        ],
        basic,
    )
    assert seen.words == ["a", "b", "c", "d"]
    assert seen.shown_s == [1.0, 1.0, 1.0, 3.0]
    assert seen.committed_s == [1.0, 2.0, 4.0, 4.0]
    assert seen.erased_words == 0


def test_text_taken_back_entirely_is_erased():
    seen = timeline([(1.0, partial("", "uh huh")), (2.0, partial(""))], basic)
    assert (seen.first_shown_s, seen.erased_words, seen.unstable_words) == (1.0, 2, 2)


def test_normalisation_may_split_and_drop_words():
    seen = timeline([(1.0, partial("Well-", "Known")), (2.0, final("Well-Known 12 X"))], basic)
    assert seen.words == ["well", "known", "x"]
    assert seen.shown_s == [1.0, 1.0, 2.0]
    assert len(seen.confidences) == 3


# --- pooling --------------------------------------------------------------------------------------


def test_the_calibrating_exponent_is_found():
    said = [value for value in (0.6, 0.8, 0.9) for _ in range(1000)]
    right = [rank < 1000 * value**3 for value in (0.6, 0.8, 0.9) for rank in range(1000)]
    found = calibrating_exponent(said, right)
    assert found == pytest.approx(3.0, rel=0.06)
    before, after = (calibration([v**power for v in said], right)[0] for power in (1.0, found))
    assert after < before / 5
    assert calibrating_exponent([0.5, 0.9], [True, True]) is None


def test_calibration_is_the_weighted_gap():
    error, bins = calibration([0.95, 0.93, 0.97, 0.15], [True, True, False, False])
    assert bins == [
        (pytest.approx(0.15), 0.0, 1),
        (pytest.approx(0.95), pytest.approx(2 / 3), 3),
    ]
    assert error == pytest.approx((3 * (0.95 - 2 / 3) + 0.15) / 4)
    assert calibration([1.0], [True]) == (0.0, [(1.0, 1.0, 1)])
    assert calibration([], []) == (None, [])


def test_spread_is_the_median_and_the_95th_percentile():
    assert spread([float(value) for value in range(101)]) == Spread(50.0, 95.0, 101)
    assert spread([3.0]) == Spread(3.0, 3.0, 1)
    assert spread([]) is None
