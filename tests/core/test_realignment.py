"""Settled words are where a forced alignment of their text finds them."""

import random
from itertools import pairwise

import numpy as np
import pytest

from streamer.core.alignment import align
from streamer.core.ctc import Token
from streamer.core.hypothesis import Final
from streamer.core.realignment import Realigner
from streamer.core.recognizer import Recognizer
from tests.fakes import LABELS, SearchedModel, silence, speak

BLANK, DELIMITER = 0, 1


def posteriors(ids, seed=0):
    logits = np.random.default_rng(seed).normal(0, 1.0, (len(ids), 6))
    logits[np.arange(len(ids)), ids] += 4
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float16).astype(np.float32)


def realigner(max_frames=1000):
    return Realigner(frozenset({BLANK, DELIMITER}), BLANK, max_frames)


@pytest.mark.parametrize("seed", range(20))
def test_words_lie_on_the_best_path_of_their_letters_whatever_the_cuts(seed):
    rng = random.Random(seed)
    spelled = [2, 3, DELIMITER, 3, 4, 5, DELIMITER]
    ids = [id_ for each in spelled for id_ in [each] * rng.randint(1, 3) + [0] * rng.randint(1, 4)]
    log_probs = posteriors(ids, seed)
    place, begin = realigner(), 0
    while begin < len(ids):
        end = min(len(ids), begin + rng.randint(1, 9))
        place.accept(log_probs[begin:end])
        place.trim()
        begin = end
    placed = place.place([Token(id_, 0, 1, -0.5) for id_ in spelled], len(ids))
    gaps = log_probs.copy()
    gaps[:, BLANK] = np.maximum(gaps[:, BLANK], gaps[:, DELIMITER])
    letters = [id_ for id_ in spelled if id_ != DELIMITER]
    expected = [(t.id, t.start_frame, t.end_frame) for t in align(gaps, letters, BLANK)]
    found = [(t.id, t.start_frame, t.end_frame) for t in placed if t.id != DELIMITER]
    assert found == expected
    assert all(t.log_prob == -0.5 for t in placed)
    for one, other in pairwise(placed):
        assert one.end_frame <= other.start_frame


def test_words_that_begin_before_what_is_kept_keep_their_times():
    place = realigner(max_frames=4)
    place.accept(posteriors([2, 2, 0, 0, 0, 3, 0, 0]))
    place.trim()
    old, new = [Token(2, 1, 2, 0.0), Token(1, 2, 2, 0.0)], [Token(3, 6, 7, 0.0)]
    assert place.place(old, 4) == old
    assert place.place(new, 8) == [Token(3, 5, 6, 0.0)]


def test_a_text_without_a_path_keeps_its_times():
    place = realigner()
    place.accept(posteriors([2, 0]))
    tokens = [Token(id_, i, i + 1, 0.0) for i, id_ in enumerate((2, 3, 4))]
    assert place.place(tokens, 2) == tokens


@pytest.mark.parametrize("doubt", [0.0, 0.4])
def test_memory_is_what_is_not_settled(doubt):
    recognizer = Recognizer(SearchedModel(doubt=doubt))
    most = 0
    for _ in range(6):
        recognizer.stream.accept_waveform(np.concatenate([speak("ab cd ef gh " * 8), silence(3.0)]))
        recognizer.decode()
        most = max(most, recognizer.stream._state.decoder._decoder._realigner._kept.nbytes)
    assert most <= 200 * len(LABELS.tokens) * 2


def test_words_of_a_stream_are_where_they_are_spoken():
    """Beams place a letter that goes on over several frames; the alignment has all of it."""
    (final,) = (
        event
        for event in Recognizer(SearchedModel(doubt=0.3)).transcribe(speak("ab cd", 3, 2))
        if isinstance(event, Final)
    )
    assert [(w.word, w.start, w.end) for w in final.words] == [("ab", 0.0, 0.16), ("cd", 0.3, 0.46)]
