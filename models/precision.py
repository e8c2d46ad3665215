"""Layers of a network whose parts have their own number formats, and which part has which.

Owns the rule for a short format: products with weights, and what they read and write, are in it;
what is carried from layer to layer, normalised, or convolved channel by channel stays in float32.
There errors would add up, and it costs next to nothing. In one format throughout nothing is cast.

Shapes: B stream, T frame, C channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """A linear layer that computes in the format of its weight, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C')."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Convolution(nn.Conv1d):
    """A convolution that computes in the format of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', T')."""
        return super().forward(x.to(self.weight.dtype))


class Pointwise(nn.Conv1d):
    """A convolution of one frame: a linear layer whose weight has the checkpoint's shape."""

    def __init__(self, size: int, output: int) -> None:
        super().__init__(size, output, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C'), unlike a Conv1d: channels last."""
        return F.linear(x.to(self.weight.dtype), self.weight.squeeze(-1))


class LayerNorm(nn.LayerNorm):
    """A normalisation that computes in the format of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return super().forward(x.to(self.weight.dtype))


def shorten(module: nn.Module, dtype: torch.dtype) -> None:
    """Bring what multiplies within ``module`` into ``dtype``: all but norms and depthwise filters.

    The parameters of other modules, attention's position biases and tables, are factors too.
    """
    for each in module.modules():
        is_filter = isinstance(each, nn.Conv1d) and each.groups > 1
        if not is_filter and not isinstance(each, nn.LayerNorm):
            for parameter in each.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
