"""What a slot of the streaming encoder remembers between two chunks.

Owns the layout of the caches and nothing else: who may see what is decided in ``conformer.py`` and
``wav2vec2_bert.py``. Every tensor is batch first, so a slot is one row of each of them.

Shapes: N slot, L layer, P ring cell, H head, D head size, C channel, K convolution kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.eight_bit import SCALE_BYTES, EightBit

Index: TypeAlias = Tensor | slice | tuple[Tensor, ...]
"""Rows of a state, or cells of its rows."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a step will write, held back until nothing of the step can fail any more."""

    writes: list[tuple[Tensor, Index, Tensor]]  # (state, where in it, what will be there)

    def commit(self) -> None:
        """Write it all, in place."""
        for state, index, values in self.writes:
            state[index] = values


@dataclass(frozen=True, slots=True)
class AttentionState:
    """A ring of keys and values per layer: the frame at position p lies in cell p modulo P."""

    keys: Tensor  # (N, L, P, H, D)
    values: Tensor  # (N, L, P, H, D)
    positions: Tensor  # (N, P) position of the frame in a cell, -1 when empty
    position: Tensor  # (N,) frames committed so far: the position of the next chunk's first frame
    coding: EightBit | None  # of keys and values: rows of D + 4 bytes; None: as they are computed

    @staticmethod
    def init(
        slots: int,
        layers: int,
        cells: int,
        heads: int,
        size: int,
        like: Tensor,
        coding: EightBit | None = None,
    ) -> AttentionState:
        """Empty rings on the device of ``like``, in its dtype if they have no ``coding``."""
        if coding is not None:
            size, like = size + SCALE_BYTES, like.new_empty(0, dtype=torch.uint8)
        shape = (slots, layers, cells, heads, size)
        return AttentionState(
            keys=like.new_zeros(shape),
            values=like.new_zeros(shape),
            positions=torch.full((slots, cells), -1, dtype=torch.int64, device=like.device),
            position=torch.zeros(slots, dtype=torch.int64, device=like.device),
            coding=coding,
        )


@dataclass(frozen=True, slots=True)
class AdapterState:
    """One adapter layer: the frames its two strided convolutions still need, and its attention."""

    residual: Tensor  # (N, padding, C) post-LayerNorm inputs of the residual convolution
    attention: Tensor  # (N, padding, C) post-LayerNorm inputs of the attention convolution
    ring: AttentionState


@dataclass(frozen=True, slots=True)
class EncoderState:
    """All slots of one encoder. Steps write it in place; its size never changes."""

    ring: AttentionState
    convolution: Tensor  # (N, L, K - 1, C) post-GLU inputs of the depthwise convolution
    adapter: tuple[AdapterState, ...]

    def reset(self, slots: Tensor) -> None:
        """Make ``slots`` (indices (R,) or mask (N,)) new.

        Keys and values are overwritten too: a weight of 0 does not hide a NaN.
        """
        self.convolution[slots] = 0.0
        for ring in (self.ring, *(layer.ring for layer in self.adapter)):
            ring.keys[slots] = 0
            ring.values[slots] = 0
            ring.positions[slots] = -1
            ring.position[slots] = 0
        for layer in self.adapter:
            layer.residual[slots] = 0.0
            layer.attention[slots] = 0.0


def state_bytes(state: Any) -> int:
    """Bytes of device memory that a state holds: any nesting of dataclasses, tuples, tensors."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, tuple):
        return sum(map(state_bytes, state))
    if is_dataclass(state):
        return sum(state_bytes(getattr(state, field.name)) for field in fields(state))
    return 0
