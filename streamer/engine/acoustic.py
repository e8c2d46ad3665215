"""What the runner asks of a network.

Owns nothing. Must not know: what it is made of.

Shapes: B window, S sample, U frame, V label.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from streamer.engine.device import EightBit


class Acoustic(Protocol):
    """The network, as ``models.acoustic.AcousticModel`` has it; all counts are output frames."""

    vocabulary: Any

    @property
    def hop_samples(self) -> int:
        """Samples per frame."""

    @property
    def tail_samples(self) -> int:
        """Samples that a run of frames needs beyond its hops."""

    def __call__(self, samples_BS: Tensor, lengths_B: Tensor) -> Any:
        """Whole recordings, ``lengths_B`` samples each: log-probs (B, U, V) and frames (B,)."""

    def place(
        self, device: str, dtype: torch.dtype, *, products: EightBit | None, kv: EightBit | None
    ) -> Any:
        """The model itself, moved to ``device`` and ``dtype``; ValueError if it cannot be."""

    def share(self, lanes: int, threads: int, least: int) -> None:
        """Divide batches of ``least`` streams or more over lanes with so many threads in all."""

    def init_state(self, slots: int, left: int, chunk: int, right: int, cached: bool) -> Any:
        """New state of ``slots`` streams; ValueError for a geometry that it cannot have."""

    def forward_chunk(
        self,
        samples_BS: Tensor,
        slots_B: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        state: Any,
        span: slice | None,
    ) -> tuple[Tensor, Any]:
        """Log-probs (B, U, V) of chunk | lookahead frames, or several chunks, and the state.

        ``span``: the slots once more, where they are neighbours.
        """

    def forward_window(
        self,
        samples_BS: Tensor,
        slots_B: Tensor,
        left_B: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        state: Any,
    ) -> tuple[Tensor, Any]:
        """Log-probs (B, U, V) of left | chunk | lookahead frames, and the state."""
