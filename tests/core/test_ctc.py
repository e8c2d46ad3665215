from itertools import groupby, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core.ctc import CtcState, Token, fold, open_token

BLANKS = frozenset({0, 4})
FRAMES = st.lists(st.tuples(st.integers(0, 4), st.integers(-63, 0)), max_size=40)


def folded(state, frames):
    ids = np.array([token for token, _ in frames], np.int64)
    log_probs = np.array([log_prob / 64 for _, log_prob in frames], np.float32)
    return fold(state, ids, log_probs, BLANKS)


@settings(derandomize=True, max_examples=1500, deadline=None, database=None)
@given(FRAMES, st.lists(st.integers(0, 40), max_size=4))
def test_fold_of_a_whole_is_fold_of_its_parts(frames, cuts):
    state, tokens = CtcState(), []
    bounds = [0, *sorted(min(cut, len(frames)) for cut in cuts), len(frames)]
    for begin, end in pairwise(bounds):
        state, new = folded(state, frames[begin:end])
        tokens += new
    assert (state, tokens) == folded(CtcState(), frames)


@settings(derandomize=True, max_examples=1000, deadline=None, database=None)
@given(FRAMES)
def test_tokens_are_the_runs_of_equal_ids(frames):
    state, tokens = folded(CtcState(), frames)
    run = open_token(state)
    expected, frame = [], 0
    for token_id, group in groupby(frames, key=lambda f: -1 if f[0] in BLANKS else f[0]):
        log_probs = [log_prob / 64 for _, log_prob in group]
        if token_id != -1:
            expected.append(Token(token_id, frame, frame + len(log_probs), max(log_probs)))
        frame += len(log_probs)
    assert [*tokens, *([run] if run else [])] == expected
    assert state.frames == len(frames)


def test_blank_separates_equal_tokens():
    _, tokens = folded(CtcState(), [(2, 0), (2, 0), (0, 0), (2, 0), (4, 0), (2, 0), (0, 0)])
    assert [(token.id, token.start_frame, token.end_frame) for token in tokens] == [
        (2, 0, 2),
        (2, 3, 4),
        (2, 5, 6),
    ]
