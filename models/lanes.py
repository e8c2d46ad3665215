"""The rows of a batch in parts, side by side: each part on threads of its own.

On a CPU two threads that share every operation meet a thousand times in a step; two that have half
of the streams each meet once. Owns these threads. Must not know: what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


class Lanes:
    """``count`` lanes that divide ``threads`` threads of torch evenly, at least one each.

    Made for batches of ``least`` rows or more. For inference alone; called by one thread at a time.
    """

    def __init__(self, count: int, threads: int, least: int = 2) -> None:
        assert count > 1, count
        self.count, self.least, self._threads = count, least, threads
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")

    def run(self, work: Callable[[slice], T], rows: int) -> list[T]:
        """What ``work`` makes of each part of so many rows, in order.

        When all have come to their end, what the first one raised that did is raised.
        """
        used = min(self.count, rows)
        bounds = [rows * lane // used for lane in range(used + 1)]
        threads = max(self._threads // used, 1)

        def lane(part: slice) -> T:
            # Of the calling thread alone; and a new thread has neither inference mode nor this.
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.inference_mode():
                return work(part)

        parts = map(slice, bounds[:-1], bounds[1:])
        running = [self._pool.submit(lane, part) for part in parts]
        errors = [each.exception() for each in running]  # waits
        torch.set_num_threads(torch.get_num_threads())  # those of a new thread are the last set
        for error in errors:
            if error is not None:
                raise error
        return [each.result() for each in running]
