"""One session's captions for many viewers: what was said lately, then everything as it comes.

Owns the memory of a session's last finals and one bounded outbox per viewer. Must not know:
sockets.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

from streamer.engine.session import Outbox, SessionError
from streamer.messages import Closed, Event, Final, Flushed, Partial, Ready

REMEMBERED_FINALS = 50  # per session


class Broadcast:
    """Passes a session's events on, without word details, to any number of outboxes.

    At its limits: a final more than REMEMBERED_FINALS pushes out the oldest, which viewers who come
    later do not get; an outbox whose viewer is too slow loses partials that newer ones replace,
    then fails alone (see Outbox). Nobody waits for a viewer.
    """

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self._finals: deque[Final] = deque(maxlen=REMEMBERED_FINALS)
        self._partial: Partial | None = None  # of the utterance in progress
        self._outboxes: set[Outbox] = set()

    async def relay(self, events: AsyncIterator[Event]) -> None:
        """Pass the events on until they end; a session that fails is its owner's to report."""
        try:
            async for event in events:
                if not isinstance(event, Flushed):  # the owner's own business
                    self._pass_on(event)
        except SessionError:
            return

    def join(self) -> Outbox:
        """A viewer's outbox: first what was said lately, then what comes."""
        outbox = Outbox()
        for final in self._finals:
            outbox.put(final)
        if self._partial is not None:
            outbox.put(self._partial)
        self._outboxes.add(outbox)
        return outbox

    def leave(self, outbox: Outbox) -> None:
        """The viewer has gone; again: no effect."""
        self._outboxes.discard(outbox)

    def end(self) -> None:
        """Nothing more will come: each outbox ends behind its last event."""
        for outbox in self._outboxes:
            outbox.close()

    def _pass_on(self, event: Event) -> None:
        match event:
            case Partial():
                event = self._partial = replace(event, words=())
            case Final():
                event = replace(event, words=())
                self._finals.append(event)
                self._partial = None
            case Closed():
                self._partial = None
        for outbox in self._outboxes:
            outbox.put(event)


class Broadcasts:
    """The broadcasts of the sessions that run, oldest first."""

    def __init__(self) -> None:
        self._running: dict[str, Broadcast] = {}  # by session id
        self._begun = asyncio.Event()  # set, and replaced, at each beginning

    @contextmanager
    def running(self, ready: Ready) -> Iterator[Broadcast]:
        """A session's broadcast, which can be found until the block is left."""
        broadcast = self._running[ready.session] = Broadcast(ready)
        self._begun.set()
        self._begun = asyncio.Event()
        try:
            yield broadcast
        finally:
            del self._running[ready.session]
            broadcast.end()

    def find(self, session: str) -> Broadcast | None:
        """The broadcast of a session that runs."""
        return self._running.get(session)

    async def latest(self) -> Broadcast:
        """The broadcast that began last of those that run; waits for one if there is none."""
        while not self._running:
            await self._begun.wait()
        return next(reversed(self._running.values()))
