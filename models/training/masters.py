"""Float32 weights behind a network that computes in a smaller number format.

Owns the way of a gradient: out of the network, summed in float32, clipped, applied to the masters,
and the masters copied back. Updates smaller than a bfloat16 weight can show are not lost so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Masters:
    """The float32 masters of ``model``, which computes in ``dtype`` from now on."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.weights = {
            name: parameter.detach().float().clone() for name, parameter in model.named_parameters()
        }
        self.model = model.to(dtype)

    @torch.no_grad()
    def take_gradients(self, share: float = 1.0) -> None:
        """Add ``share`` times the network's gradients to the masters' and clear the network's."""
        for parameter, master in self._pairs():
            assert parameter.grad is not None
            gradient = parameter.grad.float().mul_(share)
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            parameter.grad = None

    @property
    def gradients(self) -> list[Tensor]:
        """What was taken since the last step."""
        return [master.grad for master in self.weights.values() if master.grad is not None]

    @torch.no_grad()
    def step(self, optimizers: Sequence[Optimizer], clip_norm: float) -> None:
        """Apply the gradients to the masters and copy these into the network."""
        nn.utils.clip_grad_norm_(self.weights.values(), clip_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.copy_back()

    @torch.no_grad()
    def copy_back(self) -> None:
        """Give the network the masters' values."""
        for parameter, master in self._pairs():
            parameter.copy_(master)

    def _pairs(self) -> zip[tuple[nn.Parameter, Tensor]]:
        return zip(self.model.parameters(), self.weights.values(), strict=True)
