"""The figures as tables of text: one of the steps side by side, one of the runs.

Owns their labels and units; the report shows the same tables.
"""

from collections.abc import Callable, Iterator

from streamer.benchmark.results import Condition, Point, Run, is_generator_late
from streamer.benchmark.statistics import Spread
from streamer.reporting.table import NOTHING, Row, number

PERCENTILES = "p50/p95/p99/max"


def steps(condition: Condition) -> list[Row]:
    """How long steps take: a column for each batch size, two lines for each contender."""
    batches = sorted({point.batch for each in condition.contenders for point in each.points})
    rows = [Row("streams side by side, a closed loop", tuple(map(str, batches)))]
    for contender in condition.contenders:
        found = {point.batch: point for point in contender.points}

        def add(
            label: str,
            value: Callable[[Point], float | None],
            digits: int,
            found: dict[int, Point] = found,
        ) -> None:
            cells = [
                number(value(found[batch]) if batch in found else None, digits) for batch in batches
            ]
            if set(cells) != {NOTHING}:
                rows.append(Row(f"  {label}", tuple(cells)))

        rows.append(Row(contender.name))
        add("step, ms", lambda point: 1000 * point.step_s, 1)
        add("processor time of a step, ms", lambda point: point.cpu_s and 1000 * point.cpu_s, 1)
        add("live streams it could just carry", lambda point: point.streams, 2)
        if len(condition.contenders) > 1:
            add("times the first", lambda point: point.ratio, 1)
            add("times the first, by processor time", lambda point: point.cpu_ratio, 1)
        add("TFLOP/s", lambda point: point.tflops, 3)
    return rows


def runs(condition: Condition) -> list[Row]:
    """Runs in real time: a line for each number of streams."""
    heads = (
        "step",
        "partial",
        "final",
        "wait",
        "slope",
        "device",
        "host",
        "cores",
        "batch",
        "late",
        "",
    )
    units = (
        *(f"{PERCENTILES} ms",) * 3,
        "ms",
        "ms/s",
        "%",
        "%",
        "busy",
        "",
        "p99 ms",
        "",
    )
    rows = [Row("streams, in real time", heads), Row("", units)]
    ordered = sorted(condition.runs, key=lambda run: run.streams)
    return rows + [Row(f"  {run.streams}", tuple(_cells(run))) for run in ordered]


def _cells(run: Run) -> Iterator[str]:
    yield from (_spread(each) for each in (run.step, run.partial, run.final))
    yield _scaled(run.wait_s, 1000, 0)
    yield _scaled(None if run.backlog_slope is None else run.backlog_slope.estimate, 1000, 1)
    yield _scaled(run.device_busy, 100, 0)
    yield _scaled(run.host_busy, 100, 0)
    yield number(run.process_busy, 2)
    yield number(run.mean_batch, 1)
    mark = "!" if is_generator_late(run) else ""
    yield f"{mark}{1000 * run.generator_late_s:.0f}"
    yield "holds" if run.holds else "; ".join(run.failures)


def _scaled(value: float | None, factor: float, digits: int) -> str:
    return number(None if value is None else factor * value, digits)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    values = (spread.p50, spread.p95, spread.p99, spread.max)
    return "/".join(f"{1000 * each:.0f}" for each in values)


def verdict(condition: Condition) -> list[str]:
    """What was found, in sentences."""
    found = list(condition.notes)
    if condition.sustained is not None:
        late_ms = 1000 * condition.chunk_s
        found.insert(
            0,
            f"sustained: {condition.sustained} streams, chunks of {late_ms:.0f} ms, "
            f"latency of the algorithm {1000 * condition.latency_s:.0f} ms",
        )
    if any(is_generator_late(run) for run in condition.runs):
        found.append("! the load generator was late or busy: it may have set the limit")
    return found
