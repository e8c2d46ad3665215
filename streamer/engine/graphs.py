"""Steps of a few sizes on tensors made once, which a device records and repeats.

A GPU is told a recorded step in one word, instead of a thousand kernels one by one. Owns the
tensors, the padding of batches to a size that is recorded, and what is done where none can be.
Must not know: windows, what the model is made of, how a device records.

Shapes: see ``call.py``; here B is a size, and rows beyond those of a call are spare.
"""

import logging
from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from streamer.engine.call import COLUMNS, WANTED, Answer, Call, best_of, leaving_dtype, wanted_of

MOST_ROWS = 512
"""Larger batches run as they are: their kernels take longer than it takes to launch them."""

Forward: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Samples (B, S) and rows (B, R) to log-probs (B, U, V); everything it remembers lies in place."""

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What can repeat a step; ``cuda.py`` has the real one."""

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the host from which, and to which, the device copies by itself."""

    def record(self, work: Callable[[], object]) -> Callable[[], object]:
        """What does all of ``work`` again, on the same tensors, without a line of Python.

        ``work`` is also called itself, some times before. RuntimeError if it cannot be recorded.
        """

    def wait(self) -> None:
        """Until the device has done all that it was told."""


class Graphs:
    """The recorded steps of one model; each size is recorded when it is first met, or prepared.

    Padded rows write into the slot ``spare``, which no stream has, and commit nothing there. A
    size that cannot be recorded is not tried again: ``run`` has no answer for it.
    """

    def __init__(self, forward: Forward, recorder: Recorder, spare: int, device: str) -> None:
        self._forward, self._recorder = forward, recorder
        self._spare, self._device = spare, device
        self._recorded: dict[tuple[int, int], _Recorded | None] = {}
        self._has_warned = False

    def run(self, call: Call) -> Answer | None:
        """The answer of a recorded step; None, and nothing done, where there is none."""
        valid = max(row[2] for row in call.rows)
        found = self.prepared(len(call.rows), len(call.samples[0]), valid)
        return None if found is None else found.run(call)

    def prepared(self, rows: int, samples: int, valid: int) -> "_Recorded | None":
        """The step for so many rows of so many samples, ``valid`` frames; recorded if it is new."""
        if rows > MOST_ROWS:
            return None
        key = size_for(rows), samples
        if key not in self._recorded:
            self._recorded[key] = self._record(*key, valid)
        return self._recorded[key]

    def _record(self, size: int, samples: int, valid: int) -> "_Recorded | None":
        spare = 0, 0, valid, self._spare
        try:
            return _Recorded(size, samples, spare, self._forward, self._recorder, self._device)
        except RuntimeError as error:  # torch has no narrower word; nothing but spare was written
            if not self._has_warned:
                _log.warning("steps of %d rows run without a CUDA graph: %s", size, error)
            self._has_warned = True
            return None


class _Recorded:
    """One size: its tensors on both sides, and what repeats its step."""

    def __init__(
        self,
        size: int,
        samples: int,
        spare: tuple[int, int, int, int],
        forward: Forward,
        recorder: Recorder,
        device: str,
    ) -> None:
        self._recorder, self._spare = recorder, spare
        self._from_BS = recorder.host((size, samples), torch.float32)
        self._from_BR = recorder.host((size, COLUMNS), torch.int64)
        self._samples_BS = torch.zeros(size, samples, device=device)
        self._from_BR.zero_()[:, :WANTED] = torch.tensor(spare)
        self._rows_BR = self._from_BR.to(device)
        log_probs_BUV = forward(self._samples_BS, self._rows_BR)
        self._log_probs_BUV = torch.empty_like(log_probs_BUV)
        self._best_2BU = torch.empty_like(best_of(log_probs_BUV))
        self._to_2BU = recorder.host(tuple(self._best_2BU.shape), torch.float32)
        self._to_BUV: Tensor | None = None  # until all of a row is wanted

        def work() -> None:
            found_BUV = forward(self._samples_BS, self._rows_BR)
            self._log_probs_BUV.copy_(found_BUV)
            self._best_2BU.copy_(best_of(found_BUV))

        self._repeat = recorder.record(work)

    def run(self, call: Call) -> Answer:
        """The step of a call that fits; returns when the device has done it."""
        if call.wanted and self._to_BUV is None:  # now: nothing may be raised behind the step
            shape, dtype = tuple(self._log_probs_BUV.shape), leaving_dtype(self._log_probs_BUV)
            self._to_BUV = self._recorder.host(shape, dtype)
        count, rows_BR = len(call.rows), self._from_BR.numpy()
        np.stack(call.samples, out=self._from_BS.numpy()[:count])
        call.fill_rows(rows_BR)
        rows_BR[count:, :WANTED] = self._spare
        self._samples_BS[:count].copy_(self._from_BS[:count], non_blocking=True)
        self._rows_BR.copy_(self._from_BR, non_blocking=True)
        self._repeat()
        self._to_2BU.copy_(self._best_2BU, non_blocking=True)
        every_WUV = wanted_of(self._log_probs_BUV, self._rows_BR, call)
        wanted_WUV = None if every_WUV is None else self._leaving(every_WUV)
        self._recorder.wait()
        # The next step writes into the same memory, while these are still read.
        return Answer.of(
            self._to_2BU[:, :count].clone(), None if wanted_WUV is None else wanted_WUV.clone()
        )

    def _leaving(self, every_WUV: Tensor) -> Tensor:
        """The same on the host, when the device has got so far."""
        assert self._to_BUV is not None, "made before the step"
        return self._to_BUV[: len(every_WUV)].copy_(every_WUV, non_blocking=True)


def size_for(rows: int) -> int:
    """The least size for so many rows: a power of two, beyond 16 also three between two of them.

    Few rows cost what the weights cost, so padding is free; many cost each the same.
    """
    whole = 1 << (rows - 1).bit_length()
    step = whole // 8 if rows > 16 else whole
    return -(-rows // step) * step


def sizes_up_to(rows: int) -> list[int]:
    """Every size that batches of up to so many rows need, the largest first."""
    return sorted({size_for(n) for n in range(1, min(rows, MOST_ROWS) + 1)}, reverse=True)
