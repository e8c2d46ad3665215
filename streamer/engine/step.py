"""One trip of a batch to the device thread: windows through the model, and what its faults become.

Owns the guarantee that each window has a result, whatever the model or a decoder raises. Must not
know: sessions, tasks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from streamer.core.chunker import Window
from streamer.core.decoder import Decoded
from streamer.core.frames import Frames
from streamer.core.recognizer import Model

Result: TypeAlias = Frames | Decoded | Exception
"""What became of a window: frames, perhaps decoded already, or why there are none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: a result for each window, and how many windows memory allows."""

    results: list[Result]
    most: float  # infinite unless memory was short


def step(
    model: Model,
    resets: Sequence[int],
    slots: Sequence[int],
    windows: Sequence[Window],
    decoders: Sequence[Callable[[Frames], Decoded]],
) -> Outcome:
    """One trip to the device thread; the results are decoded if `decoders` are given."""
    if resets:
        model.reset(resets)
    results, most = _run(model, slots, windows)
    frames = [result for result in results if isinstance(result, Frames)]
    if frames and not np.isfinite(np.concatenate([f.log_probs for f in frames])).all():
        results = [
            FloatingPointError("the model returned log-probabilities that are not finite")
            if isinstance(result, Frames) and not np.isfinite(result.log_probs).all()
            else result
            for result in results
        ]
    if not decoders:
        return Outcome(list(results), most)
    decoded = [_decoded(decode, each) for decode, each in zip(decoders, results, strict=True)]
    return Outcome(decoded, most)


def _decoded(decode: Callable[[Frames], Decoded], result: Frames | Exception) -> Result:
    try:
        return decode(result) if isinstance(result, Frames) else result
    except Exception as error:  # a fault of one session must not stop the others
        return error


def _run(
    model: Model, slots: Sequence[int], windows: Sequence[Window]
) -> tuple[list[Frames | Exception], float]:
    """Run a batch; if the model raises, find the windows it raises on by halving the batch.

    Sound because a model that raises leaves the state of every slot as it was (see `Model.run`).
    Second comes how many windows memory allows.
    """
    try:
        frames = model.run(slots, windows)
    except Exception as error:
        if len(slots) == 1:
            return [error], 1 if isinstance(error, MemoryError) else math.inf
        half = len(slots) // 2
        head, of_head = _run(model, slots[:half], windows[:half])
        tail, of_tail = _run(model, slots[half:], windows[half:])
        most = half if isinstance(error, MemoryError) else math.inf
        return head + tail, min(most, of_head, of_tail)
    assert len(frames) == len(windows), (len(frames), len(windows))
    return list(frames), math.inf
