"""The other end of one websocket: messages as texts, and goodbyes with their close codes.

Must not know: what is said, or in which order. A peer that stalls is `wire`'s to notice.
"""

import logging

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages

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
    """Sends to one peer and receives from it; `name` is for the log."""

    def __init__(self, connection: ServerConnection, name: str) -> None:
        self._connection, self._name = connection, name

    async def receive(self) -> str | bytes:
        """The next message; raises ConnectionClosed when there is none to come."""
        return await self._connection.recv()

    async def send(
        self, message: messages.ServerMessage, *, words: bool = True, seq: int | None = None
    ) -> None:
        """Send; raises ConnectionClosed when the peer has gone, or did not read and was dropped."""
        await self._connection.send(messages.encode(message, words=words, seq=seq))

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
