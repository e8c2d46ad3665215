"""Incremental greedy CTC: frames in, tokens out.

Owns the collapse rule (equal neighbours are one token, blanks are none) and its state, the run of
equal frames in progress. Must not know: text, words, seconds. A left fold, therefore
fold(x + y) == fold(fold(x), y) for every cut.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

NO_TOKEN = -1


class Token(NamedTuple):
    """A run of equal ids over frames [start_frame, end_frame), counted from the state's start.

    `log_prob` is the largest log-probability over the run; its exponential is the confidence.
    """

    id: int
    start_frame: int
    end_frame: int
    log_prob: float


class CtcState(NamedTuple):
    """What the frames so far leave behind: their number, and the run the last one belongs to."""

    frames: int = 0
    run_id: int = NO_TOKEN  # NO_TOKEN: the last frame was blank, or there was none
    run_start_frame: int = 0
    run_log_prob: float = 0.0


def fold(
    state: CtcState,
    token_ids: npt.NDArray[np.integer[Any]],
    log_probs: npt.NDArray[np.float32],
    blanks: frozenset[int],
) -> tuple[CtcState, list[Token]]:
    """Fold frames into the state; returns the new one and the tokens whose runs ended.

    `token_ids` (T,) are the best ids, `log_probs` (T,) theirs; all ids in `blanks` count as blank.
    The run in progress is not among the tokens: see `open_token`.
    """
    if not token_ids.size:
        return state, []
    ids: list[int] = token_ids.tolist()
    if state.run_id == NO_TOKEN and blanks.issuperset(ids):
        return CtcState(state.frames + len(ids)), []
    tokens: list[Token] = []
    before, run_id, run_start, run_log_prob = state
    last_id = run_id
    best = zip(ids, log_probs.tolist(), strict=True)
    for frame, (token_id, log_prob) in enumerate(best, start=before):
        if token_id == last_id:
            if log_prob > run_log_prob:
                run_log_prob = log_prob
            continue
        if run_id != NO_TOKEN:
            tokens.append(Token(run_id, run_start, frame, run_log_prob))
        last_id = token_id
        run_id = NO_TOKEN if token_id in blanks else token_id
        run_start, run_log_prob = frame, log_prob
    end_frame = before + len(ids)
    if run_id == NO_TOKEN:
        return CtcState(end_frame), tokens
    return CtcState(end_frame, run_id, run_start, run_log_prob), tokens


def open_token(state: CtcState) -> Token | None:
    """The token of the run in progress, as if it ended with the last frame folded."""
    if state.run_id == NO_TOKEN:
        return None
    return Token(state.run_id, state.run_start_frame, state.frames, state.run_log_prob)
