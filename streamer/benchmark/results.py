"""The figures of a benchmark as values, and their JSON.

Owns what "holds" means. Must not know: how figures are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from streamer.benchmark.observation import Observation
from streamer.benchmark.statistics import Slope, Spread, medians, slope, spread

ALLOWANCE_S = 0.5  # of the 99th percentile beyond a chunk
LATE_GENERATOR_S = 0.02
BUSY_GENERATOR = 0.9  # of a core
SLOPE_BIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """So many streams at once; latencies in seconds from when a chunk's last sample was due.

    A run that was refused has its reason and nothing else.
    """

    streams: int
    measured_s: float = 0.0
    packets: int = 0  # sent
    chunks: int = 0  # due in the measured time
    steps: int = 0  # batches in the measured time; 0 if unknown
    mean_batch: float | None = None
    step: Spread | None = None  # until the model's answer
    partial: Spread | None = None  # until the first event with words of the chunk
    final: Spread | None = None  # from a word's end to its final; the silence of the rule is in it
    closing: Spread | None = None  # from a stream's last sample to its `Closed`
    wait_s: float | None = None  # of a chunk before its step, mean
    compute_s: float | None = None  # of its step, mean
    backlog_slope: Slope | None = None  # seconds per second
    device_busy: float | None = None  # share of the time in which a step ran
    host_busy: float | None = None  # of a core, by the thread with the event loop
    process_busy: float | None = None  # cores in use by the recogniser's process
    generator_late_s: float = 0.0  # 99th percentile
    generator_busy: float | None = None  # of a core; None where it shares the recogniser's process
    cut_short: bool = False
    failures: tuple[str, ...] = ()  # why it does not hold

    @property
    def holds(self) -> bool:
        """Whether so many streams can go on like this."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Point:
    """One batch size under one contender, in a closed loop."""

    batch: int
    step_s: float  # median
    cpu_s: float | None  # processor time of all threads, median; None beside another device
    streams: float  # that this speed could just carry
    ratio: float | None = None  # to the first contender
    cpu_ratio: float | None = None  # likewise, by processor time
    tflops: float | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to run the model, timed side by side with others."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """One model under one geometry: how fast its steps are, how many streams it carries."""

    name: str
    chunk_s: float
    latency_s: float  # of the algorithm
    contenders: tuple[Contender, ...] = ()
    runs: tuple[Run, ...] = ()
    sustained: int | None = None  # streams; None if nobody looked for them
    stream_tflops: float | None = None  # arithmetic of one live stream, TFLOP/s
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """Everything of one command."""

    about: Mapping[str, str]
    conditions: tuple[Condition, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return asdict(self)


def summarize(seen: Observation, *, generator_apart: bool) -> Run:
    """The figures of a run."""
    low, high = seen.measured_s
    measured_s = max(high - low, 1e-9)
    waits = seen.step_latencies()
    steps = [each for each in seen.steps if low <= each.begin_s < high]
    latencies = [(due_s, wait_s + compute_s) for due_s, wait_s, compute_s in waits]
    partials = seen.partial_latencies()
    host, process = _shares(seen, measured_s)
    run = Run(
        streams=seen.schedule.streams,
        measured_s=high - low,
        packets=len(seen.late_s),
        chunks=_chunks_due(seen),
        steps=len(steps),
        mean_batch=float(np.mean([len(each.slots) for each in steps])) if steps else None,
        step=spread([each for _, each in latencies]),
        partial=spread([each for _, each in partials]),
        final=spread(seen.final_latencies()),
        closing=spread(seen.closing_latencies()),
        wait_s=float(np.mean([each for _, each, _ in waits])) if waits else None,
        compute_s=float(np.mean([each for _, _, each in waits])) if waits else None,
        backlog_slope=_slope(latencies or partials, seen.begin_s),
        device_busy=sum(min(each.end_s, high) - each.begin_s for each in steps) / (measured_s)
        if steps
        else None,
        host_busy=host,
        process_busy=process,
        generator_late_s=float(np.percentile(seen.late_s, 99)) if seen.late_s else 0.0,
        generator_busy=_generator_busy(seen, measured_s) if generator_apart else None,
        cut_short=seen.stopped_s is not None,
        failures=(),
    )
    return _judged(run, seen)


def _chunks_due(seen: Observation) -> int:
    """Chunks whose last sample is due in the measured time."""
    low, high = (moment - seen.begin_s for moment in seen.measured_s)
    geometry, schedule = seen.geometry, seen.schedule
    return sum(
        low <= schedule.due_s(stream, geometry.complete_samples(chunk)) < high
        for stream in range(schedule.streams)
        for chunk in range(geometry.chunks(schedule.samples))
    )


def _shares(seen: Observation, measured_s: float) -> tuple[float | None, float | None]:
    if len(seen.meters) < 2:
        return None, None
    first, last = seen.meters
    host, process = last.host_s - first.host_s, last.process_s - first.process_s
    return host / measured_s, process / measured_s


def _generator_busy(seen: Observation, measured_s: float) -> float | None:
    if len(seen.generator_s) < 2:
        return None
    return (seen.generator_s[1] - seen.generator_s[0]) / measured_s


def _slope(latencies: Sequence[tuple[float, float]], begin_s: float) -> Slope | None:
    if not latencies:
        return None
    due, late = zip(*latencies, strict=True)
    return slope(*medians([each - begin_s for each in due], late, SLOPE_BIN_S))


def _judged(run: Run, seen: Observation) -> Run:
    """The run with the reasons for which it does not hold."""
    limit_s = seen.geometry.chunk_s + ALLOWANCE_S
    failures = []
    if run.cut_short:
        failures.append("hopelessly behind, stopped early")
    judged = run.partial or run.step
    if judged is None:
        failures.append("nothing was heard")
    elif judged.p99 > limit_s:
        name = "partial" if run.partial else "step"
        failures.append(f"p99 {name} {1000 * judged.p99:.0f} ms > {1000 * limit_s:.0f} ms")
    if run.backlog_slope is not None and run.backlog_slope.low > 0:
        failures.append(f"backlog grows by {1000 * run.backlog_slope.estimate:.1f} ms/s")
    if seen.faults:
        failures.append(f"{len(seen.faults)} streams failed: {seen.faults[0]}")
    return replace(run, failures=tuple(failures))


def is_generator_late(run: Run) -> bool:
    """Whether the load generator, not the recogniser, may have set the limit."""
    return run.generator_late_s > LATE_GENERATOR_S or (run.generator_busy or 0.0) > BUSY_GENERATOR


def from_json(values: Mapping[str, Any]) -> Results:
    """What `Results.to_json` gave; ValueError if it is something else."""
    try:
        read: Results = _read(Results, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected the JSON of streamer bench ({error!r})") from error
    return read


def _read(hint: Any, value: Any) -> Any:
    """A value as its annotation wants it; only what `Results` is made of."""
    if isinstance(hint, UnionType):  # with None
        return None if value is None else _read(get_args(hint)[0], value)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(
            **{each.name: _read(hints[each.name], value[each.name]) for each in fields(hint)}
        )
    if get_origin(hint) is tuple:
        return tuple(_read(get_args(hint)[0], item) for item in value)
    return value
