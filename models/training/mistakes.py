"""How a tool of training tells its user's mistake: one line on stderr and exit status 1."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from models.training.recipe import TrainingError


def told(tool: str, run: Callable[[], object], *others: type[Exception]) -> int:
    """Run a tool and return its exit status; ``others`` are mistakes beside TrainingError."""
    mistakes: tuple[type[Exception], ...] = (TrainingError, *others)
    try:
        run()
    except mistakes as mistake:
        return _complain(tool, str(mistake))
    except OSError as error:
        return _complain(tool, f"{error.filename or 'cannot write'}: {error.strerror or error}")
    return 0


def _complain(tool: str, text: str) -> int:
    print(f"{tool}: {' '.join(text.split())}", file=sys.stderr)
    return 1


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)
