"""The processes of one run: one alone, or as many as a launcher has started.

Owns what they tell each other. `torchrun` and `accelerate launch` name each process in its
environment (RANK, WORLD_SIZE, LOCAL_RANK); every process holds all weights, and gradients are
averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from models.training.recipe import TrainingError


@dataclass(frozen=True, slots=True)
class World:
    """This process, ``rank`` of ``size``, and its device."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> None:
        """Replace ``tensors`` by their means over all processes."""
        if self.size == 1:
            return
        waiting = [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]
        for each in waiting:
            assert each is not None
            each.wait()
        for tensor in tensors:
            tensor.div_(self.size)

    def total(self, *values: float) -> list[float]:
        """Sums of the processes' values."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            distributed.all_reduce(tensor)
        return [float(each) for each in tensor]


@contextmanager
def join(device: str) -> Iterator[World]:
    """Meet the other processes that the launcher has started, if any.

    ``device`` is auto, cpu or cuda; each process takes a GPU of its own.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch finds no GPU here")
    place = torch.device(device)
    if device == "cuda":
        place = torch.device(device, int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield World(place)
        return
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(place, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
