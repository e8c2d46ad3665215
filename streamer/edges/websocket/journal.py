"""A session's events, numbered, for a client whose connections may come and go.

Owns the order "commit, then emit": an event is only ever sent from here, so what a client has seen
is here, and what is here is sent to it once more or for the first time. Must not know: sockets,
audio.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from streamer.engine.errors import SessionError
from streamer.messages import Append, Closed, Configured, Event, Final, Partial


@dataclass(slots=True)
class _Newest:
    """A partial that no newer one has replaced."""

    partial: Partial
    after: int  # the number of the event before it
    is_read: bool = False


class ForgottenError(Exception):
    """Events after the one that a reader has are not here any more, or never were."""


class Journal:
    """Events in order, for one reader at a time; `commit` never waits.

    Every event but a partial has a number, from 1. A partial is not promised: only the newest of
    each channel's utterance in progress is here. What the client has confirmed is forgotten;
    `keeps` is False for a client that cannot come back, and then what was read is forgotten.

    At the limit of `max_events`: the oldest that was read is forgotten, and a client that does not
    have it cannot resume; if it was not read, the journal fails with SessionError("too_slow").
    """

    def __init__(self, max_events: int, *, keeps: bool) -> None:
        self._max_events, self._keeps = max_events, keeps
        self._events: deque[Event | Configured | Append] = deque()
        self._forgotten = 0  # the number of the last event before `_events`
        self._read = 0  # the number of the last event that was given to the reader
        self._partials: dict[int | None, _Newest] = {}  # by channel, of utterances in progress
        self._error: SessionError | None = None
        self._changed = asyncio.Event()

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self._forgotten + len(self._events)

    def commit(self, event: Event | Configured | Append) -> None:
        """Write an event down; no effect after a failure."""
        if self._error is not None:
            return
        if isinstance(event, Partial):
            self._partials.pop(event.channel, None)  # the one that waits longest goes first
            self._partials[event.channel] = _Newest(event, self.last)
        else:
            if isinstance(event, Final):
                self._partials.pop(event.channel, None)
            elif isinstance(event, Closed):
                self._partials.clear()
            if len(self._events) == self._max_events and not self._has_made_room():
                return
            self._events.append(event)
        self._changed.set()

    def fail(self, error: SessionError) -> None:
        """Nothing more will come: the reader gets `error` behind the last event."""
        if self._error is None:
            self._error = error
            self._changed.set()

    def confirm(self, number: int) -> None:
        """The client has every event up to this one; ForgottenError if it cannot have it."""
        if number > self._read:
            raise ForgottenError(f"expected an event up to {self._read}, got {number}")
        self._forget(number)

    def rewind(self, number: int) -> None:
        """The reader goes on behind this event; ForgottenError if that cannot be."""
        if not self._forgotten <= number <= self.last:
            raise ForgottenError(f"{self._forgotten} to {self.last} can be resumed, not {number}")
        self._read = number
        for newest in self._partials.values():
            newest.is_read = False
        self._changed.set()

    async def next(self) -> tuple[int | None, Event | Configured | Append]:
        """The next event and its number, None for a partial; raises what the journal failed with.

        A second reader may begin when the first was cancelled, after a `rewind`.
        """
        while True:
            for newest in self._partials.values():
                if newest.after <= self._read and not newest.is_read:
                    newest.is_read = True
                    return None, newest.partial
            if self._read < self.last:
                event = self._events[self._read - self._forgotten]
                self._read += 1
                if not self._keeps:
                    self._forget(self._read)
                return self._read, event
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    def _has_made_room(self) -> bool:
        if self._forgotten < self._read:
            self._forget(self._forgotten + 1)
            return True
        self._forgotten = self._read = self.last
        self._events.clear()
        self.fail(SessionError("too_slow", f"{self._max_events} events were not taken"))
        return False

    def _forget(self, number: int) -> None:
        while self._forgotten < number:
            self._events.popleft()
            self._forgotten += 1
