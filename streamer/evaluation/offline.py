"""Whole recordings at once: the best text a model has, and where each reference word lies.

Owns the full-context pass and the forced alignment of references under its log-probs. The decoder
is the one of live streams, given the whole recording as one chunk. Must not know: measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.audio import Samples
from streamer.core.alignment import align
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import LONGEST_S, EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Event, Final, Word
from streamer.core.stream import Stream

NO_ENDPOINTS = EndpointRules(
    silence_idle_s=LONGEST_S, silence_s=LONGEST_S, blank_s=LONGEST_S, max_utterance_s=LONGEST_S
)
LONGEST_RECORDING_S = 600.0
"""Attention and alignment of a whole recording grow with the square of its length."""

LogProbs: TypeAlias = npt.NDArray[np.float32]  # (T, V)
Times: TypeAlias = tuple[float, float]  # seconds from start to end


class OfflineModel(Protocol):
    """What `streamer.engine.runner.ModelRunner` offers for whole recordings."""

    @property
    def grid(self) -> Grid:
        """Its frame grid."""

    @property
    def labels(self) -> Labels:
        """What its ids mean."""

    @property
    def search(self) -> BeamSearch | None:
        """How its frames are decoded; None: greedily."""

    def offline(self, recordings: Sequence[Samples]) -> list[LogProbs]:
        """Log-probs of each recording (S,)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The words of a recording with full context, and the times of its reference's words."""

    words: tuple[Word, ...]
    reference_times: tuple[Times | None, ...]  # None: no label spells the word, or no room


def transcribe(
    model: OfflineModel, recordings: Sequence[Samples], references: Sequence[Sequence[str]]
) -> list[Heard]:
    """One batch of recordings (S,), with the words of what is said in each."""
    return [
        Heard(
            _words(events(model.grid, model.labels, samples, log_probs, model.search)),
            reference_times(model.grid, model.labels, log_probs, reference),
        )
        for samples, log_probs, reference in zip(
            recordings, model.offline(recordings), references, strict=True
        )
    ]


def events(
    grid: Grid,
    labels: Labels,
    samples: Samples,
    log_probs: LogProbs,
    search: BeamSearch | None = None,
) -> list[Event]:
    """What a stream says of samples (S,) that are one chunk with log-probs (T, V)."""
    stream = Stream(Context(0, len(log_probs), 0), grid, labels, NO_ENDPOINTS, search)
    stream.accept_waveform(samples)
    stream.input_finished()
    stream.next_window()
    stream.accept_frames(Frames(log_probs.argmax(axis=1), log_probs.max(axis=1), log_probs))
    return stream.take_events()


def _words(said: Sequence[Event]) -> tuple[Word, ...]:
    return tuple(word for event in said if isinstance(event, Final) for word in event.words)


def reference_times(
    grid: Grid, labels: Labels, log_probs: LogProbs, words: Sequence[str]
) -> tuple[Times | None, ...]:
    """Where each word lies on the most probable path through `log_probs` (T, V)."""
    ids, owners = spell(labels, words)
    none = (None,) * len(words)
    try:
        tokens = align(log_probs, ids, labels.blank)
    except ValueError:  # more text than frames
        return none
    times: list[Times | None] = list(none)
    pairs = zip(owners, tokens, strict=True)
    for owner, group in groupby(pairs, key=lambda pair: pair[0]):
        if owner is not None:
            runs = [token for _, token in group]
            start, end = grid.samples(runs[0].start_frame), grid.samples(runs[-1].end_frame)
            times[owner] = Grid.seconds(start), Grid.seconds(end)
    return tuple(times)


def spell(labels: Labels, words: Sequence[str]) -> tuple[list[int], list[int | None]]:
    """Token ids of the words with delimiters between, and the word of each id (None: delimiter).

    The longest label that fits comes first, in the case as written or else in lower case; what no
    label spells is left out.
    """
    special = {labels.blank, labels.delimiter, *labels.silent}
    shown = {text: id_ for id_, text in enumerate(labels.tokens) if text and id_ not in special}
    known = {text.lower(): id_ for text, id_ in shown.items()} | shown
    longest = max(map(len, known), default=0)
    ids: list[int] = []
    owners: list[int | None] = []
    for index, word in enumerate(words):
        spelled = _spell_word(known, longest, word)
        if spelled and ids and labels.delimiter is not None:
            ids.append(labels.delimiter)
            owners.append(None)
        ids += spelled
        owners += [index] * len(spelled)
    return ids, owners


def _spell_word(known: dict[str, int], longest: int, word: str) -> list[int]:
    ids, place = [], 0
    while place < len(word):
        for size in range(min(longest, len(word) - place), 0, -1):
            piece = word[place : place + size]
            id_ = known.get(piece, known.get(piece.lower()))
            if id_ is not None:
                ids.append(id_)
                place += size
                break
        else:
            place += 1
    return ids
