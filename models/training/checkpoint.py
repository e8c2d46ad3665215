"""Training state on disk: weights, averages and optimiser moments as safetensors, progress as JSON.

Owns resumability: a checkpoint is complete once its JSON is there. Knows nothing of data.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    exposure_h: float = 0.0
    elapsed_s: float = 0.0
    best_wer: float | None = None  # of a run that is evaluated as it goes


def save(
    folder: Path,
    progress: Progress,
    weights: dict[str, Tensor],
    average: dict[str, Tensor],
    optimizers: list[Optimizer],
) -> None:
    """Write ``last.safetensors`` and ``last.json``, each by rename, the JSON last."""
    tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{number}.{index}.{key}": torch.as_tensor(value)
                for key, value in state.items()
            }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "last.part")
    (folder / "last.part").rename(folder / "last.safetensors")
    (folder / "last.json.part").write_text(json.dumps(asdict(progress)))
    (folder / "last.json.part").rename(folder / "last.json")


def resume(
    folder: Path,
    weights: dict[str, Tensor],
    average: dict[str, Tensor],
    optimizers: list[Optimizer],
) -> Progress:
    """Fill the given tensors and optimisers from ``folder``; a fresh Progress if it is empty."""
    if not (folder / "last.json").exists():
        return Progress()
    tensors = load_file(folder / "last.safetensors")
    for prefix, target in (("weights", weights), ("average", average)):
        for name, tensor in target.items():
            tensor.copy_(tensors[f"{prefix}.{name}"])
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, *rest = name.split(".")
            if kind == "optimizer" and int(rest[0]) == number:
                state.setdefault(int(rest[1]), {})[rest[2]] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Progress(**json.loads((folder / "last.json").read_text()))
