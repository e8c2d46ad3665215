"""One viewer's connection: a session's captions, read only, from a snapshot to the end.

Owns which session is followed and how the viewer is told that it is over. Must not know: audio,
engines, other viewers.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages
from streamer.config import ServerConfig
from streamer.edges.websocket.admission import LATEST, Wanted
from streamer.edges.websocket.broadcast import Broadcast, Broadcasts
from streamer.edges.websocket.peer import ENDINGS, NORMAL, Peer, PeerError
from streamer.engine.errors import SessionError
from streamer.engine.outbox import Outbox

RESTART = ENDINGS["restart"].close_code

logger = logging.getLogger(__name__)


class Viewer:
    """Serves one viewer in `run`; `leave` ends it politely from outside, `cut` at once.

    It hears `ready` with the session's id, the finals remembered and the partial in progress, then
    every event as it comes. A viewer that does not read for `send_timeout_s`, or leaves its outbox
    to overflow, is dropped.
    """

    def __init__(
        self,
        connection: ServerConnection,
        broadcasts: Broadcasts,
        wanted: Wanted,
        config: ServerConfig,
    ) -> None:
        self.id = secrets.token_hex(4)
        self._peer = Peer(connection, f"viewer {self.id}")
        self._broadcasts, self._wanted = broadcasts, wanted
        self._running: asyncio.Task[None] | None = None  # the task of `run`
        self._following: tuple[str, Outbox] | None = None  # a session's id and what it says
        self._is_leaving = False

    async def run(self) -> None:
        """Show until the end; never raises for what a peer or a session did."""
        self._running = asyncio.current_task()
        try:
            await self._show_and_listen()
            await self._peer.close(RESTART if self._is_leaving else NORMAL)
        except ConnectionClosed:
            logger.info("viewer %s has gone", self.id)
        except PeerError as fault:
            await self._peer.end(fault.error)
        except SessionError:  # the only one an outbox of a broadcast knows
            await self._peer.end(messages.Error("too_slow", "captions were not taken", True))

    async def refuse(self, why: PeerError) -> None:
        """End with this error, from outside."""
        await self._peer.end(why.error)

    async def leave(self, ending: Collection[str]) -> None:
        """Close with 1012: a session that is `ending` is followed to its end, any other is left."""
        self._is_leaving = True
        if self._following is None:
            await self._peer.close(RESTART)
            return
        session, outbox = self._following
        if session not in ending:
            outbox.close()

    def cut(self) -> None:
        """End at once, with nothing said."""
        self._peer.cut()
        if self._running is not None:
            self._running.cancel()

    async def _show_and_listen(self) -> None:
        """Both side by side, so that a viewer who goes is noticed; the first failure is raised."""
        try:
            async with asyncio.TaskGroup() as both:
                listening = both.create_task(self._listen(), name=f"listen {self.id}")
                await self._show()
                listening.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _listen(self) -> None:
        await self._peer.receive()
        raise PeerError("bad_request", "a viewer only listens")

    async def _show(self) -> None:
        if self._wanted.source or self._wanted.session == LATEST:
            while not self._is_leaving:
                await self._follow(await self._broadcasts.latest(self._wanted.source))
            return
        broadcast = self._broadcasts.find(self._wanted.session)
        if broadcast is None or not (await self._follow(broadcast) or self._is_leaving):
            raise PeerError("no_session", "the session is over, or never was")

    async def _follow(self, broadcast: Broadcast) -> bool:
        """Everything of one session; whether its owner has closed it rather than vanished."""
        outbox, event = broadcast.join(), None
        self._following = broadcast.ready.session, outbox
        try:
            await self._peer.send(broadcast.ready)
            async for event in outbox:
                await self._peer.send(event, words=False)
        finally:
            self._following = None
            broadcast.leave(outbox)
        return isinstance(event, messages.Closed)
