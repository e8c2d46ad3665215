"""Numbers in eight bits with a scale for each row: what attention remembers at half the size.

Owns the rounding: whole numbers (``int8``) or floats of four bits exponent and three bits mantissa
(``float8``). A row's scale is its own, so neither its neighbours nor where a stream is cut change
it. Must not know: where rows are kept, what is multiplied.

Shapes: D values of a row.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

EightBit: TypeAlias = Literal["int8", "float8"]
FORMATS: dict[EightBit, tuple[torch.dtype, float]] = {
    "int8": (torch.int8, 127.0),
    "float8": (torch.float8_e4m3fn, 448.0),
}
SCALE_BYTES = 4  # float32
LEAST = 1e-10  # a row below it is nothing, and has a scale all the same


def scale_of(x: Tensor, kind: EightBit) -> Tensor:
    """What one step, or 1.0, stands for in each row (..., D) of float32, (..., 1)."""
    top = torch.maximum(x.amax(-1, keepdim=True), -x.amin(-1, keepdim=True))
    return top.clamp_min_(LEAST) / FORMATS[kind][1]


def rounded(x: Tensor, kind: EightBit) -> tuple[Tensor, Tensor]:
    """Rows (..., D) as eight bits (..., D), and the scale (..., 1), float32, that undoes it."""
    x = x.float()
    scale = scale_of(x, kind)
    whole = x / scale
    return (whole.round_() if kind == "int8" else whole).to(FORMATS[kind][0]), scale


def encode(x: Tensor, kind: EightBit) -> Tensor:
    """Rows (..., D) and their scales behind them, (..., D + 4) bytes."""
    body, scale = rounded(x, kind)
    return torch.cat([body.view(torch.uint8), scale.view(torch.uint8)], dim=-1)


def decode(rows: Tensor, kind: EightBit, dtype: torch.dtype) -> Tensor:
    """What ``encode`` was given, rounded, (..., D) in ``dtype``; zero bytes are zeros."""
    body = rows[..., :-SCALE_BYTES].view(FORMATS[kind][0])
    scale = rows[..., -SCALE_BYTES:].contiguous().view(torch.float32)
    return body.float().mul_(scale).to(dtype)
