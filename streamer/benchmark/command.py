"""`streamer bench`: how its parts are put together.

Owns the way from options to figures. A composition root beside `streamer.cli`;
`python -m streamer.benchmark` is the same command where only torch, numpy, safetensors (and
transformers, for the comparison) are installed.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamer import __version__, config
from streamer.benchmark import options, output
from streamer.benchmark.plan import Plan
from streamer.benchmark.suite import plans
from streamer.config import Config, ConfigError
from streamer.reporting import machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamer.benchmark.clips import Audio
    from streamer.benchmark.load import Target
    from streamer.benchmark.measuring import Deadline, Found
    from streamer.benchmark.results import Condition, Contender
    from streamer.benchmark.throughput import Candidate
    from streamer.core.recognizer import Model

DEMO = Path(__file__).parents[2] / "clients" / "demo.flac"
SAFE_SHARE = 0.7  # of what a closed loop carries: where the search begins
LONGEST_FILL_S = 60.0  # of audio that the closed loop may need


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `bench` to the commands; `command(name, run, text)` makes its parser."""
    text = "measure how many live streams this machine carries, and how late they are"
    options.add_arguments(command("bench", run, text))


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for; returns the exit status.

    Raises ConfigError, in one sentence for the user.
    """
    output.check(arguments)
    if arguments.saved is not None:
        results = output.saved(arguments.saved)
        output.show(results)
        output.write(arguments, results)
        return 0
    from streamer.benchmark.measuring import Deadline
    from streamer.benchmark.results import Results

    settings = _settings(arguments)
    deadline = Deadline.after(arguments.minutes)
    wanted = (
        plans(arguments.suite, settings) if arguments.suite else [options.plan(arguments, settings)]
    )
    results = Results(_about(arguments, wanted))
    output.show_about(results)

    def with_one(condition: "Condition") -> "Results":
        return replace(results, conditions=(*results.conditions, condition))

    if arguments.suite == "gpu":
        results = with_one(_agreement(wanted[-1], arguments))
        output.show_condition(results.conditions[-1])
    for number, plan in enumerate(wanted):
        part = deadline.part(len(wanted) - number)
        # A command that is ended leaves what it has.
        condition = _measured(
            plan, arguments, part, lambda so_far: output.write_json(arguments, with_one(so_far))
        )
        results = with_one(condition)
        output.show_condition(condition)
    output.write(arguments, results)
    return 0


def _agreement(plan: Plan, arguments: argparse.Namespace) -> "Condition":
    """Whether the plan's model says the same on its device, with graphs and without, as here."""
    from streamer.benchmark import agreement, building
    from streamer.benchmark.results import Condition

    output.progress("does the shipped model say the same on the device, with graphs and without?")
    reference, pairs = building.ways(plan.settings.model)
    context, grid = reference.model.context, reference.model.grid
    chunk_s = grid.seconds(grid.samples(context.chunk))
    notes = agreement.check(reference, pairs, _audio(plan, arguments.audio))
    name = "agreement of the shipped model, by frames and texts"
    return Condition(name, chunk_s, context.latency_s(grid), notes=tuple(notes))


def _settings(arguments: argparse.Namespace) -> Config:
    flags = {key: value for key, value in vars(arguments).items() if "." in key}
    return config.load(arguments.config, flags)


def _about(arguments: argparse.Namespace, wanted: Sequence[Plan]) -> dict[str, str]:
    """What is measured on what."""
    import torch

    from streamer.benchmark import building

    device, _ = building.place(wanted[0].settings.model)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}:"
    cores = machine.cores()
    return {
        "command": " ".join(["streamer", "bench", *sys.argv[1:]]).replace("bench bench", "bench"),
        "device": f"{name} {machine.processor()}, {cores} cores, torch {torch.__version__}",
        "audio": ", ".join(map(str, arguments.audio or [_default_audio()])),
        "date": f"{date.today().isoformat()}, streamer {__version__}",
    }


# --- one plan ------------------------------------------------------------------------------------


def _measured(
    plan: Plan,
    arguments: argparse.Namespace,
    deadline: "Deadline",
    keep: "Callable[[Condition], None]",
) -> "Condition":
    """A plan's figures: the closed loop first, of which `keep` is told, then streams in real time.

    The closed loop takes at most half of the time.
    """
    audio = _audio(plan, arguments.audio)
    if plan.url is not None or (plan.websocket and not plan.batches):
        return _carried(plan, None, (), audio, deadline)
    from streamer.benchmark import building, throughput
    from streamer.benchmark.results import Condition

    candidates = building.candidates(building.network(plan), plan)
    own = candidates[-1]
    plan = replace(plan, most_streams=min(plan.most_streams, own.model.slots))
    contenders: tuple[Contender, ...] = ()
    if plan.batches:
        contenders = throughput.measure(
            candidates,
            audio,
            plan.batches,
            plan.step_seconds,
            output.progress,
            partial(deadline.part(2).allows, 0.0),
        )
    latency_s = own.model.context.latency_s(own.model.grid)
    keep(Condition(plan.name, _chunk_s(own), latency_s, contenders))
    del candidates  # the memory of those beside it
    condition = _carried(plan, own, contenders, audio, deadline)
    hop_s = own.model.grid.seconds(own.model.grid.samples(1))
    stream = None if own.frame_flops is None else own.frame_flops / hop_s / 1e12
    condition = replace(condition, stream_tflops=stream)
    notes = (*condition.notes, *_arithmetic(condition, arguments), *_threads(own.model))
    return replace(condition, notes=notes)


