"""Linear layers as a processor likes to read them: packed once, or with weights of 8 bits.

Owns the replacement of an encoder's linear layers for inference. On a CPU a plain weight would be
brought into the kernel's own order anew for every call. Must not know: what the layers are for.

Shapes: M row, K input, N output.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.conformer import SelfAttention
from models.eight_bit import EightBit, rounded, scale_of
from models.float8 import Float8Linear
from models.precision import Pointwise

ZERO = 128  # int8 activations are stored from 0 to 255: the kernels that are fast want no sign


class PackedLinear(nn.Module):
    """A linear layer whose weight has the order of oneDNN's kernels; the same function."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.in_features = weight.shape[1]
        self.dtype = weight.dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.weight, self.bias, "none", [], ""
        )
        return y


class Int8Linear(nn.Module):
    """A linear layer in whole numbers: weights scaled by output, activations by row as they come.

    A row's scale is its own, so the neighbours in a batch change nothing. ``dtype`` of what comes
    out is float32 unless it is told otherwise: so it is cheapest to go on with.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.in_features, self.dtype = weight.shape[1], torch.float32
        whole, scale = rounded(weight, "int8")
        self.scale = scale.squeeze(1)  # (N,)
        self.zero = torch.zeros(len(weight), dtype=torch.int64)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        # In float32, and rounded to signed bytes: each pass over x costs a third of what it does
        # in bfloat16, or to unsigned bytes, of which a flip of the highest bit makes the same.
        x32 = x.float()
        scale = scale_of(x32, "int8")  # (..., 1)
        signed = (x32 * scale.reciprocal()).round_().to(torch.int8)
        whole = signed.view(torch.uint8).bitwise_xor_(ZERO)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, ZERO, self.weight, self.scale, self.zero,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        y = y.mul_(scale) if self.bias is None else torch.addcmul(self.bias, y, scale)
        return y.to(self.dtype)


KINDS: dict[EightBit | None, Callable[[Tensor, Tensor | None], nn.Module]] = {
    None: PackedLinear,
    "int8": Int8Linear,
    "float8": Float8Linear,
}


@torch.no_grad()
def pack(module: nn.Module, products: EightBit | None = None) -> None:
    """Replace every linear layer within ``module``, which will not be trained.

    It is on the CPU, or ``products`` are ``float8``.

    What cannot be packed in its number format, or by this build of torch, stays as it is.

    Raises:
        ValueError: 8 bits where this build of torch has no kernels for them, or for these sizes.
    """
    kind = KINDS[products]
    if products == "int8" and isinstance(module, SelfAttention):
        module.spells_out_chunks = True
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | Pointwise):
            weight = child.weight.flatten(1)
            bias = None if child.bias is None else child.bias.detach()
            try:
                packed = kind(weight.detach().contiguous(), bias)
                packed(weight.new_zeros(1, weight.shape[1]))
            except (RuntimeError, AttributeError) as error:  # NotImplementedError is a RuntimeError
                if products is not None:
                    message = f"{products}: this build of torch has no kernels for it"
                    raise ValueError(message) from error
                continue
            if isinstance(module, SelfAttention) and isinstance(packed, Int8Linear):
                packed.dtype = weight.dtype  # its own products are in the short format
            setattr(module, name, packed)
        else:
            pack(child, products)
