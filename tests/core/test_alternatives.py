"""The n-best of utterances: put together from parts, and told by a stream."""

import math
import random
from itertools import product

import numpy as np
import pytest

from streamer.core import beam
from streamer.core.alternatives import Part, n_best
from streamer.core.beam import BeamRules, BeamState, Search
from streamer.core.context import Context
from streamer.core.endpoint import DEFAULT_RULES
from streamer.core.hypothesis import Final, Word
from streamer.core.options import DecodingOptions
from streamer.core.recognizer import Recognizer
from streamer.core.scoring import NoScorer
from streamer.core.text_rules import TextRules
from tests.fakes import BLANK, DELIMITER, LABELS, SearchedModel, silence, speak

FIVE = DecodingOptions(n_best=5)


def words(text, start=0.0):
    return [Word(w, start + i, start + i + 0.5, 1.0) for i, w in enumerate(text.split())]


@pytest.mark.parametrize("seed", range(10))
def test_parts_are_put_together_as_if_all_combinations_were_tried(seed):
    rng = random.Random(seed)
    parts, said = [], words("before")
    for index in range(3):
        texts = [(f"{c}{index}", -rng.random() if c != "a" else 0.0) for c in "abcd"]
        parts.append(
            Part(10.0 * index + 5, 10.0 * index + 8, tuple(sorted(texts, key=lambda t: -t[1])))
        )
        said += words(f"a{index}", 10.0 * index + 5) + words("then", 10.0 * index + 9)
    everything = sorted(
        (
            (
                sum(score for _, score in chosen),
                "before " + " ".join(f"{t} then" for t, _ in chosen),
            )
            for chosen in product(*(part.texts for part in parts))
        ),
        reverse=True,
    )
    found = n_best(said, parts, 6)
    assert [each.text for each in found] == [text for _, text in everything[:6]]
    assert [each.score for each in found] == pytest.approx([score for score, _ in everything[:6]])


def test_a_part_that_a_cut_has_divided_leaves_its_words_as_they_are():
    part = Part(0.0, 3.0, (("a b c", 0.0), ("a b d", -1.0)))
    assert [each.text for each in n_best(words("a b"), [part], 3)] == ["a b"]


def finals(samples, options, packet=10**6, text=None, doubt=0.4):
    more = {} if text is None else {"text": text}
    recognizer = Recognizer(SearchedModel(doubt=doubt), options=options, **more)
    events = []
    for begin in range(0, len(samples), packet):
        recognizer.stream.accept_waveform(samples[begin : begin + packet])
        events += recognizer.decode()
    recognizer.stream.input_finished()
    return [e for e in events + recognizer.decode() if isinstance(e, Final)]


def test_a_final_tells_what_the_search_has_found():
    samples = speak("ab")
    (final,) = finals(samples, FIVE)
    search = Search(LABELS.tokens, frozenset({BLANK}), DELIMITER, NoScorer(), BeamRules(10))
    frames = SearchedModel(doubt=0.4).read_all(samples)
    state, _ = beam.fold(BeamState.start(search.scorer), frames.all_log_probs, search)
    expected = beam.n_best(state, search)[:5]
    assert len(expected) == 5
    assert [each.text for each in final.alternatives] == [each.text for each in expected]
    scores = [each.score - expected[0].score for each in expected]
    assert [each.score for each in final.alternatives] == pytest.approx(scores)


@pytest.mark.parametrize("packet", [317, 2_000, 8_000])
def test_packets_change_no_alternatives_and_pauses_part_them(packet):
    samples = np.concatenate([speak("ab cd"), silence(0.5), speak("ef"), silence(1.0), speak("g")])
    whole = finals(samples, FIVE)
    assert finals(samples, FIVE, packet) == whole
    assert [final.text for final in whole] == ["ab cd ef", "g"]
    for final in whole:
        assert 1 < len(final.alternatives) <= 5
        assert (final.alternatives[0].text, final.alternatives[0].score) == (final.text, 0.0)
        scores = [each.score for each in final.alternatives]
        assert scores == sorted(scores, reverse=True)
        assert all(math.isfinite(score) for score in scores)
        assert len({each.text for each in final.alternatives}) == len(scores)


def test_alternatives_are_told_on_request_only_and_change_nothing_else():
    samples = speak("ab cd")
    (plain,), (told,) = finals(samples, DecodingOptions()), finals(samples, FIVE)
    assert plain.alternatives is None
    assert (plain.text, plain.words) == (told.text, told.words)


def test_alternatives_hold_nothing_that_is_masked():
    (final,) = finals(
        speak("ab"), FIVE, text=TextRules(profanity=frozenset({"ab", "bb"}), mask_profanity=True)
    )
    assert all(each.text not in ("ab", "bb") for each in final.alternatives)
    assert final.alternatives[0].text == final.text != "ab"


def test_where_numbers_are_redacted_there_are_no_alternatives_that_sound_like_them():
    (final,) = finals(speak("four"), FIVE, text=TextRules(redact_numbers=True))
    assert (final.text, final.alternatives) == ("[number]", None)


def test_a_change_of_the_number_counts_for_utterances_that_end_behind_it():
    recognizer = Recognizer(SearchedModel(Context(0, 16, 0), doubt=0.4))
    recognizer.stream.accept_waveform(speak("ab"))
    recognizer.stream.flush()
    recognizer.stream.configure(DEFAULT_RULES, DecodingOptions(n_best=3))
    recognizer.stream.accept_waveform(speak("ab"))
    recognizer.stream.input_finished()
    one, other = (e for e in recognizer.decode() if isinstance(e, Final))
    assert one.alternatives is None
    assert len(other.alternatives) == 3
