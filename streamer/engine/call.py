"""One call of a model: what goes to its device, and what comes back.

Owns the form of both. Must not know: windows, what the model is made of.

Shapes: B row, S sample, U frame, V label, W row that is wanted whole; rows_BR has for each row its
left, committed and valid frames, its slot, and in the first W rows the number of a wanted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamer.core.chunker import Waveform

Row: TypeAlias = tuple[int, int, int, int]
"""Left, committed and valid frames, and the slot."""

COLUMNS = 5
WANTED = 4


@dataclass(frozen=True, slots=True)
class Call:
    """A row for each stream, in the order of their slots."""

    rows: Sequence[Row]
    samples: Sequence[Waveform]  # (S,) each
    wanted: Sequence[int]  # rows of which all log-probs come back, in order

    @property
    def span(self) -> slice | None:
        """The slots, where they are neighbours."""
        first, last = self.rows[0][-1], self.rows[-1][-1]
        return slice(first, last + 1) if last - first + 1 == len(self.rows) else None

    def fill_rows(self, rows_BR: npt.NDArray[np.int64]) -> None:
        """Write as many rows as there are."""
        rows_BR[: len(self.rows), :WANTED] = self.rows
        rows_BR[: len(self.wanted), WANTED] = self.wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """What leaves the device."""

    ids: npt.NDArray[np.int64]  # (B, U) the most probable
    best: npt.NDArray[np.float32]  # (B, U) log-probs of these
    every: npt.NDArray[np.float32] | None  # (W, U, V) of the rows that were wanted

    @staticmethod
    def of(best_2BU: Tensor, every_WUV: Tensor | None) -> "Answer":
        """Of tensors on the host that nobody else will write."""
        best, whole = best_2BU.numpy()
        every = None if every_WUV is None else every_WUV.float().numpy()
        return Answer(whole.astype(np.int64), best, every)


def best_of(log_probs_BUV: Tensor) -> Tensor:
    """The largest of each frame and its id, (2, B, U): a whole number that float32 holds."""
    best_BU = log_probs_BUV.max(dim=-1)
    return torch.stack([best_BU.values, best_BU.indices.to(log_probs_BUV.dtype)])


def wanted_of(log_probs_BUV: Tensor, rows_BR: Tensor, call: Call) -> Tensor | None:
    """All log-probs of the rows that are wanted, (W, U, V).

    In half precision on the way from a device, which loses less than a 2000th of each; searches
    found the same texts. On a CPU, where nothing is copied, they stay as they are.
    """
    count, rows = len(call.wanted), len(call.rows)
    if not count:
        return None
    if count == rows:
        every_WUV = log_probs_BUV[:rows]
    else:
        every_WUV = log_probs_BUV.index_select(0, rows_BR[:count, WANTED])
    return every_WUV.to(leaving_dtype(every_WUV))


def leaving_dtype(log_probs_BUV: Tensor) -> torch.dtype:
    """In which they leave their device."""
    return log_probs_BUV.dtype if log_probs_BUV.is_cpu else torch.float16
