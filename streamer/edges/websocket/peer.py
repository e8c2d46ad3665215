"""The other end of one websocket: sends that have a limit, and goodbyes with their close codes.

Owns what it takes to notice a peer that stalls. Must not know: what is said, or in which order.
"""

import asyncio
import logging
import socket

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages

SEND_BUFFER_BYTES = 64 << 10  # the kernel's share of what is unsent: a stall must not hide in it
UNACKNOWLEDGED_MS = 5_000  # the kernel drops a peer that acknowledges nothing for so long
NORMAL, ABNORMAL, RESTART = 1000, 1006, 1012
CLOSE_CODES = {
    "timeout": 4408,
    "capacity": 1013,
    "internal": 1011,
    "too_slow": 4408,
    "no_session": 4404,
    "resumed_elsewhere": 4409,
}
BAD_REQUEST = 4400  # for every other error code

logger = logging.getLogger(__name__)


class PeerError(Exception):
    """The connection must end with this error."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.error = messages.Error(code, message, True, retry_after_s)


class Peer:
    """Sends to one peer and receives from it; `name` is for the log.

    A message that a peer leaves unread for `send_timeout_s` ends its connection.
    """

    def __init__(self, connection: ServerConnection, name: str, send_timeout_s: float) -> None:
        self._connection, self._name = connection, name
        self._send_timeout_s = send_timeout_s
        _tune(connection)

    async def receive(self) -> str | bytes:
        """The next message; raises ConnectionClosed when there is none to come."""
        return await self._connection.recv()

    async def send(
        self, message: messages.ServerMessage, *, words: bool = True, seq: int | None = None
    ) -> None:
        """Send, or drop a peer that does not read: keepalive does not see such peers."""
        text = messages.encode(message, words=words, seq=seq)
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._connection.send(text)
        except TimeoutError:
            logger.warning("%s does not read; dropped", self._name)
            self.cut()
            await self._connection.wait_closed()
            await self._connection.send(text)  # raises ConnectionClosed, as for any that has gone

    async def end(self, error: messages.Error) -> None:
        """Say why, then close with the code that belongs to it."""
        try:
            await self.send(error)
            await self.close(CLOSE_CODES.get(error.code, BAD_REQUEST))
        except ConnectionClosed:
            logger.info("%s left before its error", self._name)

    async def close(self, code: int) -> bool:
        """Close politely; whether the peer has answered, and so has heard everything before."""
        await self._connection.close(code)
        return self._connection.close_code != ABNORMAL

    def cut(self) -> None:
        """End at once, with nothing said."""
        self._connection.transport.abort()


def _tune(connection: ServerConnection) -> None:
    """Make a stalled peer visible: little room in the kernel, and its limit where it has one."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
