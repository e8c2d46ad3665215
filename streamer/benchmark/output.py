"""What `streamer bench` prints and writes.

Owns the order of the tables and the files. Must not know how figures are taken.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from streamer.benchmark import table
from streamer.benchmark.results import Condition, Results, from_json
from streamer.config import ConfigError
from streamer.reporting.table import as_text


def check(arguments: argparse.Namespace) -> None:
    """Before the work, not behind it."""
    for path in (arguments.json, arguments.html):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ConfigError(f"cannot write {path}: no such folder, or one itself")
    if arguments.html is not None and find_spec("matplotlib") is None:
        raise ConfigError(
            "--html needs the package matplotlib: pip install -e '.[bench]'; "
            "--json here and --from where it is installed gives the same"
        )


def progress(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def show(results: Results) -> None:
    """The tables, on the terminal."""
    show_about(results)
    for condition in results.conditions:
        show_condition(condition)


def show_about(results: Results) -> None:
    """What was measured on what."""
    print("\n".join(f"{key}: {value}" for key, value in results.about.items()), flush=True)


def show_condition(condition: Condition) -> None:
    """The tables of one condition."""
    print(f"\n{condition.name}")
    if condition.contenders:
        print(as_text(table.steps(condition)))
    if condition.runs:
        print(as_text(table.runs(condition)))
    print("\n".join(table.verdict(condition)), flush=True)


def saved(path: Path) -> Results:
    """The figures of a JSON file; raises ConfigError."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON of streamer bench") from error


def write(arguments: argparse.Namespace, results: Results) -> None:
    """Every file that was asked for; raises ConfigError."""
    write_json(arguments, results)
    if arguments.html is not None:
        from streamer.benchmark import report

        _write_text(arguments.html, report.page(results))


def write_json(arguments: argparse.Namespace, results: Results) -> None:
    """The figures, if they were asked for."""
    if arguments.json is not None:
        _write_text(arguments.json, json.dumps(results.to_json(), indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
