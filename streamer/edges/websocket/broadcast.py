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

    What it passes on, `whole` hears too, where this is one of several channels.

    At its limits: a final more than REMEMBERED_FINALS pushes out the oldest, which viewers who come
    later do not get; an outbox whose viewer is too slow loses partials that newer ones replace,
    then fails alone (see Outbox). Nobody waits for a viewer.
    """

    def __init__(self, ready: Ready, name: str = "", whole: "JointBroadcast | None" = None) -> None:
        self.ready, self.name, self.whole = ready, name, whole
        self._finals: deque[Final] = deque(maxlen=REMEMBERED_FINALS)
        self._partials: dict[int | None, Partial] = {}  # of utterances in progress, by channel
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
        for partial in self._partials.values():
            outbox.put(partial)
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
            case Partial(channel=channel):
                event = self._partials[channel] = replace(event, words=())
            case Final(channel=channel):
                event = replace(event, words=())
                self._finals.append(event)
                self._partials.pop(channel, None)
            case Closed():
                self._partials.clear()
        for outbox in self._outboxes:
            outbox.put(event)
        if self.whole is not None:
            self.whole.hear(self.ready.session, event)


class JointBroadcast(Broadcast):
    """What all channels of a session say that are heard apart, each under its number."""

    def __init__(self, ready: Ready, name: str) -> None:
        super().__init__(ready, name)
        self.open: set[str] = set()  # the ids of channels that are not over
        self._utterances = 0

    def hear(self, session: str, event: Event) -> None:
        """What one of the channels says; only the last to be closed closes it."""
        if isinstance(event, Closed):
            self._utterances += event.utterances
            if self.open == {session}:
                self._pass_on(replace(event, utterances=self._utterances))
        elif not isinstance(event, Flushed):
            self._pass_on(replace(event, channel=int(session.rpartition(".")[2])))


class Broadcasts:
    """The broadcasts of the sessions that run, oldest first."""

    def __init__(self) -> None:
        self._running: dict[str, Broadcast] = {}  # by session id
        self._begun = asyncio.Event()  # set, and replaced, at each beginning

    def begin(self, ready: Ready, name: str) -> Broadcast:
        """A session's broadcast, which can be found until `relay` ends."""
        whole = self._joined(ready, name)
        broadcast = self._running[ready.session] = Broadcast(ready, name, whole)
        self._begun.set()
        self._begun = asyncio.Event()
        return broadcast

    async def relay(self, broadcast: Broadcast, events: AsyncIterator[Event]) -> None:
        """Pass a session's events on to their end, which is the broadcast's."""
        session, whole = broadcast.ready.session, broadcast.whole
        try:
            await broadcast.relay(events)
        finally:
            del self._running[session]
            broadcast.end()
            if whole is not None:
                whole.open.remove(session)
                if not whole.open:
                    del self._running[whole.ready.session]
                    whole.end()

    def _joined(self, ready: Ready, name: str) -> JointBroadcast | None:
        """The broadcast of all channels, for the session `ID.0` or another of them."""
        owner, is_channel, _ = ready.session.partition(".")
        if not is_channel:
            return None
        whole = self._running.get(owner)
        if not isinstance(whole, JointBroadcast):
            whole = self._running[owner] = JointBroadcast(replace(ready, session=owner), name)
        whole.open.add(ready.session)
        return whole

    def find(self, session: str) -> Broadcast | None:
        """The broadcast of a session that runs, by its id."""
        return self._running.get(session)

    async def latest(self, name: str = "") -> Broadcast:
        """The one that began last of those that run, of that name if there is one; waits for it."""
        while True:
            for broadcast in reversed(self._running.values()):
                if name in ("", broadcast.name) and broadcast.whole is None:
                    return broadcast
            await self._begun.wait()
