"""Whether ways to run one model say the same, before anything is timed.

Owns the schedule in which streams meet in batches, and the sentences. Must not know: what the ways
are, how they were built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby

import numpy as np

from streamer.benchmark.clips import Audio
from streamer.core.chunker import Chunker, Window
from streamer.core.context import Grid
from streamer.core.frames import Frames
from streamer.core.recognizer import Model

STREAMS, SECONDS = 4, 10.0
COMPANY = (4, 1, 3, 2, 4, 2)  # streams of a step, by turns


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the model."""

    name: str
    model: Model


@dataclass(frozen=True, slots=True)
class Heard:
    """What each stream was heard to say: the frames of its chunks, and their text."""

    frames: list[list[Frames]]
    texts: list[str]


def check(reference: Way, pairs: Sequence[tuple[Way, Way | None]], audio: Audio) -> list[str]:
    """A sentence for each way beside `reference`, and for one that has a twin beside that too."""
    expected, sentences = listen(reference.model, audio), []
    for way, twin in pairs:
        heard = listen(way.model, audio)
        sentences.append(f"{way.name}, beside {reference.name}: {compared(heard, expected)}")
        if twin is not None:
            repeated = listen(twin.model, audio)
            sentences.append(f"{twin.name}, beside {way.name}: {compared(repeated, heard)}")
    return sentences


def listen(model: Model, audio: Audio) -> Heard:
    """The same streams in the same company for every model; in its first slots, which are reset."""
    model.reset(range(STREAMS))
    waiting = [_windows(model, audio, stream) for stream in range(STREAMS)]
    frames: list[list[Frames]] = [[] for _ in waiting]
    turns = cycle(COMPANY)
    first = 0
    while any(waiting):
        ready = [stream for stream in range(STREAMS) if waiting[stream]]
        company = [ready[(first + n) % len(ready)] for n in range(min(next(turns), len(ready)))]
        found = model.run(company, [waiting[stream].pop(0) for stream in company])
        for stream, each in zip(company, found, strict=True):
            frames[stream].append(each)
        first += 1
    return Heard(frames, [_text(model, each) for each in frames])


def _windows(model: Model, audio: Audio, stream: int) -> list[Window]:
    """All of a stream; of every second one all log-probabilities are wanted."""
    chunker, found = Chunker(model.context, model.grid), []
    chunker.append(audio.samples(stream, 0, Grid.samples_in(SECONDS)))
    chunker.finish()
    while chunker.is_ready():
        found.append(chunker.next_window()._replace(wants_all=stream % 2 == 1))
    return found


def _text(model: Model, frames: Sequence[Frames]) -> str:
    """Greedily, of all frames; those that are looked at twice are there twice."""
    labels = model.labels
    ids = (int(each) for part in frames for each in part.token_ids)
    return "".join(labels.tokens[each] for each, _ in groupby(ids) if each != labels.blank)


def compared(ours: Heard, theirs: Heard) -> str:
    """How much of it is the same, and how far log-probabilities are apart."""
    pairs = [
        pair
        for mine, other in zip(ours.frames, theirs.frames, strict=True)
        for pair in zip(mine, other, strict=True)
    ]
    frames = sum(len(a.token_ids) for a, _ in pairs)
    labels = sum(int((a.token_ids != b.token_ids).sum()) for a, b in pairs)
    furthest = float(np.max([_apart(a, b) for a, b in pairs]))  # NaN if any is
    same = sum(a == b for a, b in zip(ours.texts, theirs.texts, strict=True))
    verdict = "THE SAME TEXTS" if same == len(ours.texts) else "OTHER TEXTS"
    letters = sum(map(len, theirs.texts))
    return (
        f"{verdict} in {same} of {len(ours.texts)} streams ({letters} letters), other labels in "
        f"{labels} of {frames} frames, log-probabilities at most {furthest:.2g} apart"
    )


def _apart(a: Frames, b: Frames) -> float:
    if a.all_log_probs is not None and b.all_log_probs is not None:
        return float(np.abs(a.all_log_probs - b.all_log_probs).max(initial=0.0))
    return float(np.abs(a.log_probs - b.log_probs).max(initial=0.0))
