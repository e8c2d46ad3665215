"""A whole source of audio to the server, and everything that comes back.

Owns the task that sends while the caller reads. Must not know: connections.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from ssl import SSLContext

from clients.python.outgoing import Patience
from clients.python.recognition import Recognition
from streamer import messages as m


async def recognize(
    url: str,
    audio: AsyncIterable[bytes],
    start: m.Start = m.Start(),  # noqa: B008
    *,
    patience: Patience = Patience(),  # noqa: B008
    restart: bool = False,
    token: str = "",
    ssl: SSLContext | None = None,
) -> AsyncGenerator[m.ServerMessage, None]:
    """Send all of `audio`, then stop; give every message of the server, the last one `Closed`.

    Raises RecognizerError as `Recognition` does, and whatever `audio` raises.
    """
    async with Recognition(
        url, start, patience=patience, restart=restart, token=token, ssl=ssl
    ) as stream:
        sending = asyncio.create_task(_send_all(stream, audio), name="send")
        try:
            async for message in stream:
                yield message
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled() and (failure := sending.exception()):
                raise failure


async def _send_all(stream: Recognition, audio: AsyncIterable[bytes]) -> None:
    try:
        async for block in audio:
            await stream.send(block)
    except Exception:
        await stream.stop()  # so that what was heard so far is answered
        raise
    await stream.stop()
