"""How a run tells of itself: one CSV file, one live line, and the wish to stop.

Owns the log's form and what goes to the terminal. Knows nothing of models.
"""

from __future__ import annotations

import csv
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm


class RunLog:
    """Rows in ``path``, one each log interval, and a line on stderr with the time left.

    The line is live on a terminal; elsewhere each row gives one line. A run that goes on behind
    update ``step`` drops the rows after it, which it writes again; behind 0 it drops all. Without
    a path it is silent, as all processes of a run but the first are.
    """

    def __init__(self, path: Path | None, columns: Iterable[str], step: int, steps: int) -> None:
        self.path, self.columns = path, ["step", *columns]
        self.first, self.steps = step, steps
        kept = [row for row in _rows(path) if int(row["step"]) <= step] if step else []
        self.started = time.monotonic()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write("w", self.columns, *([row[name] for name in self.columns] for row in kept))
        live = path is not None and sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=step, unit="step", disable=not live)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.bar.close()

    def advance(self) -> None:
        """One update is done."""
        self.bar.update()

    def row(self, step: int, values: Mapping[str, float], text: str) -> None:
        """One row after update ``step``; ``text`` says in short how it goes."""
        if self.path is None:
            return
        cells = (values.get(name) for name in self.columns[1:])
        self._write("a", [step, *("" if cell is None else f"{cell:.6g}" for cell in cells)])
        self.bar.set_postfix_str(text)
        if self.bar.disable:
            per_update_s = (time.monotonic() - self.started) / max(1, step - self.first)
            left = (
                f", {clock(per_update_s * (self.steps - step))} left" if step > self.first else ""
            )
            print(f"{step}/{self.steps} {text}{left}", file=sys.stderr, flush=True)

    def _write(self, mode: str, *rows: Iterable[object]) -> None:
        assert self.path is not None
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def _rows(path: Path | None) -> list[dict[str, str]]:
    """The whole rows that are there."""
    if path is None or not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def wish_to_stop() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or SIGINT arrives; a second SIGINT interrupts as usual."""
    received: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    for each in before:
        signal.signal(each, note)
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
