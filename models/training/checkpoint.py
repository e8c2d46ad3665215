"""Training state on disk: weights, averages and optimiser moments as safetensors, progress as JSON.

Owns resumability: the safetensors file holds the progress too and is replaced by one rename, so a
run that is killed while it saves goes on from the save before. Knows nothing of data.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from models.training.recipe import TrainingError


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
    """Write ``last.safetensors``, by rename, and ``last.json`` for people to read."""
    tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{number}.{index}.{key}": torch.as_tensor(value)
                for key, value in state.items()
            }
    folder.mkdir(parents=True, exist_ok=True)
    written = json.dumps(asdict(progress))
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "last.part", metadata={"progress": written})
    (folder / "last.part").replace(folder / "last.safetensors")
    (folder / "last.json").write_text(written)


def resume(
    folder: Path,
    weights: dict[str, Tensor],
    average: dict[str, Tensor],
    optimizers: list[Optimizer],
) -> Progress:
    """Fill the given tensors and optimisers from ``folder``; a fresh Progress if it is empty.

    Raises:
        TrainingError: what is there is damaged.
    """
    path = folder / "last.safetensors"
    if not path.exists():
        return Progress()
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise TrainingError(f"{path} is damaged: {error}") from error
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
    with safe_open(path, "pt") as file:
        written = (file.metadata() or {}).get("progress")
    return Progress(**json.loads(written or (folder / "last.json").read_text()))
