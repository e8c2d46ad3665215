"""Forced alignment against trying every path."""

from itertools import groupby, product

import numpy as np
import pytest

from streamer.core.alignment import align, required_frames

BLANK = 0
LABELS = 4


def collapsed(path):
    return [id_ for id_, _ in groupby(path) if id_ != BLANK]


def score(log_probs, path):
    return sum(log_probs[frame, id_] for frame, id_ in enumerate(path))


def best_by_trying(log_probs, token_ids):
    paths = product(range(log_probs.shape[1]), repeat=len(log_probs))
    return max(score(log_probs, path) for path in paths if collapsed(path) == list(token_ids))


def path_of(tokens, frames):
    path = [BLANK] * frames
    for token in tokens:
        path[token.start_frame : token.end_frame] = [token.id] * (
            token.end_frame - token.start_frame
        )
    return path


def random_log_probs(seed, frames):
    logits = np.random.default_rng(seed).normal(0, 3, (frames, LABELS))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("token_ids", [[1], [1, 2], [1, 1], [2, 3, 2], [3, 3, 1], [1, 1, 1], []])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_best_of_all_paths(token_ids, seed):
    log_probs = random_log_probs(seed, 6)
    tokens = align(log_probs, token_ids, BLANK)
    path = path_of(tokens, 6)
    assert collapsed(path) == token_ids == [token.id for token in tokens]
    assert score(log_probs, path) == pytest.approx(best_by_trying(log_probs, token_ids))
    for token in tokens:
        run = log_probs[token.start_frame : token.end_frame, token.id]
        assert token.log_prob == run.max()


def test_the_blank_may_be_any_id():
    log_probs = random_log_probs(9, 5)
    swapped = log_probs[:, [3, 1, 2, 0]]
    ours, theirs = align(log_probs, [1, 2], 0), align(swapped, [1, 2], 3)
    assert ours == theirs


@pytest.mark.parametrize("token_ids", [[1, 2, 3], [1, 1], [2, 2, 2]])
def test_a_text_may_need_every_frame_but_not_more(token_ids):
    frames = required_frames(token_ids)
    tokens = align(random_log_probs(1, frames), token_ids, BLANK)
    assert collapsed(path_of(tokens, frames)) == token_ids
    with pytest.raises(ValueError, match=f"expected at least {frames} frames .* got {frames - 1}"):
        align(random_log_probs(1, frames - 1), token_ids, BLANK)


@pytest.mark.parametrize("token_ids", [[BLANK], [1, LABELS], [-1]])
def test_ids_that_cannot_be_said_are_refused(token_ids):
    with pytest.raises(ValueError, match="expected ids below 4"):
        align(random_log_probs(1, 9), token_ids, BLANK)


def test_the_impossible_is_refused():
    log_probs = np.full((4, LABELS), -np.inf)
    log_probs[:, BLANK] = 0.0
    with pytest.raises(ValueError, match="probability above zero"):
        align(log_probs, [1], BLANK)
