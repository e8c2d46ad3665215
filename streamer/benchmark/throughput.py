"""How long a step takes, by batch size, for several ways to run a model side by side.

A closed loop: it says how many streams the device could just carry, not how late they would be.
Owns the batches and the timing. Must not know: what the ways are.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streamer.benchmark.clips import Audio
from streamer.benchmark.results import Contender, Point
from streamer.core.chunker import Window
from streamer.core.recognizer import Model

FEWEST_STEPS, MOST_STEPS = 3, 30
PATIENCE_S = 8.0  # for slow steps: then one behind the first will do
SLOW_STEP_S = 20.0  # larger batches of such a contender are left out


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run the model; `frame_flops` is the arithmetic of one chunk frame."""

    name: str
    model: Model
    fill_steps: int  # until the left context is full
    is_on_cpu: bool
    frame_flops: float | None = None


@dataclass(slots=True)
class _Lane:
    """A candidate and what was found out about it."""

    candidate: Candidate
    points: list[Point]
    is_done: bool = False  # larger batches are not worth it, or impossible


def measure(
    candidates: Sequence[Candidate],
    audio: Audio,
    batches: Sequence[int],
    seconds: float,
    progress: Callable[[str], object],
    may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[Contender, ...]:
    """Time every candidate at every batch size, neighbours in time for each size.

    At least FEWEST_STEPS steps each, more within `seconds`, fewer where they are slow; the median
    counts. A candidate that fails (its memory, say), or needs more than SLOW_STEP_S, has no larger
    batches; nor has any once nothing `may_go_on`.
    """
    lanes = [_Lane(each, []) for each in candidates]
    for batch in sorted(set(batches)):
        first: Point | None = None
        for lane in lanes:
            if lane.is_done or batch > lane.candidate.model.slots or not may_go_on():
                continue
            progress(f"{lane.candidate.name}, {batch} streams")
            point = _point(lane.candidate, audio, batch, seconds)
            if point is None:
                lane.is_done = True
                continue
            if lane is lanes[0]:
                first = point
            lane.points.append(_compared(point, first))
            lane.is_done = point.step_s > SLOW_STEP_S
    return tuple(Contender(lane.candidate.name, tuple(lane.points)) for lane in lanes)


def _compared(point: Point, first: Point | None) -> Point:
    """The point with how many times faster, and cheaper, it is than the first contender's."""
    if first is None:
        return point
    cheaper = first.cpu_s / point.cpu_s if first.cpu_s and point.cpu_s else None
    return replace(point, ratio=first.step_s / point.step_s, cpu_ratio=cheaper)


def _point(candidate: Candidate, audio: Audio, batch: int, seconds: float) -> Point | None:
    model = candidate.model
    slots = range(batch)
    try:
        model.reset(slots)
        for step in range(candidate.fill_steps):
            model.run(slots, _windows(model, audio, batch, step))
        times = _times(model, audio, batch, seconds, candidate.fill_steps)
    except (RuntimeError, MemoryError):  # torch has no other way to say that memory is out
        return None
    step_s, cpu_s = (sorted(each)[len(times) // 2] for each in zip(*times, strict=True))
    chunk_s = model.grid.seconds(model.grid.samples(model.context.chunk))
    flops = candidate.frame_flops
    tflops = None if flops is None else flops * batch * model.context.chunk / step_s / 1e12
    own_s = cpu_s if candidate.is_on_cpu else None
    return Point(batch, step_s, own_s, batch * chunk_s / step_s, tflops=tflops)


def _times(
    model: Model, audio: Audio, batch: int, seconds: float, first: int
) -> list[tuple[float, float]]:
    """By the wall and of the processor, of steps behind one that warms up."""
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    for step in range(first, first + MOST_STEPS):
        windows = _windows(model, audio, batch, step)
        start, cpu = time.perf_counter(), time.process_time()
        model.run(range(batch), windows)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
        passed_s = time.perf_counter() - began
        if len(times) > FEWEST_STEPS and passed_s > seconds:
            break
        if len(times) > 1 and passed_s > PATIENCE_S:
            break
    return times[1:]


def _windows(model: Model, audio: Audio, batch: int, step: int) -> list[Window]:
    """Full windows of each stream's own audio, one chunk further on with every step."""
    context, grid = model.context, model.grid
    start = grid.samples(step * context.chunk)
    stop = start + grid.span_samples(context.total)
    return [
        Window(
            audio.samples(stream, start, stop),
            context.left,
            context.chunk,
            context.right,
            start + grid.samples(context.left),
        )
        for stream in range(batch)
    ]
