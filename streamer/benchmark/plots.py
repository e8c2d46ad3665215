"""The report's charts, as data URIs: latency against streams, steps, where the time goes."""

from collections.abc import Sequence

from streamer.benchmark.results import ALLOWANCE_S, Condition, Run
from streamer.reporting import pictures


def latencies(condition: Condition) -> str:
    """Percentiles of partial (or else step) latency against the number of streams."""
    from matplotlib import rc_context

    runs = _ordered(condition)
    with rc_context(pictures.STYLE):
        figure = pictures.figure(6, 3.2)
        axes = figure.add_subplot()
        for index, name in enumerate(("p50", "p95", "p99", "max")):
            shown = [(run.streams, run.partial or run.step) for run in runs]
            points = [(n, 1000 * getattr(each, name)) for n, each in shown if each is not None]
            color = pictures.COLORS[index]
            axes.plot(*zip(*points, strict=True), marker="o", color=color, label=name)
        limit_ms = 1000 * (condition.chunk_s + ALLOWANCE_S)
        axes.axhline(limit_ms, color="#c0392b", linestyle="--", linewidth=1)
        axes.set_yscale("log")
        axes.set_xlabel("streams")
        axes.set_ylabel("ms after a chunk was complete")
        axes.legend(frameon=False)
        return pictures.uri(figure, "svg")


def throughput(condition: Condition) -> str:
    """Live streams that each contender could just carry, against the batch size."""
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        figure = pictures.figure(6, 3.4)
        axes = figure.add_subplot()
        for index, contender in enumerate(condition.contenders):
            points = [(point.batch, point.streams) for point in contender.points]
            if points:
                color = pictures.COLORS[index % len(pictures.COLORS)]
                axes.plot(*zip(*points, strict=True), marker="o", color=color, label=contender.name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("streams in a batch")
        axes.set_ylabel("live streams it could just carry")
        figure.legend(loc="outside upper center", frameon=False)
        return pictures.uri(figure, "svg")


def shares(condition: Condition) -> str:
    """Where the time goes: of a chunk (waiting, computing), and of the machine (device, host)."""
    from matplotlib import rc_context

    runs = [run for run in _ordered(condition) if run.device_busy is not None]
    names = [str(run.streams) for run in runs]
    with rc_context(pictures.STYLE):
        figure = pictures.figure(9, 3.2)
        chunk, machine = figure.subplots(1, 2)
        waits = [1000 * (run.wait_s or 0.0) for run in runs]
        computing = [1000 * (run.compute_s or 0.0) for run in runs]
        chunk.bar(names, waits, 0.6, color=pictures.COLORS[5], label="waits for its step")
        chunk.bar(names, computing, 0.6, waits, color=pictures.COLORS[0], label="is computed")
        chunk.set_ylabel("ms of a chunk, mean")
        chunk.legend(frameon=False)
        device = [100 * (run.device_busy or 0.0) for run in runs]
        host = [100 * (run.host_busy or 0.0) for run in runs]
        machine.plot(names, device, marker="o", color=pictures.COLORS[0], label="device")
        machine.plot(names, host, marker="o", color=pictures.COLORS[1], label="event loop")
        machine.set_ylim(0, 105)
        machine.set_ylabel("% busy")
        machine.legend(frameon=False)
        for axes in (chunk, machine):
            axes.set_xlabel("streams")
        return pictures.uri(figure, "svg")


def _ordered(condition: Condition) -> Sequence[Run]:
    return sorted(condition.runs, key=lambda run: run.streams)
