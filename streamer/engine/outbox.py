"""Events on their way from a session to one sink.

Owns how many may wait, and what happens to more. Must not know: who reads them.
"""

import asyncio
from collections import deque
from typing import Literal, Self

from streamer.core.hypothesis import Event, Partial
from streamer.engine.errors import SessionError

MAX_EVENTS = 512  # that wait in an outbox


class Outbox:
    """Events on their way to one sink, in order. `put` never waits; one task reads by iterating.

    At its limits: a newer partial replaces one of its channel that is still here; everything else
    queues, up to `max_events`, and one event more fails the outbox: what it holds is dropped, and
    its reader gets SessionError("too_slow").
    """

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._partials: dict[int | None, Partial] = {}  # those in `_events`, by channel
        self._end: SessionError | Literal["closed"] | None = None
        self._changed = asyncio.Event()

    def put(self, event: Event) -> None:
        """Queue an event; no effect after the end."""
        if self._end is not None:
            return
        if isinstance(event, Partial):
            if event.channel in self._partials:
                self._events.remove(self._partials[event.channel])
            self._partials[event.channel] = event
        if len(self._events) >= self._max_events:
            self._events.clear()
            self._partials.clear()
            self.fail(SessionError("too_slow", f"{self._max_events} events were not taken"))
            return
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        """Nothing more will come: the iteration ends behind the last event."""
        self._stop("closed")

    def fail(self, error: SessionError) -> None:
        """Nothing more will come: the iteration raises `error` behind the last event."""
        self._stop(error)

    def _stop(self, end: SessionError | Literal["closed"]) -> None:
        if self._end is None:
            self._end = end
            self._changed.set()

    def holds_events(self) -> bool:
        """Whether there is an event that was not taken."""
        return bool(self._events)

    @property
    def error(self) -> SessionError | None:
        """Why it failed, if it did."""
        return self._end if isinstance(self._end, SessionError) else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._end is not None:
                if isinstance(self._end, SessionError):
                    raise self._end
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        if isinstance(event, Partial):
            del self._partials[event.channel]
        return event
