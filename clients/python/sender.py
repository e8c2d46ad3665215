"""What goes out, on whatever connection there is.

Owns the one task that writes, so that reading never waits for it. Must not know: how a connection
is found, what comes in.
"""

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.python.outgoing import Item, Outgoing
from streamer import messages
from streamer.messages import Confirm

CONFIRMED_EVENTS = 16  # are confirmed at once


class Sender:
    """Sends what is in `outgoing`, and that events were heard; `on_sent` hears of each message."""

    def __init__(self, outgoing: Outgoing, on_sent: Callable[[], None]) -> None:
        self._outgoing, self._on_sent = outgoing, on_sent
        self._link: ClientConnection | None = None
        self._heard = self._confirmed = 0  # numbers of events
        self._work = asyncio.Event()

    def use(self, link: ClientConnection | None) -> None:
        """Another connection, or none for now."""
        self._link = link
        self._work.set()

    def add(self, item: Item) -> None:
        """Audio, or a message that takes effect behind it."""
        self._outgoing.add(item)
        self._work.set()

    def heard(self, number: int) -> None:
        """Every event up to this one is here; 0: a new session has begun."""
        self._heard = number
        self._confirmed = min(self._confirmed, number)
        if number >= self._confirmed + CONFIRMED_EVENTS:
            self._work.set()

    async def run(self) -> None:
        """Send until cancelled; what a lost connection has swallowed is sent again later."""
        while True:
            self._work.clear()
            link = self._link
            try:
                while link is not None and (item := self._next()) is not None:
                    await link.send(item if isinstance(item, bytes) else messages.encode(item))
                    self._on_sent()
            except ConnectionClosed:
                if link is not self._link:
                    continue  # there is another already
            await self._work.wait()

    def _next(self) -> Item | None:
        if self._heard >= self._confirmed + CONFIRMED_EVENTS:
            self._confirmed = self._heard
            return Confirm(self._heard)
        return self._outgoing.next()
