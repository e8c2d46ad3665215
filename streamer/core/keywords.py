"""Keyword spotting on CTC posteriors: frames in, spotted phrases out; any phrase, no training.

Owns the search for phrases and its state. A phrase is heard where spelling it costs little: the
most probable path through the phrase against the most probable path of all, per label. A left fold,
therefore fold(x + y) == fold(fold(x), y) for every cut. Must not know: seconds, words, decoding.

Bounded: a state is three numbers for each label of the phrases; a frame costs as much.

Shapes: T frame, V label, N label of all phrases, K phrase.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.core.frames import Labels

DEFAULT_THRESHOLD = 0.3
MAX_PHRASES, MAX_PHRASE_LENGTH = 100, 64

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_NEVER = -1  # a frame before all frames


@dataclass(frozen=True, slots=True)
class Phrase:
    """What to listen for: one or more words; `threshold` is the score from which it is heard."""

    text: str
    threshold: float = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        if not 0 < len(self.text.strip()) <= len(self.text) <= MAX_PHRASE_LENGTH:
            raise ValueError(
                f"expected a phrase of 1 to {MAX_PHRASE_LENGTH} characters, got {self.text!r}"
            )
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"expected a threshold above 0, up to 1, got {self.threshold}")


@dataclass(frozen=True, slots=True)
class Spotted:
    """Phrase number `index` was said over frames [start_frame, end_frame).

    `score`, in (0, 1]: how probable its labels were against the best ones, their geometric mean.
    """

    index: int
    start_frame: int
    end_frame: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Spotter:
    """Phrases made ready for the labels of a model; see `spotter`."""

    blanks: Ints
    delimiter: int | None
    pause_frames: int  # so many blank frames are as good as a delimiter
    rest_frames: int  # after a phrase was heard it is not heard again for so long
    labels: Ints  # (N,) the phrases' labels, one phrase behind the other
    breaks: npt.NDArray[np.bool_]  # (N,) delimiters within a phrase
    skips: npt.NDArray[np.bool_]  # (N,) labels that may follow the one before without a blank
    first: Ints  # (K,) each phrase's first label
    last: Ints  # (K,) and its last
    lengths: Floats  # (K,)
    floors: Floats  # (K,) log-probabilities below which a phrase is not heard
    label_floors: Floats  # (N,) the same for each label


@dataclass(frozen=True, slots=True, eq=False)
class SpotterState:
    """What the frames so far leave behind; -inf where no path is left that could be heard.

    A path's score is its log-probability minus that of the best path: never above 0, never growing.
    """

    frames: int
    gate: float  # of the paths on which a word may begin now
    blank_run: int  # of frames up to now
    on_label: Floats  # (N,) of the paths that end on each label
    on_blank: Floats  # (N,) of those that end on blank behind it
    label_starts: Ints  # (N,) where the former began
    blank_starts: Ints  # (N,) where the latter did
    ends: Ints  # (K,) where on_blank's paths left each phrase's last label
    rests: Ints  # (K,) the number of frames up to which each phrase is not heard again


def spotter(
    phrases: Sequence[Phrase], labels: Labels, *, pause_frames: int, rest_frames: int
) -> Spotter:
    """Phrases made ready; raises ValueError for one that the labels cannot spell, or too many."""
    if not 1 <= len(phrases) <= MAX_PHRASES:
        raise ValueError(f"expected 1 to {MAX_PHRASES} keywords, got {len(phrases)}")
    spelled = [spell(each.text, labels) for each in phrases]
    lengths = np.array([len(ids) for ids in spelled])
    last = np.cumsum(lengths) - 1
    first = last - lengths + 1
    ids = np.array([id_ for each in spelled for id_ in each], np.int64)
    skips = np.ones(len(ids), bool)
    skips[1:] = ids[1:] != ids[:-1]
    skips[first] = False
    delimiter = _NEVER if labels.delimiter is None else labels.delimiter
    floors = np.array([math.log(each.threshold) for each in phrases]) * lengths
    return Spotter(
        blanks=np.array(sorted(labels.silent | {labels.blank})),
        delimiter=labels.delimiter,
        pause_frames=pause_frames,
        rest_frames=rest_frames,
        labels=ids,
        breaks=ids == delimiter,
        skips=skips,
        first=first,
        last=last,
        lengths=lengths.astype(np.float64),
        floors=floors,
        label_floors=np.repeat(floors, lengths),
    )


def spell(text: str, labels: Labels) -> list[int]:
    """The ids that spell a phrase, in the case of the labels, the longest label first.

    Raises ValueError for a character that no label holds.
    """
    silent = labels.silent | {labels.blank, labels.delimiter}
    known = {token: id_ for id_, token in enumerate(labels.tokens) if token and id_ not in silent}
    letters = "".join(known)
    if letters.islower():
        text = text.lower()
    elif letters.isupper():
        text = text.upper()
    longest = max(map(len, known), default=0)
    ids: list[int] = []
    for word in text.split():
        if ids and labels.delimiter is not None:
            ids.append(labels.delimiter)
        at = 0
        while at < len(word):
            for length in range(min(longest, len(word) - at), 0, -1):
                if word[at : at + length] in known:
                    ids.append(known[word[at : at + length]])
                    at += length
                    break
            else:
                raise ValueError(f"the model cannot spell {word[at]!r} in the keyword {text!r}")
    return ids


def start(search: Spotter) -> SpotterState:
    """Nothing heard yet: a word may begin at once."""
    labels, phrases = len(search.labels), len(search.first)
    none, nowhere = np.full(labels, -np.inf), np.full(labels, _NEVER)
    never = np.full(phrases, _NEVER)
    return SpotterState(
        0, 0.0, search.pause_frames, none, none, nowhere, nowhere, never, np.zeros(phrases, int)
    )


def fold(
    state: SpotterState, log_probs: npt.NDArray[np.floating[Any]], search: Spotter
) -> tuple[SpotterState, list[Spotted]]:
    """Fold frames into the state; returns the new one and the phrases whose end is known now.

    `log_probs` (T, V) are natural logarithms. A phrase is heard when a delimiter or a pause
    follows it, once: its paths are then forgotten and it rests.
    """
    if not len(log_probs):
        return state, []
    costs = log_probs.astype(np.float64)
    is_blank = np.isin(costs.argmax(axis=1), search.blanks)
    costs -= costs.max(axis=1, keepdims=True)
    on_blank = costs[:, search.blanks].max(axis=1)
    on_break = on_blank if search.delimiter is None else costs[:, search.delimiter]
    on_label = costs[:, search.labels]
    on_label[:, search.breaks] = np.maximum(on_break, on_blank)[:, None]
    spotted: list[Spotted] = []
    for frame in range(len(costs)):
        closing = float(on_break[frame])
        before = state
        state = _stepped(
            before, on_label[frame], float(on_blank[frame]), closing, bool(is_blank[frame]), search
        )
        state = _heard(before, state, closing, search, spotted)
    return state, spotted


def finish(state: SpotterState, search: Spotter) -> tuple[SpotterState, list[Spotted]]:
    """End the audio: what was said up to here is heard; returns a new beginning."""
    spotted: list[Spotted] = []
    _collect(_closed(state, search, 0.0), state, search, spotted)
    return start(search), spotted


def _stepped(
    state: SpotterState,
    on_label: Floats,
    on_blank: float,
    on_break: float,
    is_blank: bool,
    search: Spotter,
) -> SpotterState:
    """One frame: every path stays, goes on to blank, or to the next label."""
    frame, first, last = state.frames, search.first, search.last
    ways = np.full((3, len(on_label)), -np.inf)  # by stay, from the blank before, the label before
    ways[0] = state.on_label
    ways[1, 1:] = state.on_blank[:-1]
    ways[1, first] = state.gate
    ways[2, 1:] = np.where(search.skips[1:], state.on_label[:-1], -np.inf)
    starts = np.empty((3, len(on_label)), np.int64)
    starts[0] = state.label_starts
    starts[1, 1:] = state.blank_starts[:-1]
    starts[1, first] = frame
    starts[2, 1:] = state.label_starts[:-1]
    way = ways.argmax(axis=0)
    columns = np.arange(len(on_label))
    leaves = state.on_label > state.on_blank
    blank_run = state.blank_run + 1 if is_blank else 0
    free = search.delimiter is None or blank_run >= search.pause_frames
    return SpotterState(
        frames=frame + 1,
        gate=0.0 if free else max(state.gate + on_blank, on_break),
        blank_run=blank_run,
        on_label=_pruned(ways[way, columns] + on_label, search),
        on_blank=_pruned(np.where(leaves, state.on_label, state.on_blank) + on_blank, search),
        label_starts=starts[way, columns],
        blank_starts=np.where(leaves, state.label_starts, state.blank_starts),
        ends=np.where(leaves[last], frame, state.ends),
        rests=state.rests,
    )


def _pruned(scores: Floats, search: Spotter) -> Floats:
    """Scores never grow: a path below its phrase's floor is none. Exact, not an approximation."""
    return np.where(scores < search.label_floors, -np.inf, scores)


