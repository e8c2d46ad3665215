"""Forced alignment: where in the frames a known text was said, by Viterbi over CTC log-probs.

Owns the search for the most probable path that collapses to given tokens. Must not know: text,
words, seconds.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.core.ctc import Token

LogProbs: TypeAlias = npt.NDArray[np.floating[Any]]


def required_frames(token_ids: Sequence[int]) -> int:
    """Frames that the tokens need at least: one each, and a blank between two equal ones."""
    repeats = sum(a == b for a, b in pairwise(token_ids))
    return len(token_ids) + repeats


def align(log_probs: LogProbs, token_ids: Sequence[int], blank: int) -> list[Token]:
    """The runs of `token_ids` on the most probable path through `log_probs` (T, V).

    One `Token` for each id, in order, over frames [start_frame, end_frame); all other frames are
    blank. Time and memory grow with T times the number of ids. Raises ValueError when the ids do
    not fit into T frames, are blank or unknown, or when every path has the probability zero.
    """
    frames, labels = log_probs.shape
    if not all(0 <= id_ < labels and id_ != blank for id_ in token_ids):
        raise ValueError(f"expected ids below {labels} and not {blank} (blank), got {token_ids}")
    if frames < required_frames(token_ids):
        raise ValueError(
            f"expected at least {required_frames(token_ids)} frames for {len(token_ids)} tokens, "
            f"got {frames}"
        )
    if not token_ids:
        return []
    path = _best_path(log_probs, np.array(token_ids, np.int64), blank)
    tokens = []
    for index, id_ in enumerate(token_ids):
        start = int(np.searchsorted(path, 2 * index + 1, "left"))
        end = int(np.searchsorted(path, 2 * index + 1, "right"))
        tokens.append(Token(id_, start, end, float(log_probs[start:end, id_].max())))
    return tokens


def _best_path(
    log_probs: LogProbs, token_ids: npt.NDArray[np.int64], blank: int
) -> npt.NDArray[np.int64]:
    """The state of each frame, (T,): 2 i + 1 is token i, 2 i the blank before it."""
    states = np.full(2 * len(token_ids) + 1, blank)
    states[1::2] = token_ids
    may_skip = np.zeros(len(states), bool)  # the blank between two tokens that differ
    may_skip[3::2] = token_ids[1:] != token_ids[:-1]
    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probs[0, states[:2]]
    steps = np.zeros((len(log_probs), len(states)), np.int8)
    ways = np.full((3, len(states)), -np.inf)  # by stay, next state, next but one
    for frame in range(1, len(log_probs)):
        ways[0] = scores
        ways[1, 1:] = scores[:-1]
        ways[2, 2:] = np.where(may_skip[2:], scores[:-2], -np.inf)
        steps[frame] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + log_probs[frame, states]
    state = len(states) - 1 if scores[-1] >= scores[-2] else len(states) - 2
    if scores[state] == -np.inf:
        raise ValueError("expected a path of probability above zero, got none")
    path = np.empty(len(log_probs), np.int64)
    for frame in range(len(log_probs) - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path
