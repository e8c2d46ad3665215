"""One session's captions for many viewers: what was said lately, then everything as it comes.

Owns the memory of a session's last finals and one bounded outbox per viewer. Must not know:
sockets.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace

from streamer.engine.errors import SessionError
from streamer.engine.outbox import Outbox
from streamer.messages import Closed, Event, Final, Flushed, Partial, Ready

REMEMBERED_FINALS = 50  # per session


class Broadcast:
    """Passes a session's events on, without word details, to any number of outboxes.

    At its limits: a final more than REMEMBERED_FINALS pushes out the oldest, which viewers who come
    later do not get; an outbox whose viewer is too slow loses partials that newer ones replace,
    then fails alone (see Outbox). Nobody waits for a viewer.
    """

    def __init__(self, ready: Ready, name: str = "") -> None:
        self.ready, self.name = ready, name
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

    def begin(self, ready: Ready, name: str) -> Broadcast:
        """A session's broadcast, which can be found until `relay` ends."""
        broadcast = self._running[ready.session] = Broadcast(ready, name)
        self._begun.set()
        self._begun = asyncio.Event()
        return broadcast

    async def relay(self, broadcast: Broadcast, events: AsyncIterator[Event]) -> None:
        """Pass a session's events on to their end, which is the broadcast's."""
        try:
            await broadcast.relay(events)
        finally:
            del self._running[broadcast.ready.session]
            broadcast.end()

    def find(self, session: str) -> Broadcast | None:
        """The broadcast of a session that runs, by its id."""
        return self._running.get(session)

    async def latest(self, name: str = "") -> Broadcast:
        """The one that began last of those that run, of that name if there is one; waits for it."""
        while True:
            for broadcast in reversed(self._running.values()):
                if name in ("", broadcast.name):
                    return broadcast
            await self._begun.wait()
