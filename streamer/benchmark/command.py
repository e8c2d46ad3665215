"""`streamer bench`: its options, and how its parts are put together.

Owns the command's options, what is printed and written. A composition root beside `streamer.cli`;
`python -m streamer.benchmark` is the same command where only torch, numpy, safetensors (and
transformers, for the comparison) are installed.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer import __version__, config, schema
from streamer.benchmark.plan import Plan
from streamer.benchmark.suite import SUITES, plans
from streamer.config import Config, ConfigError
from streamer.reporting import machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamer.benchmark.clips import Audio
    from streamer.benchmark.load import Target
    from streamer.benchmark.measuring import Deadline, Found
    from streamer.benchmark.results import Condition, Contender, Results
    from streamer.benchmark.throughput import Candidate

DEMO = Path(__file__).parents[2] / "clients" / "demo.flac"
SAFE_SHARE = 0.7  # of what a closed loop carries: where the search begins
LONGEST_FILL_S = 60.0  # of audio that the closed loop may need


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `bench` to the commands; `command(name, run, text)` makes its parser."""
    text = "measure how many live streams this machine carries, and how late they are"
    add_arguments(command("bench", run, text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser the options of `streamer bench`."""
    default = Plan("", Config())
    add = parser.add_argument
    add("--suite", choices=SUITES, help="everything worth measuring on such a machine")
    add("--random-full-size", action="store_true", help="w2v-BERT 2.0's size, random weights")
    add("--side-by-side", action="store_true", help="beside transformers' windows and our own")
    _add_numbers(parser, default)
    add("--websocket", action="store_true", help="over websockets, server in its own process")
    add("--url", metavar="URL", help="over websockets to a server that runs, with its --preset")
    add("--audio", nargs="+", type=Path, metavar="FILE", help="what the streams say")
    add("--minutes", type=_positive, metavar="M", help="begin no further run behind M minutes")
    add("--peak-tflops", type=_positive, metavar="T", help="what the device gives; shares of it")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--html", type=Path, metavar="FILE", help="write a report with plots")
    add("--from", type=Path, dest="saved", metavar="JSON", help="show saved figures, measure none")
    add("--config", type=Path, metavar="FILE", help="settings, in TOML")
    schema.add_flags(parser, Config, "model", "endpoint", "engine")


def _add_numbers(parser: argparse.ArgumentParser, default: Plan) -> None:
    def add(option: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:
        parser.add_argument(option, type=kind, help=text, **more)

    add("--chunk-s", _positive, "seconds, instead of the preset's", metavar="S")
    add("--lookahead-s", _seconds, "seconds, instead of the preset's", metavar="S")
    add("--window-lookahead-s", _seconds, "of the windows beside it, if other", metavar="S")
    add(
        "--batches",
        _natural,
        "batch sizes of the closed loop; 0: none (default: 1 2 4 8 16 32)",
        nargs="+",
        metavar="N",
        default=default.batches,
    )
    add("--streams", _natural, "runs of so many; 0: none (default: search)", nargs="+", metavar="N")
    add("--max-streams", _natural, "largest number (%(default)s)", default=default.most_streams)
    add("--seconds", _positive, "measured of each run (%(default)s)", default=default.seconds)
    add("--warm-up", _positive, "seconds before them (%(default)s)", default=default.warm_up_s)
    add("--packet-ms", _natural, "audio in a packet (%(default)s)", default=default.packet_ms)
    add("--confirm", _natural, "further runs of the number found (%(default)s)", default=1)


def _positive(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("expected more than 0")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return value


def _natural(text: str) -> int:
    if not (text.isdecimal() and len(text) < 9):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for; returns the exit status.

    Raises ConfigError, in one sentence for the user.
    """
    _check_outputs(arguments)
    from streamer.benchmark.measuring import Deadline
    from streamer.benchmark.results import Results

    if arguments.saved is not None:
        results = _saved(arguments.saved)
        _show(results)
        _write(arguments, results)
        return 0
    settings = _settings(arguments)
    deadline = Deadline.after(arguments.minutes)
    wanted = plans(arguments.suite, settings) if arguments.suite else [_plan(arguments, settings)]
    results = Results(_about(arguments, wanted))
    for plan in wanted:
        condition = _measured(plan, arguments, deadline)
        results = replace(results, conditions=(*results.conditions, condition))
        _write_json(arguments, results)  # a command that is ended leaves what it has
    _show(results)
    _write(arguments, results)
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Before the work, not behind it."""
    for path in (arguments.json, arguments.html):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ConfigError(f"cannot write {path}: no such folder, or one itself")
    if arguments.html is not None:
        from importlib.util import find_spec

        if find_spec("matplotlib") is None:
            raise ConfigError(
                "--html needs the package matplotlib: pip install -e '.[bench]'; "
                "--json now and --from there gives it elsewhere"
            )


def _settings(arguments: argparse.Namespace) -> Config:
    flags = {key: value for key, value in vars(arguments).items() if "." in key}
    return config.load(arguments.config, flags)


def _plan(arguments: argparse.Namespace, settings: Config) -> Plan:
    model = "full size, random weights" if arguments.random_full_size else settings.model.name
    where = "over websockets" if arguments.websocket or arguments.url else "in-process"
    streams = arguments.streams
    named = tuple(each for each in streams or () if each)
    return Plan(
        f"{model}, {settings.model.mode}, {where}",
        settings,
        random=arguments.random_full_size,
        chunk_s=arguments.chunk_s,
        lookahead_s=arguments.lookahead_s,
        side_by_side=arguments.side_by_side,
        window_lookahead_s=arguments.window_lookahead_s,
        batches=tuple(each for each in arguments.batches if each),
        search=streams is None,
        fixed_streams=named,
        most_streams=max(1, *named, 0) if named else max(1, arguments.max_streams),
        seconds=arguments.seconds,
        warm_up_s=arguments.warm_up,
        packet_ms=max(1, arguments.packet_ms),
        confirmations=arguments.confirm,
        websocket=arguments.websocket or arguments.url is not None,
        url=arguments.url,
    )


def _about(arguments: argparse.Namespace, wanted: Sequence[Plan]) -> dict[str, str]:
    """What is measured on what."""
    import torch

    from streamer.engine.runner import choose_device

    device = choose_device(wanted[0].settings.model.device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}:"
    cores = machine.cores()
    return {
        "command": " ".join(["streamer", *sys.argv[1:]]),
        "device": f"{name} {machine.processor()}, {cores} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}",
        "audio": ", ".join(map(str, arguments.audio or [_default_audio()])),
        "date": f"{date.today().isoformat()}, streamer {__version__}",
    }


# --- one plan ------------------------------------------------------------------------------------


def _measured(plan: Plan, arguments: argparse.Namespace, deadline: "Deadline") -> "Condition":
    """A plan's figures: the closed loop first, then the streams in real time."""
    audio = _audio(plan, arguments.audio)
    if plan.url is not None:
        return _carried(plan, None, (), audio, deadline)
    if plan.websocket and not plan.batches:
        return _carried(plan, None, (), audio, deadline)
    from streamer.benchmark import building, throughput

    candidates = building.candidates(building.network(plan), plan)
    contenders = throughput.measure(candidates, audio, plan.batches, plan.step_seconds, _progress)
    condition = _carried(plan, candidates[-1], contenders, audio, deadline)
    return replace(condition, notes=(*condition.notes, *_arithmetic(condition, arguments)))


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
        plan.name, chunk_s, latency_s, contenders, found.runs, found.sustained, found.notes
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
        measuring = Measuring(target, plan, deadline, _progress)
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


def _arithmetic(condition: "Condition", arguments: argparse.Namespace) -> list[str]:
    """The device's arithmetic, and the share of its peak."""
    points = condition.contenders[-1].points if condition.contenders else ()
    best = max((point.tflops or 0.0 for point in points), default=0.0)
    peak = arguments.peak_tflops
    if not best:
        return []
    share = f", {100 * best / peak:.1f} % of {peak:g}" if peak else ""
    return [f"at best {best:.2f} TFLOP/s{share}"]


# --- output --------------------------------------------------------------------------------------


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(results: "Results") -> None:
    from streamer.benchmark import table
    from streamer.reporting.table import as_text

    print("\n".join(f"{key}: {value}" for key, value in results.about.items()))
    for condition in results.conditions:
        print(f"\n{condition.name}")
        if condition.contenders:
            print(as_text(table.steps(condition)))
        if condition.runs:
            print(as_text(table.runs(condition)))
        print("\n".join(table.verdict(condition)), flush=True)


def _saved(path: Path) -> "Results":
    from streamer.benchmark.results import from_json

    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _write(arguments: argparse.Namespace, results: "Results") -> None:
    _write_json(arguments, results)
    if arguments.html is not None:
        from streamer.benchmark import report

        _write_text(arguments.html, report.page(results))


def _write_json(arguments: argparse.Namespace, results: "Results") -> None:
    if arguments.json is not None:
        _write_text(arguments.json, json.dumps(results.to_json(), indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
