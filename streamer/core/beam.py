"""Resumable CTC prefix beam search: frames in, settled tokens out.

Owns the search and its state, the live beams, and the rules by which text is settled for good. The
search is that of pyctcdecode 0.5.0: the same candidates, merges, scores and pruning, frame by
frame. A left fold like greedy, therefore fold(x + y) == fold(fold(x), y) for every cut. Must not
know: seconds, language models (see `scoring`), events.

Bounded: a state is as large as its beams' unsettled words, and nothing else is kept. A frame on
which only blank is likely costs O(beams), and O(1) when it follows another one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamer.core.beam_step import (
    BLANK,
    NEVER,
    Beam,
    BeamRules,
    Search,
    Spelled,
    extended,
    likely,
    log_add,
    rests,
)
from streamer.core.ctc import Token
from streamer.core.scoring import History, Scorer

__all__ = ["BeamRules", "BeamState", "Candidate", "Search"]


@dataclass(frozen=True, slots=True)
class BeamState:
    """What the frames so far leave behind; `beams` are sorted, the best first.

    `offset` is a log-probability that all beams still have to be given, `due` the number of frames
    at which a rule applies if nothing changes.
    """

    beams: Sequence[Beam]
    frames: int = 0
    offset: float = 0.0
    due: int = NEVER
    settled_frame: int = 0  # the end of the last settled token
    is_fresh: bool = True  # nothing was settled since the sentence began
    groups: tuple["Group", ...] = ()  # how the tokens of the last fold were settled, in order

    @staticmethod
    def start(scorer: Scorer) -> "BeamState":
        """Nothing heard yet."""
        return BeamState([(0.0, 0.0, "", "", BLANK, History(0.0, scorer.start()), (), ())])


class Group(NamedTuple):
    """Tokens that were settled at once: how many, before which frame what follows them begins.

    `texts` are the n-best of them, with scores against the best's: empty where one alone was left.
    """

    tokens: int
    until_frame: int
    texts: tuple[tuple[str, float], ...] = ()


class Candidate(NamedTuple):
    """A hypothesis as if the sentence ended here: its unsettled words, and scores of all of it.

    `logit` is the acoustic log-probability, `score` with the scorer's added.
    """

    text: str
    logit: float
    score: float
    words: tuple[Spelled, ...]
    history: History


def fold(
    state: BeamState, log_probs: npt.NDArray[np.floating[Any]], search: Search
) -> tuple[BeamState, list[Token]]:
    """Fold frames into the state; returns the new one and the tokens that are settled now.

    `log_probs` (T, V) are natural logarithms. Words are settled whole, with the delimiter behind
    each: because all live beams share them, or because a rule has dropped those that do not.
    """
    state = replace(state, groups=())
    beams, frame, offset, due = state.beams, state.frames, state.offset, state.due
    is_resting = rests(beams)
    settled: list[Token] = []
    for ids, gains in likely(log_probs, search.rules.token_log_prob):
        if is_resting and len(ids) == 1 and ids[0] in search.blanks:
            offset += gains[0]
            frame += 1
        else:
            beams = extended(beams, offset, frame, ids, gains, search)
            frame, offset = frame + 1, 0.0
            is_resting = rests(beams)
            due = _due(beams, state, search.rules)
        if frame >= due:
            state = replace(state, beams=beams, frames=frame, offset=offset, due=due)
            state = _settled(state, search, settled)
            beams, offset, due = state.beams, state.offset, state.due
            is_resting = rests(beams)
    return replace(state, beams=beams, frames=frame, offset=offset, due=due), settled


def open_tokens(state: BeamState, search: Search) -> list[Token]:
    """The tokens of the best beam that are not settled yet, delimiters between words included."""
    words, tokens = state.beams[0][6:]
    whole = _tokens(words, state.settled_frame, search.delimiter)
    begun = whole[-1].end_frame if whole else state.settled_frame
    return whole + (_tokens([tokens], begun, search.delimiter)[:-1] if tokens else [])


def finish(state: BeamState, search: Search) -> tuple[BeamState, list[Token]]:
    """End the sentence: settle the best hypothesis; returns a new beginning and the tokens."""
    found = n_best(state, search)
    tokens = _tokens(found[0].words, state.settled_frame, search.delimiter)
    group = Group(len(tokens), state.frames, _texts(found, search))
    return replace(BeamState.start(search.scorer), groups=(group,)), tokens


def n_best(state: BeamState, search: Search, *, ends: bool = True) -> list[Candidate]:
    """The hypotheses if every begun word were whole and (`ends`) the sentence over, best first."""
    merged: dict[str, Candidate] = {}
    scorer = search.scorer
    for logit, _, text, part, _, history, words, tokens in state.beams:
        if part:
            text, words = f"{text}{part} ", (*words, tokens)
            history = history.child(part, scorer)
        held = merged.get(text)
        if held is None:
            merged[text] = Candidate(text, logit, 0.0, words, history)
        else:
            words = held.words if held.logit >= logit else words
            merged[text] = held._replace(logit=log_add(held.logit, logit), words=words)
    scored = []
    for each in merged.values():
        bias = each.history.score + (scorer.end(each.history.state) if ends else 0.0)
        logit = each.logit + state.offset
        scored.append(each._replace(text=each.text.rstrip(), logit=logit, score=logit + bias))
    scored.sort(key=lambda each: each.score, reverse=True)
    floor = scored[0].score + search.rules.prune_log_prob
    return [each for each in scored[: search.rules.width] if each.score >= floor]


def _texts(found: Sequence[Candidate], search: Search) -> tuple[tuple[str, float], ...]:
    if search.rules.n_best == 1:
        return ()
    best = found[0].score
    return tuple((each.text, each.score - best) for each in found[: search.rules.n_best])


def resumed(state: BeamState, search: Search) -> BeamState:
    """The same beams under other settings: they judge what is said from now on.

    The scorer must be one of the same states.
    """
    beams = []
    for logit, _, text, part, last, history, words, tokens in state.beams:
        history = History(history.score, history.state)
        bias = history.score + (search.scorer.part(part) if part else 0.0)
        beams.append((logit, bias, text, part, last, history, words, tokens))
    return replace(state, beams=beams, due=_due(beams, state, search.rules))


# --- settling -------------------------------------------------------------------------------------


def _due(beams: Sequence[Beam], state: BeamState, rules: BeamRules) -> int:
    """The number of frames at which something is to be settled, 0 for now."""
    text, words, tokens = beams[0][2], beams[0][6], beams[0][7]
    if not (words or tokens):
        return NEVER if state.is_fresh else state.settled_frame + rules.sentence_frames
    if words and _agree(beams, _first_word(text), rules.doubt):
        return 0
    limit = words[0][-1][2] + rules.word_frames if words else tokens[0][1] + rules.max_frames
    return min(limit, (tokens or words[-1])[-1][2] + rules.pause_frames)


def _settled(state: BeamState, search: Search, settled: list[Token]) -> BeamState:
    """Apply the rules that are due; what they settle is added to `settled`."""
    while state.frames >= state.due:
        words, tokens = state.beams[0][6:]
        last_frame = (tokens or words[-1])[-1][2] if words or tokens else NEVER
        if not (words or tokens):
            state = _new_sentence(state, search.scorer)
        elif words and state.frames < last_frame + search.rules.pause_frames:
            state = _first_settled(state, search, settled)
        else:
            state = _all_settled(state, search, settled)
        state = replace(state, due=_due(state.beams, state, search.rules))
    return state


def _new_sentence(state: BeamState, scorer: Scorer) -> BeamState:
    """Nothing was said for long: beams without a whole word forget what the scorer knows."""
    history = History(state.beams[0][5].score, scorer.start())
    beams = [(*b[:5], b[5] if b[2] else history, *b[6:]) for b in state.beams]
    return replace(state, beams=beams, is_fresh=True)


def _first_settled(state: BeamState, search: Search, settled: list[Token]) -> BeamState:
    """Settle the best beam's first word; beams without it are dropped."""
    first = _first_word(state.beams[0][2])
    word = state.beams[0][6][0]
    beams = [
        (logit, bias, text[len(first) :], part, last, history, words[1:], tokens)
        for logit, bias, text, part, last, history, words, tokens in state.beams
        if text.startswith(first)
    ]
    tokens = _tokens([word], state.settled_frame, search.delimiter)
    settled += tokens
    following = _tokens([*beams[0][6], beams[0][7]][:1], tokens[-1].end_frame, search.delimiter)
    until = following[0].start_frame if beams[0][6] or beams[0][7] else state.frames
    groups = (*state.groups, Group(len(tokens), until))
    end = tokens[-1].end_frame
    return replace(state, beams=beams, settled_frame=end, is_fresh=False, groups=groups)


