"""CUDA graphs: a step is recorded once and repeated by one launch.

Owns the stream and the memory that all recordings share. Must not know: what a step is.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 2  # of the libraries on the stream that records: handles, plans, workspaces


class CudaRecorder:
    """A ``graphs.Recorder`` for one CUDA device.

    All recordings share one pool of memory. That is sound in any order, because they never run at
    once and what a step leaves behind lies outside the pool.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Page-locked memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def record(self, work: Callable[[], object]) -> Callable[[], object]:
        """See ``graphs.Recorder``; what is captured is not run."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    work()
            # Only this thread is bound to keep from what a capture forbids.
            with torch.cuda.graph(
                graph, self._pool, self._stream, capture_error_mode="thread_local"
            ):
                work()

        def repeat() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return repeat

    def wait(self) -> None:
        """See ``graphs.Recorder``."""
        torch.cuda.current_stream(self._device).synchronize()
