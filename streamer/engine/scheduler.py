"""Whose window enters the next batch.

Owns the queue of ready streams and the set of streams with a window in flight. Synchronous and
pure: deadlines are handed in, nothing is awaited. Must not know: windows, models, tasks.
"""

import heapq
from collections.abc import Hashable, Iterable
from itertools import count
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


class Scheduler(Generic[S]):
    """Oldest deadline first, no stream in flight twice, at most `max_batch` of them at once.

    A deadline is the time at which the window became ready. A ready stream is therefore overtaken
    only by windows that were ready before its own, of which there is a bounded number: none
    starves. Every operation costs O(log ready streams); nothing scans the streams.
    """

    def __init__(self, max_batch: int) -> None:
        if max_batch < 1:
            raise ValueError(f"expected max_batch >= 1, got {max_batch}")
        self.max_batch = max_batch
        self._heap: list[tuple[float, int, S]] = []  # deadline, ticket; may hold discarded streams
        self._tickets = count()  # first come, first served among equal deadlines
        self._queued: dict[S, int] = {}  # ready streams and their valid ticket
        self._in_flight: set[S] = set()

    @property
    def waiting(self) -> int:
        """Streams that are ready and not in flight."""
        return len(self._queued)

    def limit(self, max_batch: int) -> None:
        """Batches are no larger from now on."""
        assert max_batch >= 1, max_batch
        self.max_batch = min(self.max_batch, max_batch)

    def add(self, stream: S, deadline: float) -> None:
        """The stream has a window ready; if it is queued already, it keeps its place."""
        assert stream not in self._in_flight, stream
        if stream not in self._queued:
            ticket = self._queued[stream] = next(self._tickets)
            heapq.heappush(self._heap, (deadline, ticket, stream))

    def discard(self, stream: S) -> None:
        """The stream has left; what it has in flight stays in flight until `done`."""
        self._queued.pop(stream, None)

    def next_batch(self) -> list[S]:
        """The streams whose windows go next, now in flight; empty if none is ready."""
        batch: list[S] = []
        while self._heap and len(batch) < self.max_batch:
            _, ticket, stream = heapq.heappop(self._heap)
            if self._queued.get(stream) == ticket:
                del self._queued[stream]
                batch.append(stream)
        self._in_flight.update(batch)
        return batch

    def done(self, batch: Iterable[S]) -> None:
        """The windows of these streams are no longer in flight."""
        self._in_flight.difference_update(batch)

    def is_in_flight(self, stream: S) -> bool:
        """Whether the stream has a window in flight."""
        return stream in self._in_flight
