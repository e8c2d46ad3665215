"""Keyword spotting: any cut of the frames is one call, and a slow search by hand finds the same."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core import keywords
from streamer.core.frames import Labels
from streamer.core.keywords import Phrase, Spotted, Spotter
from tests.fakes import LABELS

SMALL = Labels(("", "|", "a", "b"), blank=0, delimiter=1)
PAUSE, REST = 3, 6


def ready(*phrases: Phrase, labels: Labels = SMALL, rest_frames: int = REST) -> Spotter:
    return keywords.spotter(phrases, labels, pause_frames=PAUSE, rest_frames=rest_frames)


def peaky(ids: list[int], labels: int = 4, best: float = 0.97) -> np.ndarray:
    probs = np.full((len(ids), labels), (1 - best) / (labels - 1))
    probs[np.arange(len(ids)), ids] = best
    return np.log(probs).astype(np.float32)


def spot_all(search: Spotter, log_probs: np.ndarray) -> list[Spotted]:
    state, spotted = keywords.fold(keywords.start(search), log_probs, search)
    return spotted + keywords.finish(state, search)[1]


def random_frames(seed: int, frames: int, sharpness: float) -> np.ndarray:
    """Frames in which each of a few labels is likely: short words turn up by chance."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (frames, 4))
    logits[:, 0] += rng.choice([0.0, 2 * sharpness], frames)
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


PHRASES = (Phrase("ab", 0.3), Phrase("a", 0.6), Phrase("aab b", 0.05), Phrase("ba", 0.3))


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(0, 60),
    sharpness=st.sampled_from((0.5, 2.0, 5.0)),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_any_cut_of_the_frames_gives_the_same_detections(seed, frames, sharpness, cuts):
    log_probs = random_frames(seed, frames, sharpness)
    search = ready(*PHRASES)
    state, spotted = keywords.start(search), []
    for part in np.split(log_probs, sorted(min(cut, frames) for cut in cuts)):
        state, found = keywords.fold(state, part, search)
        spotted += found
    spotted += keywords.finish(state, search)[1]
    assert spotted == spot_all(search, log_probs)


Paths = dict[tuple[int, bool], tuple[float, int, int]]  # (label, on blank): score, from, to


def step(ids: list[int], paths: Paths, cost: np.ndarray, gate: float, frame: int) -> Paths:
    """The best way to each label one frame on; `gate` is the score with which the phrase begins."""
    now: Paths = {}
    blank, delimiter = cost[0], cost[1]
    for at, id_ in enumerate(ids):
        ways = [paths.get((at, False))]
        ways.append((gate, frame, 0) if at == 0 else paths.get((at - 1, True)))
        if at and ids[at - 1] != id_:
            ways.append(paths.get((at - 1, False)))
        here = max(delimiter, blank) if id_ == 1 else cost[id_]
        known = [way for way in ways if way is not None]
        if known:
            score, begin, _ = max(known, key=lambda way: way[0])
            now[at, False] = (score + here, begin, frame + 1)
        rest = [way for way in (paths.get((at, True)), paths.get((at, False))) if way]
        if rest:
            score, begin, end = max(rest, key=lambda way: way[0])
            now[at, True] = (score + blank, begin, end)
    return now


def by_hand(phrase: Phrase, log_probs: np.ndarray, rest_frames: int) -> list[Spotted]:
    """The same search over dictionaries of paths, without pruning and without arrays."""
    ids = keywords.spell(phrase.text, SMALL)
    costs = log_probs.astype(np.float64)
    costs -= costs.max(axis=1, keepdims=True)
    paths: Paths = {}
    gate, run, rests, spotted = 0.0, PAUSE, 0, []

    def report(way, frame):
        score, begin, end = way
        if score >= len(ids) * math.log(phrase.threshold) and frame > rests:
            spotted.append(Spotted(0, begin, end, math.exp(score / len(ids))))
            return True
        return False

    for frame, cost in enumerate(costs):
        now, blank, delimiter = step(ids, paths, cost, gate, frame), cost[0], cost[1]
        run = run + 1 if cost.argmax() == 0 else 0
        final = len(ids) - 1
        if run >= PAUSE:
            closed = [now[final, True]] if (final, True) in now else []
        else:
            closed = [
                (score + delimiter, begin, end)
                for score, begin, end in (
                    paths.get((final, k)) for k in (False, True) if (final, k) in paths
                )
            ]
        if closed and report(max(closed, key=lambda way: way[0]), frame + 1):
            now, rests = {}, frame + 1 + rest_frames
        paths, gate = now, (0.0 if run >= PAUSE else max(gate + blank, delimiter))
    ends = [paths[len(ids) - 1, k] for k in (False, True) if (len(ids) - 1, k) in paths]
    if ends:
        report(max(ends, key=lambda way: way[0]), len(costs))
    return spotted


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(0, 40),
    sharpness=st.sampled_from((0.5, 2.0, 5.0)),
    phrase=st.sampled_from(PHRASES),
)
def test_a_slow_search_by_hand_finds_the_same(seed, frames, sharpness, phrase):
    log_probs = random_frames(seed, frames, sharpness)
    found, expected = spot_all(ready(phrase), log_probs), by_hand(phrase, log_probs, REST)
    assert [(s.start_frame, s.end_frame) for s in found] == [
        (s.start_frame, s.end_frame) for s in expected
    ]
    assert [s.score for s in found] == pytest.approx([s.score for s in expected])


