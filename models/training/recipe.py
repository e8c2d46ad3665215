"""What shapes a run: its settings as frozen dataclasses, and the command-line options from them.

Owns defaults, ranges and help texts of `train` and `finetune`; loads no torch, so that the command
line can ask for help without it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
UNITS = {"s": "SECONDS", "h": "HOURS", "share": "SHARE"}  # by the last part of a field's name


class TrainingError(Exception):
    """Something that the user gave cannot be trained on; the message is one sentence."""


def option(default: Any, text: str) -> Any:
    """A field with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a network that is trained from scratch."""

    stride: int = option(2, "mel frames of 10 ms that make one frame of the encoder")
    layers: int = option(6, "encoder layers")
    width: int = option(256, "channels")
    heads: int = option(4, "attention heads")
    intermediate: int = option(1024, "channels inside the feed-forward networks")
    kernel: int = option(15, "frames of the causal convolution")

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_range(each.name, getattr(self, each.name), 1, 100_000)
        if self.width % self.heads:
            raise ValueError(f"expected a width that {self.heads} heads divide, got {self.width}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that shapes a run from scratch but its data and the network's geometry."""

    exposure_h: float = option(250.0, "audio heard until the learning rate has reached its end")
    batch_s: float = option(45.0, "seconds of audio in a batch")
    max_clip_s: float = option(16.0, "longer clips are left out")
    learning_rate: float = option(2e-3, "highest learning rate")
    warmup_h: float = option(1.0, "audio heard until the learning rate is at its highest")
    gentle_h: float = option(6.0, "clean, short clips in small batches until then")
    gentle_batch_s: float = option(32.0, "seconds of audio in a batch of that time")
    gentle_clip_s: float = option(4.0, "longest clip of that time")
    clean_share: float = option(0.5, "share of undistorted batches after that")
    decay_share: float = option(0.75, "share of the exposure, at its end, in which the rate falls")
    human_from_h: float = option(12.0, "synthetic speech alone until then: it teaches alignment")
    human_share: float = option(0.15, "share of batches of human speech, reached at twice that")
    empty_share: float = option(0.0, "share of clips replaced by noise in which nothing is said")
    dropped_channel_share: float = option(0.0, "share of a layer's channels left out, per clip")
    dropped_branch_share: float = option(0.0, "share of a layer's branches left out, per clip")
    middle_weight: float = option(0.3, "weight of the CTC loss at the middle layer")
    full_context_share: float = option(0.15, "share of batches without a chunk mask")
    chunk_s: tuple[float, ...] = option((0.16, 0.64), "shortest and longest chunk of the masks")
    left_s: tuple[float, ...] = option((0.64, 1.28, 2.56, 5.12), "left contexts of the masks")
    utterance_share: float = option(0.35, "share of batches normalised per utterance, not running")
    average_decay: float = option(0.998, "decay of the running average of the weights")
    clip_norm: float = option(1.0, "largest norm of the gradient")

    def __post_init__(self) -> None:
        _check_shares(self)
        _check_masks(self.chunk_s, self.left_s)
        for name in ("exposure_h", "batch_s", "max_clip_s", "learning_rate", "warmup_h"):
            _check_range(name, getattr(self, name), 1e-9, 1e9)

    def rate(self, exposure_h: float) -> float:
        """Learning rate factor: warm up, hold, fall linearly to a hundredth."""
        left = (1.0 - exposure_h / self.exposure_h) / self.decay_share
        return max(0.01, min(1.0, exposure_h / self.warmup_h + 0.01, left))

    def humans(self, exposure_h: float) -> float:
        """Share of batches with human speech: none, then rising for as long again, then flat."""
        return self.human_share * min(1.0, max(0.0, exposure_h / self.human_from_h - 1.0))


@dataclass(frozen=True, slots=True)
class Finetuning:
    """Everything that shapes the fine-tuning of a checkpoint but the checkpoint and the data."""

    epochs: float = option(10.0, "passes over the data")
    steps: int = option(0, "updates of the weights; 0: as many as the epochs have")
    batch_s: float = option(120.0, "seconds of audio in a batch, on each device")
    accumulate: int = option(1, "batches of an update, on each device")
    max_clip_s: float = option(20.0, "longer clips are left out")
    learning_rate: float = option(3e-5, "highest learning rate")
    warmup_share: float = option(0.1, "share of the updates in which the learning rate rises")
    weight_decay: float = option(0.0, "weight decay of AdamW")
    clip_norm: float = option(1.0, "largest norm of the gradient")
    full_context_share: float = option(0.3, "share of batches without a chunk mask")
    chunk_s: tuple[float, ...] = option((0.16, 0.64), "shortest and longest chunk of the masks")
    left_s: tuple[float, ...] = option((0.64, 1.28, 2.56, 5.12), "left contexts of the masks")
    utterance_share: float = option(0.35, "share of batches normalised per utterance, not running")
    distillation: float = option(0.3, "weight of the distance to the same weights' full context")
    peak_first: float = option(0.0, "weight of the distance to the next frame: earlier words")
    trim_s: float = option(0.0, "longest tail cut off a clip whose text stays: earlier words")
    evaluate_every: int = option(500, "updates between two evaluations on --dev")
    save_every_s: float = option(600.0, "seconds between two saves of the run's state")
    log_every: int = option(10, "updates between two lines of the log")
    seed: int = option(1, "of the data's order, the masks and a new head")

    def __post_init__(self) -> None:
        _check_shares(self)
        _check_masks(self.chunk_s, self.left_s)
        for name in ("epochs", "batch_s", "max_clip_s", "learning_rate", "clip_norm"):
            _check_range(name, getattr(self, name), 1e-9, 1e9)
        for name in ("accumulate", "evaluate_every", "log_every"):
            _check_range(name, getattr(self, name), 1, 1_000_000_000)
        for name in ("steps", "weight_decay", "distillation", "peak_first", "trim_s"):
            _check_range(name, getattr(self, name), 0, 1_000_000_000)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate factor of update ``step`` of ``steps``: rise, then fall, both linearly."""
        warmup = self.warmup_share * steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (steps - step) / max(1.0, steps - warmup)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is outside of every range
        raise ValueError(f"expected {name} from {low:g} to {high:g}, got {value:g}")


def _check_shares(settings: Recipe | Finetuning) -> None:
    for each in fields(settings):
        if each.name.endswith("_share"):
            _check_range(each.name, getattr(settings, each.name), 0.0, 1.0)


def _check_masks(chunk_s: tuple[float, ...], left_s: tuple[float, ...]) -> None:
    if len(chunk_s) != 2 or not 0.0 < chunk_s[0] <= chunk_s[1] < 1e6:
        raise ValueError(f"expected chunk_s as a shorter and a longer time, got {chunk_s}")
    if not left_s or not all(0.0 <= each < 1e6 for each in left_s):
        raise ValueError(f"expected left_s as times from 0 on, got {left_s}")


def add_options(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Give ``parser`` an option for each field of the dataclass ``kind``."""
    for each in fields(kind):
        default: Any = each.default
        many = isinstance(default, tuple)
        shown = " ".join(map(str, default)) if many else default
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=float if many else type(default),
            nargs="+" if many else None,
            default=default,
            metavar=UNITS.get(each.name.rpartition("_")[2], "N"),
            help=f"{each.metadata['help']} (default: {shown})",
        )


def from_options(kind: type[T], arguments: argparse.Namespace) -> T:
    """The dataclass ``kind`` from what ``add_options`` has parsed.

    Raises:
        TrainingError: a value is out of its range.
    """
    values = {each.name: getattr(arguments, each.name) for each in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
            }
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
