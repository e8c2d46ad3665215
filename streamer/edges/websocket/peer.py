"""The other end of one websocket: messages as texts, and goodbyes with their close codes.

Must not know: what is said, or in which order. A peer that stalls is `wire`'s to notice.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConcurrencyError, ConnectionClosed

from streamer import messages

NORMAL, ABNORMAL = 1000, 1006
GOODBYES = {1000, 1001, 1005}  # of a client that has no further wish


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends for one reason, and what its client may do then."""

    close_code: int
    retryable: bool = False  # another session may go well
    resumable: bool = False  # this one waits, if it is of those that are kept


ENDINGS = {  # by the code of an error, or of a `goaway`
    "bad_request": Ending(4400),
    "unauthorized": Ending(4401),
    "no_session": Ending(4404, retryable=True),
    "no_model": Ending(4404),
    "timeout": Ending(4408, retryable=True, resumable=True),
    "too_slow": Ending(4408, retryable=True),
    "resumed_elsewhere": Ending(4409),
    "quota": Ending(4413, retryable=True),
    "too_long": Ending(4413, retryable=True),
    "unsupported_audio": Ending(4415),
    "bad_audio": Ending(4422),
    "too_fast": Ending(4429, retryable=True, resumable=True),
    "internal": Ending(1011, retryable=True),
    "restart": Ending(1012, retryable=True),
    "capacity": Ending(1013, retryable=True),
}

logger = logging.getLogger(__name__)


class PeerError(Exception):
    """The connection must end with this error."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.error = messages.Error(code, message, True, retry_after_s)


def comes_back(end: BaseException) -> bool:
    """Whether a client may resume after a connection that ended so.

    One that closes properly has no further wish; one that vanishes, falls silent or comes by
    another connection has.
    """
    match end:
        case ConnectionClosed():
            is_goodbye = end.rcvd is not None and end.rcvd.code in GOODBYES
            return not (is_goodbye and end.rcvd_then_sent)
        case PeerError():
            code = end.error.code  # whoever has it now may lose it too
            return ENDINGS[code].resumable or code == "resumed_elsewhere"
    return False


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

    async def end(self, error: messages.Error, *, is_kept: bool = False) -> None:
        """Say why, and what may be done; then close with the code that belongs to it.

        `is_kept`: its session may be resumed, where the error allows it.
        """
        ending = ENDINGS[error.code]
        resume = is_kept and ending.resumable
        try:
            await self.send(replace(error, retryable=ending.retryable, resume=resume))
            await self.close(ending.close_code)
        except ConnectionClosed:
            logger.info("%s left before its error", self._name)

    async def close(self, code: int) -> bool:
        """Close politely; whether the peer has answered, and so has heard everything before.

        Its answer comes behind whatever it has sent, which nobody wants any more.
        """
        async with asyncio.TaskGroup() as both:
            reading = both.create_task(self._discard(), name=f"discard {self._name}")
            await self._connection.close(code)
            reading.cancel()
        return self._connection.close_code != ABNORMAL

    async def _discard(self) -> None:
        with suppress(ConnectionClosed, ConcurrencyError):  # or another task reads, and throws away
            while True:
                await self._connection.recv()

    def cut(self) -> None:
        """End at once, with nothing said."""
        self._connection.transport.abort()
