"""Clips of a manifest as batches: which, in which order, and from disk in time.

Owns the order: epoch e of seed s is always the same list of batches, so a run that was stopped
goes on with the batch it would have had, and several processes share the list without talking.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice, pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training.data import SAMPLE_RATE, Batch, collate, group_by_length, read_audio
from models.training.labels import Alphabet
from models.training.manifest import Row
from models.training.recipe import TrainingError

READERS = 4  # threads that decode sound files
AHEAD = 8  # batches that they may have ready


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sound file of ``samples`` samples at 16 kHz and its text, fitted to the labels."""

    path: Path
    samples: int
    text: str


def utterances(
    manifest: Path, rows: Sequence[Row], alphabet: Alphabet, max_clip_s: float
) -> list[Utterance]:
    """The clips of ``rows`` that are at most ``max_clip_s`` long.

    Raises:
        TrainingError: a file is missing or no sound, a transcript cannot be spelled, or no clip is
            left.
    """
    texts = [alphabet.fit(row.text) for row in rows]
    alphabet.check(texts, str(manifest))
    found = [
        Utterance(row.path, _samples(manifest, row), text)
        for row, text in zip(rows, texts, strict=True)
    ]
    kept = [each for each in found if 0 < each.samples <= max_clip_s * SAMPLE_RATE]
    if not kept:
        raise TrainingError(f"{manifest}: no clip of at most {max_clip_s:g} s")
    return kept


def count_too_fast(clips: Sequence[Utterance], alphabet: Alphabet, frame_samples: int) -> int:
    """Clips with more letters than CTC has frames for: they teach nothing.

    Two equal letters in a row need a blank between them.
    """
    found = 0
    for clip in clips:
        ids = alphabet.encode(clip.text)
        needed = len(ids) + sum(a == b for a, b in pairwise(ids))
        found += needed > clip.samples // frame_samples
    return found


def _samples(manifest: Path, row: Row) -> int:
    if not row.path.is_file():
        raise TrainingError(f"{manifest}, line {row.line}: there is no file {row.path}")
    try:
        about = soundfile.info(row.path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise TrainingError(f"{manifest}, line {row.line}: {row.path}: {error}") from error
    return int(about.frames) * SAMPLE_RATE // int(about.samplerate)


def epoch(lengths: Sequence[int], batch_s: float, seed: int, number: int) -> list[list[int]]:
    """The batches of one epoch, as indices of clips."""
    return group_by_length(lengths, batch_s * SAMPLE_RATE, random.Random(f"{seed}/{number}"))


def order(lengths: Sequence[int], batch_s: float, seed: int) -> Iterator[list[int]]:
    """The batches of all epochs, without end."""
    for number in count():
        yield from epoch(lengths, batch_s, seed, number)


def load(
    clips: Sequence[Utterance], plan: Iterator[list[int]], start: int, step: int
) -> Generator[tuple[int, Batch], None, None]:
    """Batch ``start`` of ``plan`` and every ``step``-th after it, with its number in the plan.

    Files are decoded by threads, a few batches ahead.

    Raises:
        TrainingError: a file cannot be decoded.
    """
    numbered = islice(enumerate(plan), start, None, step)
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
    ahead: deque[tuple[int, Future[Batch]]] = deque()
    try:
        for number, indices in numbered:
            ahead.append((number, pool.submit(_batch, [clips[index] for index in indices])))
            if len(ahead) > AHEAD:
                first, batch = ahead.popleft()
                yield first, batch.result()
        while ahead:
            first, batch = ahead.popleft()
            yield first, batch.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batch(clips: Sequence[Utterance]) -> Batch:
    return collate([_read(clip.path) for clip in clips], [clip.text for clip in clips])


def _read(path: Path) -> NDArray[np.int16]:
    try:
        return read_audio(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise TrainingError(f"{path} cannot be decoded: {error}") from error
