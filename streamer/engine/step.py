"""One trip of a batch to the device thread: windows through the model, and what its faults become.

Owns the guarantee that each window has a result, whatever the model or a decoder raises. Must not
know: sessions, tasks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from streamer.core.chunker import Waveform, Window
from streamer.core.decoder import Decoded
from streamer.core.frames import Frames
from streamer.core.recognizer import Model
from streamer.core.speech import Detector, Probabilities

Result: TypeAlias = Frames | Decoded | Exception
"""What became of a window: frames, perhaps decoded already, or why there are none."""

Verdict: TypeAlias = Probabilities | Exception
"""What a detector says of a stream, or why it says nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch, and how many windows memory allows.

    For each stream there are the results of its windows, in order; behind an exception are none.
    """

    results: list[list[Result]]
    most: float  # infinite unless memory was short
    verdicts: list[Verdict] = field(default_factory=list)  # in the order of what was unheard


def step(
    model: Model,
    resets: Sequence[int],
    slots: Sequence[int],
    windows: Sequence[Sequence[Window]],
    decoders: Sequence[Callable[[Frames, int], Decoded]],
    unheard: Mapping[int, Waveform] | None = None,
) -> Outcome:
    """One trip to the device thread: of the stream in slots[i] the windows[i], in order.

    Streams with as many windows go through the model together. The results are decoded if
    `decoders` are given. `unheard` is what the model's detector is to judge, by slot.
    """
    if resets:
        model.reset(resets)
    verdicts: list[Verdict] = []
    if unheard:
        assert model.detector is not None, "nobody else asks for a verdict"
        verdicts = _judged(model.detector, list(unheard), list(unheard.values()))
    results: list[list[Result]] = [[] for _ in slots]
    most = math.inf
    for count in sorted(set(map(len, windows))):
        rows = [row for row, each in enumerate(windows) if len(each) == count]
        found, allowed = _run(model, [slots[row] for row in rows], [windows[row] for row in rows])
        most = min(most, allowed)
        for row, each in zip(rows, found, strict=True):
            results[row] = each
    if not _is_finite([result for each in results for result in each]):
        results = [_cut_at_nan(each) for each in results]
    if decoders:
        results = [
            [_decoded(decode, result, index) for index, result in enumerate(each)]
            for decode, each in zip(decoders, results, strict=True)
        ]
    return Outcome(results, most, verdicts)


def _judged(detector: Detector, slots: Sequence[int], unheard: Sequence[Waveform]) -> list[Verdict]:
    """Of each stream; if the detector raises, those on which it does are found by halving."""
    try:
        return list(detector.detect(slots, unheard))
    except Exception as error:
        if len(slots) == 1:
            return [error]
        half = len(slots) // 2
        head = _judged(detector, slots[:half], unheard[:half])
        return head + _judged(detector, slots[half:], unheard[half:])


def _is_finite(results: Sequence[Result]) -> bool:
    """Whether all log-probabilities are; asked of all frames at once."""
    log_probs = [result.log_probs for result in results if isinstance(result, Frames)]
    return not log_probs or bool(np.isfinite(np.concatenate(log_probs)).all())


def _cut_at_nan(results: list[Result]) -> list[Result]:
    error = FloatingPointError("the model returned log-probabilities that are not finite")
    for index, result in enumerate(results):
        if not _is_finite([result]):
            return [*results[:index], error]
    return results


def _decoded(decode: Callable[[Frames, int], Decoded], result: Result, index: int) -> Result:
    try:
        return decode(result, index) if isinstance(result, Frames) else result
    except Exception as error:  # a fault of one session must not stop the others
        return error


def _run(
    model: Model, slots: Sequence[int], windows: Sequence[Sequence[Window]]
) -> tuple[list[list[Result]], float]:
    """Run as many windows of each stream; if the model raises, find those it raises on by halving.

    Sound because a model that raises leaves the state of every slot as it was (see `Model.run`).
    Second comes how many windows memory allows.
    """
    each = len(windows[0])
    try:
        frames = model.run(
            [slot for slot in slots for _ in range(each)], [w for run in windows for w in run]
        )
    except Exception as error:
        total = len(slots) * each
        most = max(total // 2, 1) if isinstance(error, MemoryError) else math.inf
        if total == 1:
            return [[error]], most
        results, allowed = _run_parts(model, slots, windows)
        return results, min(most, allowed)
    assert len(frames) == len(slots) * each, (len(frames), len(slots), each)
    return [list(frames[at : at + each]) for at in range(0, len(frames), each)], math.inf


def _run_parts(
    model: Model, slots: Sequence[int], windows: Sequence[Sequence[Window]]
) -> tuple[list[list[Result]], float]:
    """Each half of the streams by itself; of a single stream each window, up to one that fails."""
    if len(slots) > 1:
        half = len(slots) // 2
        head, of_head = _run(model, slots[:half], windows[:half])
        tail, of_tail = _run(model, slots[half:], windows[half:])
        return head + tail, min(of_head, of_tail)
    results: list[Result] = []
    most = math.inf
    for window in windows[0]:
        ((result,),), allowed = _run(model, slots, [[window]])
        results.append(result)
        most = min(most, allowed)
        if isinstance(result, Exception):
            break
    return [results], most
