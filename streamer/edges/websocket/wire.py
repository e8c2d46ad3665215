"""One accepted connection below the messages: what it may hold, and how it is found dead.

Owns the sizes of buffers and the two timers of a connection. Must not know: paths, sessions.

Limits, and what happens at them: a request's head above MAX_HEAD_BYTES, answers to pings above
MAX_UNREAD_BYTES, a peer that leaves what it was sent unread for `close_timeout`, and one that is
silent for GONE_AFTER_S although it was pinged, end the connection at once.
"""

import asyncio
import logging
import socket
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streamer.edges.websocket.gate import Client

MAX_HEAD_BYTES = 64 << 10
MAX_UNREAD_BYTES = 1 << 20  # far more than any message: only answers to pings pile up so high
SEND_BUFFER_BYTES = 64 << 10  # the kernel's share of what is unsent: a stall must not hide in it
UNACKNOWLEDGED_MS = 5_000  # the kernel drops a peer that acknowledges nothing for so long
PING_AFTER_S, GONE_AFTER_S = 3.0, 8.0  # of silence

logger = logging.getLogger(__name__)


class Wire(ServerConnection):
    """A connection of the library, with limits; `client` is whose it is."""

    client = Client()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._heard_at, self._pinged_at = self.loop.time(), 0.0
        self._silence: asyncio.TimerHandle | None = None  # set while the conversation lasts
        self._stall: asyncio.TimerHandle | None = None  # set while the peer leaves things unread

    @property
    def number(self) -> int:
        """The socket's file descriptor."""
        return int(self.transport.get_extra_info("socket").fileno())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make a stalled peer visible: little room in the kernel, and its limit if it has one."""
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives its connection."""
        for timer in (self._silence, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the peer sends, unless it is more than it may."""
        self._heard_at = self.loop.time()
        if self.request is None:
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
            return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._give_up("pings, and reads no answer")

    # --- a peer that does not read ----------------------------------------------------------------

    def pause_writing(self) -> None:
        """The peer leaves things unread: it has so long to take them."""
        super().pause_writing()
        assert self.close_timeout is not None, "the server sets one"
        self._stall = self.loop.call_later(self.close_timeout, self._give_up, "does not read")

    def resume_writing(self) -> None:
        """It took them."""
        if self._stall is not None:
            self._stall.cancel()
        super().resume_writing()

    # --- a peer that is silent --------------------------------------------------------------------

    def start_keepalive(self) -> None:
        """Called by the library when the conversation begins; its own has no part in ours."""
        self._silence = self.loop.call_later(PING_AFTER_S, self._check_silence)

    def _check_silence(self) -> None:
        """Ping a silent peer, then give it up; a peer that we do not read from is not silent.

        One that was not pinged is never given up: it may be us who were away.
        """
        now = self.loop.time()
        if not self.transport.is_reading():
            self._heard_at = now
        if self._heard_at < self._pinged_at:
            self._give_up("answers no ping")
            return
        next_s = PING_AFTER_S - (now - self._heard_at)
        if next_s <= 0:
            next_s, self._pinged_at = GONE_AFTER_S - PING_AFTER_S, now
            if self.protocol.state is State.OPEN:
                self.protocol.send_ping(b"")
                self.send_data()
        self._silence = self.loop.call_later(next_s, self._check_silence)

    def _give_up(self, why: str) -> None:
        logger.warning("a client %s; dropped", why, extra={"address": self.client.address})
        self.transport.abort()