def _all_settled(state: BeamState, search: Search, settled: list[Token]) -> BeamState:
    """Settle the best hypothesis whole, its last word closed; nothing else stays."""
    found = n_best(state, search, ends=False)
    best = found[0]
    tokens = _tokens(best.words, state.settled_frame, search.delimiter)
    settled += tokens
    groups = (*state.groups, Group(len(tokens), state.frames, _texts(found, search)))
    history = History(best.history.score, best.history.state)
    beam: Beam = (best.logit, history.score, "", "", BLANK, history, (), ())
    end = tokens[-1].end_frame if tokens else state.settled_frame
    is_fresh = state.is_fresh and not tokens
    return replace(
        state, beams=[beam], offset=0.0, settled_frame=end, is_fresh=is_fresh, groups=groups
    )


def _agree(beams: Sequence[Beam], first: str, doubt: float) -> bool:
    """Whether at most the share `doubt` of the probability lies in beams that begin otherwise."""
    others = [beam for beam in beams if not beam[2].startswith(first)]
    if not others or not doubt:
        return not others
    best = beams[0][0] + beams[0][1]
    every = sum([math.exp(beam[0] + beam[1] - best) for beam in beams])
    return sum([math.exp(beam[0] + beam[1] - best) for beam in others]) <= doubt * every


def _first_word(text: str) -> str:
    return text[: text.index(" ") + 1]


def _tokens(words: Sequence[Spelled], begin_frame: int, delimiter: int) -> list[Token]:
    """The words' tokens, a delimiter behind each word, from `begin_frame` on.

    Beams place the same text differently: a token never begins before the one before it ends.
    """
    tokens: list[Token] = []
    for word in words:
        for id_, start, end, log_prob in word:
            start = max(start, begin_frame)
            begin_frame = max(end, start + 1)
            tokens.append(Token(id_, start, begin_frame, log_prob))
        tokens.append(Token(delimiter, begin_frame, begin_frame, 0.0))
    return tokens