class _Closed(NamedTuple):
    """The best path of each phrase (K,), as if it were over; frames [starts, ends)."""

    scores: Floats
    starts: Ints
    ends: Ints


def _closed(state: SpotterState, search: Spotter, cost: float) -> _Closed:
    """Closed by something that costs so much."""
    last = search.last
    on_label, on_blank = state.on_label[last], state.on_blank[last]
    is_label = on_label >= on_blank
    return _Closed(
        np.maximum(on_label, on_blank) + cost,
        np.where(is_label, state.label_starts[last], state.blank_starts[last]),
        np.where(is_label, state.frames, state.ends),
    )


def _heard(
    before: SpotterState,
    state: SpotterState,
    on_break: float,
    search: Spotter,
    spotted: list[Spotted],
) -> SpotterState:
    """Report the phrases that a delimiter or a pause closes on this frame; forget their paths."""
    if state.blank_run >= search.pause_frames:
        last = search.last
        closed = _Closed(state.on_blank[last], state.blank_starts[last], state.ends)
    else:
        closed = _closed(before, search, on_break)
    heard = _collect(closed, state, search, spotted)
    if not heard:
        return state
    on_label, on_blank, rests = state.on_label.copy(), state.on_blank.copy(), state.rests.copy()
    for index in heard:
        labels = slice(search.first[index], search.last[index] + 1)
        on_label[labels] = on_blank[labels] = -np.inf
    rests[heard] = state.frames + search.rest_frames
    return replace(state, on_label=on_label, on_blank=on_blank, rests=rests)


def _collect(
    closed: _Closed, state: SpotterState, search: Spotter, spotted: list[Spotted]
) -> list[int]:
    """Add the phrases that are good enough and do not rest; returns which."""
    good = (closed.scores >= search.floors) & (state.frames > state.rests)
    heard: list[int] = np.flatnonzero(good).tolist()
    for index in heard:
        score = math.exp(closed.scores[index] / search.lengths[index])
        found = Spotted(index, int(closed.starts[index]), int(closed.ends[index]), score)
        spotted.append(found)
    return heard
