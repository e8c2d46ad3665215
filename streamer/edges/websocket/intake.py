"""What a client sends, message by message, and no faster than it may.

Owns the pace, the limits of time and size, and the answers to texts that are no messages. Must not
know: sessions, what a message leads to.
"""

import asyncio

from streamer import messages
from streamer.config import ServerConfig
from streamer.edges.websocket.peer import Peer, PeerError

TEXT_CHARACTERS = 256


class Intake:
    """Reads from one peer, for one task."""

    def __init__(self, peer: Peer, config: ServerConfig) -> None:
        self._peer, self._config = peer, config
        self._waiting: asyncio.Timeout | None = None  # while it waits for the peer
        self._read_at = 0.0  # loop time up to which the allowance of messages is used

    async def receive(self, limit_s: float | None) -> str | bytes | None:
        """The next message, at `max_messages_per_s` once a second's burst is used.

        A text counts as one, and one more for each TEXT_CHARACTERS, since it costs as much to obey.
        None if there was none within the limit, or when interrupted. Raises ConnectionClosed.
        """
        loop, interval_s = asyncio.get_running_loop(), 1 / self._config.max_messages_per_s
        try:
            async with asyncio.timeout(limit_s) as self._waiting:
                received = await self._peer.receive()
        except TimeoutError:
            return None
        finally:
            self._waiting = None
        count = 1 + len(received) // TEXT_CHARACTERS if isinstance(received, str) else 1
        self._read_at = max(self._read_at, loop.time() - 1.0) + count * interval_s
        if self._read_at > loop.time():
            await asyncio.sleep(self._read_at - loop.time())
        return received

    def interrupt(self, after_s: float = 0.0) -> None:
        """Let a `receive` that waits wait no longer than so; no effect on one that does not."""
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time() + after_s)

    async def decoded(self, text: str) -> messages.ClientMessage | None:
        """The message in a text; None, and an answer, for a mistake that is not fatal."""
        if len(text.encode()) > self._config.max_text_bytes:
            limit = self._config.max_text_bytes
            raise PeerError("bad_request", f"expected a text of at most {limit} bytes")
        try:
            return messages.decode_client(text)
        except messages.MessageError as error:
            if error.fatal:
                raise PeerError(error.code, str(error)) from error
            await self._peer.send(messages.Error(error.code, str(error), False))
            return None
