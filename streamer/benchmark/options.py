"""The options of `streamer bench`, and the plan that they make.

Owns names, kinds, defaults and help texts. Must not know what is made of a plan.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamer import schema
from streamer.benchmark.plan import Plan
from streamer.benchmark.suite import SUITES
from streamer.config import Config, ConfigError


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
    def add(option: str, kind: Callable[[str], Any], metavar: str, text: str, **more: Any) -> None:
        shown = f"{text} (default: %(default)s)" if set(more) == {"default"} else text
        parser.add_argument(option, type=kind, metavar=metavar, help=shown, **more)

    add("--chunk-s", _positive, "S", "seconds, instead of the preset's")
    add("--lookahead-s", _seconds, "S", "seconds, instead of the preset's")
    add("--window-lookahead-s", _seconds, "S", "of the windows beside it, if other")
    sizes = "batch sizes of the closed loop; 0: none (default: 1 2 4 8 16 32)"
    add("--batches", _natural, "N", sizes, nargs="+", default=default.batches)
    add("--streams", _natural, "N", "runs of so many; 0: none (default: search)", nargs="+")
    add("--max-streams", _natural, "N", "largest number tried", default=default.most_streams)
    add("--seconds", _positive, "S", "seconds measured of each run", default=default.seconds)
    add("--warm-up", _positive, "S", "seconds before them", default=default.warm_up_s)
    add("--packet-ms", _natural, "MS", "audio in a packet", default=default.packet_ms)
    add("--confirm", _natural, "N", "further runs of the number found", default=1)


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


def plan(arguments: argparse.Namespace, settings: Config) -> Plan:
    """The one condition that the options name; ConfigError if it cannot be measured."""
    model = "full size, random weights" if arguments.random_full_size else settings.model.name
    where = "over websockets" if arguments.websocket or arguments.url else "in-process"
    streams = arguments.streams
    named = tuple(each for each in streams or () if each)
    if streams is not None and not (named or any(arguments.batches)):
        raise ConfigError("--batches 0 with --streams 0 leaves nothing to measure")
    if settings.engine.decode_workers > 0 and not arguments.websocket:
        raise ConfigError("--decode-workers: in this process there are none; add --websocket")
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
