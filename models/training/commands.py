"""`train` and `finetune` as the command line offers them; loads torch only when one of them runs.

Owns their options and how a user's mistake is told: one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from models.training.recipe import Finetuning, Geometry, Recipe, TrainingError, add_options


class AddCommand(Protocol):
    """How the command line adds one: its name, what runs it, what it is for."""

    def __call__(
        self, name: str, run: Callable[[argparse.Namespace], int], text: str, /
    ) -> argparse.ArgumentParser:
        """The parser of the new command."""


def add_commands(add: AddCommand) -> None:
    """Add `finetune` and `train` to a command line."""
    _add_finetune_options(add("finetune", finetune, "teach a checkpoint to stream"))
    _add_train_options(add("train", train, "train a small network from scratch"))


def _add_finetune_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="Wav2Vec2BertForCTC or Wav2Vec2BertModel to start from",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="manifest: TSV with path and text, or JSON lines",
    )
    parser.add_argument(
        "--dev",
        type=Path,
        metavar="FILE",
        help="manifest whose streamed WER chooses the best model",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="of the model and the run"
    )
    parser.add_argument(
        "--adapter", action="store_true", help="new adapter layer under a new head: 40 ms outputs"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where it trains (default: auto)",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="number format of its arithmetic (default: bfloat16)",
    )
    parser.add_argument(
        "--recompute", action="store_true", help="gradient checkpointing: less memory, more time"
    )
    add_options(parser, Finetuning)


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--synthetic",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of synthetic shards",
    )
    parser.add_argument(
        "--human", type=Path, required=True, metavar="DIR", help="folder of shards of people"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with noise/ and rir/"
    )
    parser.add_argument(
        "--leave-out", nargs="*", default=[], metavar="PREFIX", help="noises kept for testing"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--start", metavar="DIR", help="checkpoint or run whose weights are the first"
    )
    parser.add_argument(
        "--save-every-s",
        type=float,
        default=240,
        metavar="SECONDS",
        help="seconds between two saves of the run's state (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of the data's order and the first weights (default: %(default)s)",
    )
    add_options(parser, Geometry)
    add_options(parser, Recipe)


def finetune(arguments: argparse.Namespace) -> int:
    """Run `finetune`; returns the exit status."""
    return _run("models.training.finetune", arguments)


def train(arguments: argparse.Namespace) -> int:
    """Run `train`; returns the exit status."""
    return _run("models.training.train", arguments)


def _run(module: str, arguments: argparse.Namespace) -> int:
    """Run a command; a mistake of its user is one line."""
    from models.checkpoint import CheckpointError

    try:
        import_module(module).run(arguments)
    except (TrainingError, CheckpointError) as mistake:
        return _complain(str(mistake))
    except ModuleNotFoundError as error:
        if error.name != "jiwer":
            raise
        return _complain("jiwer is missing, which counts word errors: pip install -e '.[train]'")
    except OSError as error:
        return _complain(f"{error.filename or 'cannot write'}: {error.strerror or error}")
    return 0


def _complain(text: str) -> int:
    print(f"streamer: {' '.join(text.split())}", file=sys.stderr)
    return 1
