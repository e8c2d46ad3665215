"""Streams as websocket connections to a server: one of our own in another process, or any.

Owns the client's side, kept cheap: what a message says is read no further than the figures need.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from streamer import messages
from streamer.benchmark.clips import Audio
from streamer.benchmark.load import Line, LineError, RefusedError
from streamer.benchmark.observation import Geometry, Heard, Meters, Step
from streamer.benchmark.remote import Remote

OPENING_AT_ONCE = 32
CLOSE_TIMEOUT_S = 1.0


class SocketLine:
    """A connection as a `Line`."""

    def __init__(self, socket: ClientConnection, audio: Audio, stream: int) -> None:
        self.slot = -1 - stream  # the server does not tell
        self._socket, self._audio, self._stream = socket, audio, stream

    async def send(self, first: int, stop: int) -> None:
        """As `Line`; a connection that is over takes nothing, and its listener says why."""
        try:
            await self._socket.send(self._audio.pcm(self._stream, first, stop))
        except ConnectionClosed:
            return

    async def finish(self) -> None:
        """As `Line`."""
        try:
            await self._socket.send(messages.encode(messages.Stop()))
        except ConnectionClosed:
            return

    async def listen(self, note: Callable[[Heard], None]) -> None:
        """As `Line`."""
        try:
            async for text in self._socket:
                at_s, said = time.monotonic(), json.loads(text)
                match said["type"]:
                    case "partial":
                        note(Heard(self._stream, at_s, "partial", said["end"]))
                    case "final":
                        note(Heard(self._stream, at_s, "final", said["end"], said["reason"]))
                    case "closed":
                        note(Heard(self._stream, at_s, "closed"))
                        return
                    case "error" if said["fatal"]:
                        raise LineError(f"the server ended a stream: {said['message']}")
        except ConnectionClosed as error:
            raise LineError(f"a connection was lost: {error}") from error
        raise LineError("the server closed a connection before its stream was over")


class SocketTarget:
    """Connections to `url`; `remote` is the server if it is our own, and tells what it measures."""

    def __init__(self, url: str, geometry: Geometry, audio: Audio, remote: Remote | None) -> None:
        self.geometry = geometry
        self._url, self._audio, self._remote = url, audio, remote

    @asynccontextmanager
    async def opened(self, streams: int) -> AsyncIterator[list[Line]]:
        """As `Target`."""
        gate = asyncio.Semaphore(OPENING_AT_ONCE)
        sockets: list[ClientConnection] = []

        async def open_one() -> None:
            async with gate:
                sockets.append(await _opened(self._url))

        try:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for number in range(streams):
                        tasks.create_task(open_one(), name=f"open {number}")
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            yield [SocketLine(each, self._audio, n) for n, each in enumerate(sockets)]
        finally:
            await _end(sockets)

    async def meters(self) -> Meters | None:
        """As `Target`."""
        return await self._remote.meters() if self._remote is not None else None

    async def steps(self) -> list[Step]:
        """As `Target`; which streams were in a step is not told."""
        return await self._remote.steps() if self._remote is not None else []


async def _opened(url: str) -> ClientConnection:
    """A connection whose session is open."""
    try:
        socket = await connect(
            url, compression=None, ping_interval=None, close_timeout=CLOSE_TIMEOUT_S, proxy=None
        )
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        raise LineError(f"cannot connect to {url}: {error}") from error
    try:
        await socket.send(messages.encode(messages.Start()))
        answer = messages.decode_server(await socket.recv(decode=True))
    except ConnectionClosed as error:
        raise LineError(f"the server refused a stream: {error}") from error
    if isinstance(answer, messages.Error):
        kind = RefusedError if answer.code == "capacity" else LineError
        raise kind(f"the server refused a stream: {answer.message}")
    return socket


async def _end(sockets: list[ClientConnection]) -> None:
    """Leave at once those that are still open."""
    for socket in sockets:
        socket.transport.abort()
    await asyncio.gather(*(socket.wait_closed() for socket in sockets))