def _chunk_s(candidate: "Candidate") -> float:
    grid = candidate.model.grid
    return grid.seconds(grid.samples(candidate.model.context.chunk))


def _carried(
    plan: Plan,
    candidate: "Candidate | None",
    contenders: "tuple[Contender, ...]",
    audio: "Audio",
    deadline: "Deadline",
) -> "Condition":
    from streamer.benchmark.results import Condition

    own = contenders[-1].points if contenders else ()
    guess = max((point.streams for point in own), default=plan.most_streams / 4)
    measuring = _measure_streams(plan, candidate, audio, deadline, int(SAFE_SHARE * guess))
    chunk_s, latency_s, found = asyncio.run(measuring)
    return Condition(
        plan.name, chunk_s, latency_s, contenders, found.runs, found.sustained, None, found.notes
    )


async def _measure_streams(
    plan: Plan,
    candidate: "Candidate | None",
    audio: "Audio",
    deadline: "Deadline",
    guess: int,
) -> "tuple[float, float, Found]":
    from streamer.benchmark.load import LineError
    from streamer.benchmark.measuring import Found, Measuring

    async with _target(plan, candidate, audio) as target:
        measuring = Measuring(target, plan, deadline, output.progress)
        try:
            if plan.search:
                found = await measuring.search(guess)
            else:
                found = await measuring.fixed()
        except LineError as error:
            raise ConfigError(str(error)) from error
        geometry = target.geometry
        latency_s = (geometry.chunk_samples + geometry.wait_samples) / config.SAMPLE_RATE
        assert isinstance(found, Found)
        return geometry.chunk_s, latency_s, found


@asynccontextmanager
async def _target(
    plan: Plan, candidate: "Candidate | None", audio: "Audio"
) -> "AsyncIterator[Target]":
    """What carries the streams of a plan."""
    if not plan.websocket:
        from streamer.benchmark.inprocess import EngineTarget

        assert candidate is not None
        settings = plan.settings
        yield EngineTarget(candidate.model, settings.engine, settings.endpoint, audio)
        return
    try:
        from streamer.benchmark import remote, server, wire
    except ModuleNotFoundError as missing:
        raise ConfigError(f"--websocket needs the package {missing.name}") from missing
    if plan.url is not None:
        from streamer.benchmark import building
        from streamer.benchmark.observation import Geometry
        from streamer.core.context import Grid

        grid = Grid()
        geometry = Geometry.of(building.context(plan, grid), grid)
        yield wire.SocketTarget(plan.url, geometry, audio, None)
        return
    async with remote.started(server.serve, plan) as running:
        url = f"ws://127.0.0.1:{running.port}/v1/stream"
        yield wire.SocketTarget(url, running.geometry, audio, running)


def _audio(plan: Plan, paths: Sequence[Path] | None) -> "Audio":
    from streamer.benchmark import clips

    try:
        if paths or _default_audio() == str(DEMO):
            found = clips.read(paths or [DEMO])
        else:
            found = [clips.synthetic()]
    except clips.ClipError as error:
        raise ConfigError(str(error)) from error
    return clips.Audio(found, max(LONGEST_FILL_S, plan.warm_up_s + plan.seconds + 1))


def _default_audio() -> str:
    from importlib.util import find_spec

    has_reader = find_spec("soundfile") is not None and find_spec("soxr") is not None
    return str(DEMO) if has_reader and DEMO.exists() else "synthetic"


def _threads(model: "Model") -> list[str]:
    from streamer.engine.runner import ModelRunner

    if isinstance(model, ModelRunner) and model.device == "cpu":
        return [f"threads of torch: {model.threads}"]
    return []


def _arithmetic(condition: "Condition", arguments: argparse.Namespace) -> list[str]:
    """The device's arithmetic in a closed loop and in real time, and the shares of its peak."""
    points = condition.contenders[-1].points if condition.contenders else ()
    speeds = {
        "in full batches at best": max((point.tflops or 0.0 for point in points), default=0.0),
        "sustained": (condition.sustained or 0) * (condition.stream_tflops or 0.0),
    }
    peak = arguments.peak_tflops
    return [
        f"{name}: {speed:.3g} TFLOP/s"
        + (f", {100 * speed / peak:.1f} % of {peak:g}" if peak else "")
        for name, speed in speeds.items()
        if speed
    ]
