"""One frame of the beam search: every live beam extended, equal ones merged, weak ones dropped.

Owns what a beam is and the arithmetic of one step. Must not know: states, what becomes of beams.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.core.scoring import History, Scorer

BLANK = -1  # as last id of a beam
NEVER = 1 << 62  # frames

Spelled: TypeAlias = tuple[tuple[int, int, int, float], ...]
"""Tokens (id, start_frame, end_frame, log_prob) in order."""

Beam: TypeAlias = tuple[float, float, str, str, int, History, tuple[Spelled, ...], Spelled]
"""(logit, bias, text, part, last, history, words, tokens): one hypothesis.

`logit` is the log-probability, `bias` what the scorer adds to it. `text` holds the unsettled whole
words, a space behind each, `part` the word that is begun, `last` the last frame's id: these three
are its identity, equal ones are merged. `history` is the scorer's view of the text, `words` and
`tokens` are the tokens of `text`, word by word, and of `part`. (Plain tuples: there are millions.)
"""


@dataclass(frozen=True, slots=True)
class BeamRules:
    """The size of the search, and what settles text although beams still disagree.

    Pruning is pyctcdecode's, with its defaults: `width` beams; those `prune_log_prob` below the
    best are dropped; labels below `token_log_prob` are skipped unless they are a frame's best.

    A word with which all live beams begin is settled, and one against which beams with at most the
    share `doubt` of the probability stand. The other rules take the best beam's side: a pause of
    `pause_frames` behind its last token settles all of it; a first unsettled word that is whole is
    settled `word_frames` behind its last token, and one that is begun is closed when its first
    token is `max_frames` old. `sentence_frames` behind the last token a new sentence begins.
    """

    width: int = 25
    prune_log_prob: float = -10.0
    token_log_prob: float = -5.0
    pause_frames: int = NEVER
    sentence_frames: int = NEVER
    word_frames: int = NEVER
    max_frames: int = NEVER
    doubt: float = 0.0
    n_best: int = 1  # hypotheses that are told of what is settled


@dataclass(frozen=True, slots=True)
class Search:
    """What stays the same while a stream is searched: labels, scores, rules.

    `texts` are the labels' texts; all ids in `blanks` count as blank; `delimiter` parts words.
    """

    texts: tuple[str, ...]
    blanks: frozenset[int]
    delimiter: int
    scorer: Scorer
    rules: BeamRules = BeamRules()


def likely(
    log_probs_TV: npt.NDArray[np.floating[Any]], token_log_prob: float
) -> Iterator[tuple[list[int], list[float]]]:
    """The likely ids of each frame and their log-probabilities."""
    wanted = log_probs_TV >= token_log_prob
    rows, columns = wanted.nonzero()
    at: list[int] = rows.tolist()
    all_ids: list[int] = columns.tolist()
    all_gains: list[float] = log_probs_TV[wanted].tolist()
    begin = 0
    for row in range(len(log_probs_TV)):
        end = begin
        while end < len(at) and at[end] == row:
            end += 1
        if begin == end:  # none is: its best
            best = int(log_probs_TV[row].argmax())
            yield [best], [float(log_probs_TV[row, best])]
        else:
            yield all_ids[begin:end], all_gains[begin:end]
        begin = end


def extended(
    beams: Sequence[Beam],
    offset: float,
    frame: int,
    ids: Sequence[int],
    gains: Sequence[float],
    search: Search,
) -> list[Beam]:
    """All beams with each of the ids behind them, merged and pruned."""
    merged: dict[Any, Beam] = {}
    for token, gain in zip(ids, gains, strict=True):
        if token in search.blanks:
            more: Iterable[Beam] = [
                (logit + (offset + gain), bias, text, part, BLANK, history, words, tokens)
                for logit, bias, text, part, _, history, words, tokens in beams
            ]
        elif token == search.delimiter:
            more = _delimited(beams, offset + gain, token, search.scorer)
        else:
            more = _spelled(beams, offset + gain, frame, token, gain, search)
        for beam in more:
            identity = beam[2:5]
            held = merged.get(identity)
            merged[identity] = beam if held is None else _merged(held, beam)
    scores = [beam[0] + beam[1] for beam in merged.values()]
    floor = max(scores) + search.rules.prune_log_prob
    live = [pair for pair in zip(scores, merged.values(), strict=True) if pair[0] >= floor]
    live.sort(key=_first, reverse=True)
    return [beam for _, beam in live[: search.rules.width]]


_first = itemgetter(0)


def _spelled(
    beams: Sequence[Beam], shift: float, frame: int, token: int, log_prob: float, search: Search
) -> Iterator[Beam]:
    """A letter behind every beam: a new one, or the last one goes on."""
    letter, part_score = search.texts[token], search.scorer.part
    new = ((token, frame, frame + 1, log_prob),)
    for logit, bias, text, part, last, history, words, tokens in beams:
        if last == token:
            id_, start, _, best = tokens[-1]
            run = (id_, start, frame + 1, max(best, log_prob))
            yield logit + shift, bias, text, part, last, history, words, (*tokens[:-1], run)
        else:
            longer = part + letter
            bias = history.score + part_score(longer)
            yield logit + shift, bias, text, longer, token, history, words, tokens + new


def _delimited(beams: Sequence[Beam], shift: float, token: int, scorer: Scorer) -> Iterator[Beam]:
    """A delimiter behind every beam: the word that is begun, if there is one, is whole."""
    for logit, bias, text, part, _, history, words, tokens in beams:
        if part:
            history = history.child(part, scorer)
            text, words, bias = f"{text}{part} ", (*words, tokens), history.score
        yield logit + shift, bias, text, "", token, history, words, ()


def _merged(one: Beam, other: Beam) -> Beam:
    """One hypothesis reached in two ways: their probabilities add up, the likelier one's times."""
    better = one if one[0] >= other[0] else other
    return (log_add(one[0], other[0]), *better[1:])


def log_add(a: float, b: float) -> float:
    """The logarithm of the sum of two probabilities that are given as logarithms."""
    return a + math.log1p(math.exp(b - a)) if a >= b else b + math.log1p(math.exp(a - b))


def rests(beams: Sequence[Beam]) -> bool:
    """Whether a blank would change nothing but all scores alike."""
    return all(beam[4] == BLANK for beam in beams)
