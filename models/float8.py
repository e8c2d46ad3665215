"""Linear layers that multiply floats of eight bits, as GPUs from Hopper on do.

Owns the layer. A CPU without such instructions computes the same, slowly: good for asking what it
costs in words, and for tests. Must not know: what the layers are for.

Shapes: M row, K input, N output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.eight_bit import rounded

MULTIPLE = 16  # of K and N: how the kernels of GPUs read


class Float8Linear(nn.Module):
    """A linear layer of e4m3 floats: weights scaled by output, activations by row as they come.

    A row's scale is its own, so the neighbours in a batch change nothing. Sums are float32, the
    result is bfloat16.

    Raises:
        ValueError: a size that the kernels cannot have.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        outputs, self.in_features = weight.shape
        if outputs % MULTIPLE or self.in_features % MULTIPLE:
            raise ValueError(f"float8: expected widths divisible by 16, got {tuple(weight.shape)}")
        self.weight, scale = rounded(weight, "float8")
        self.scale = scale.T.contiguous()  # (1, N)
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows, scale = rounded(x.reshape(-1, self.in_features), "float8")
        y = torch._scaled_mm(
            rows, self.weight.T, scale_a=scale, scale_b=self.scale, out_dtype=torch.bfloat16
        )
        y = y if self.bias is None else (y + self.bias).to(torch.bfloat16)
        return y.reshape(*x.shape[:-1], -1)