def test_the_neighbours_in_a_list_change_nothing():
    for seed in range(20):
        log_probs = random_frames(seed, 80, 3.0)
        together = spot_all(ready(*PHRASES), log_probs)
        for index, phrase in enumerate(PHRASES):
            alone = spot_all(ready(phrase), log_probs)
            own = [s for s in together if s.index == index]
            assert [(s.start_frame, s.end_frame, s.score) for s in own] == [
                (s.start_frame, s.end_frame, s.score) for s in alone
            ]


def test_a_word_spelt_on_the_best_path_scores_one():
    #            |  a  a  _  b  _  _  _
    ids = [0, 0, 1, 2, 2, 0, 3, 0, 0, 0, 0]
    assert spot_all(ready(Phrase("ab")), peaky(ids)) == [Spotted(0, 3, 7, 1.0)]


def test_it_is_heard_when_the_word_is_over_and_not_before():
    search = ready(Phrase("ab"))
    log_probs = peaky([2, 3, 0, 0, 0, 0])
    state, spotted = keywords.fold(keywords.start(search), log_probs[:4], search)
    assert spotted == []
    assert keywords.fold(state, log_probs[4:5], search)[1] == [Spotted(0, 0, 2, 1.0)]
    closed = peaky([2, 3, 1])
    assert keywords.fold(keywords.start(search), closed, search)[1] == [Spotted(0, 0, 2, 1.0)]


@pytest.mark.parametrize("ids", [[3, 2, 3, 1], [2, 3, 2, 1], [2, 2, 1], [2, 1, 3, 1]])
def test_a_part_of_a_word_and_another_word_are_not_heard(ids):
    assert spot_all(ready(Phrase("ab")), peaky([0, *ids, 0, 0, 0, 0])) == []


def test_equal_labels_need_a_blank_between_them():
    search = ready(Phrase("aa"))
    assert spot_all(search, peaky([1, 2, 2, 2, 1])) == []
    assert spot_all(search, peaky([1, 2, 0, 2, 1])) == [Spotted(0, 1, 4, 1.0)]


def test_a_misspelt_word_is_heard_below_its_score_only():
    probs = np.full((4, 4), 0.02)
    for frame, best in enumerate([1, 2, 2, 1]):
        probs[frame, best] = 0.94
    probs[2] = [0.02, 0.02, 0.6, 0.36]  # "aa" or "ab"
    (found,) = spot_all(ready(Phrase("ab", 0.1)), np.log(probs).astype(np.float32))
    assert found.score == pytest.approx(math.sqrt(0.36 / 0.6))
    above = found.score * 1.01
    assert spot_all(ready(Phrase("ab", above)), np.log(probs).astype(np.float32)) == []


def test_a_phrase_rests_after_it_was_heard():
    ids = [1, 2, 1, 2, 1, 2, 1, 2, 1]
    starts = [s.start_frame for s in spot_all(ready(Phrase("a"), rest_frames=3), peaky(ids))]
    assert starts == [1, 5]


def test_words_of_a_phrase_may_lack_the_delimiter_between_them():
    assert len(spot_all(ready(Phrase("a b")), peaky([1, 2, 0, 3, 1]))) == 1
    assert len(spot_all(ready(Phrase("a b")), peaky([1, 2, 1, 3, 1]))) == 1


def test_without_a_delimiter_pauses_alone_end_a_word():
    labels = Labels(("", "|", "a", "b"), blank=0, delimiter=None)
    assert spot_all(ready(Phrase("ab"), labels=labels), peaky([3, 2, 3, 0, 0, 0, 0]))


def test_a_state_does_not_grow_with_time():
    search = ready(*PHRASES)
    state = keywords.start(search)
    for seed in range(50):
        state, _ = keywords.fold(state, random_frames(seed, 200, 2.0), search)
    assert state.frames == 10_000
    assert state.on_label.shape == state.label_starts.shape == search.labels.shape
    assert state.ends.shape == state.rests.shape == (len(PHRASES),)


def test_what_cannot_be_listened_for_is_refused():
    with pytest.raises(ValueError, match="cannot spell '5'"):
        keywords.spell("route 5", LABELS)
    with pytest.raises(ValueError, match="1 to 64 characters"):
        Phrase(" ")
    with pytest.raises(ValueError, match="threshold"):
        Phrase("a", 0.0)
    with pytest.raises(ValueError, match="1 to 100 keywords"):
        ready()


def test_spelling_takes_the_case_and_the_longest_labels():
    pieces = Labels(("", "A", "B", "AB", "|"), blank=0, delimiter=4)
    assert keywords.spell("ab  aba", pieces) == [3, 4, 3, 1]
