"""A real server on loopback around the fake model, for the tests of both ends of the wire."""

import asyncio
import functools
import socket as sockets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamer import messages
from streamer.config import EndpointRules, ServerConfig
from streamer.core.recognizer import Model
from streamer.edges.websocket import ServedModel, WebSocketServer
from streamer.engine.engine import Engine
from streamer.wording import PLAIN, Wording
from tests.fakes import FakeModel

DEADLINE_S = 120  # a test that hangs fails; no test passes or fails by time otherwise


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), DEADLINE_S))

    return run


@dataclass
class Service:
    engine: Engine
    server: WebSocketServer

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/v1/stream"


@asynccontextmanager
async def service(
    config: ServerConfig | None = None,
    *,
    slots: int = 4,
    model: Model | None = None,
    name: str = "fake",
    wording: Wording = PLAIN,
) -> AsyncIterator[Service]:
    config = config or ServerConfig(port=0)
    model = model or FakeModel(slots=slots)
    about = ServedModel(name, 335)
    async with (
        Engine(
            model,
            max_sessions=slots,
            max_batch=8,
            max_backlog_s=2.0,
            text=wording.text,
            keywords=wording.keywords,
        ) as engine,
        WebSocketServer(engine, EndpointRules(), config, about) as server,
    ):
        yield Service(engine, server)


def pcm(samples: np.ndarray) -> bytes:
    """Samples of the fake model as s16le: exact, for they are multiples of 1/64."""
    return (samples * 32768).astype("<i2").tobytes()


async def until(kind: type[messages.ServerMessage], socket: ClientConnection) -> None:
    """Read up to the first message of this kind."""
    while not isinstance(messages.decode_server(await socket.recv(decode=True)), kind):
        pass


async def said(socket: ClientConnection) -> tuple[list[messages.ServerMessage], int | None]:
    """Everything the server says until it closes, and the close code."""
    heard: list[messages.ServerMessage] = []
    try:
        while True:
            heard.append(messages.decode_server(await socket.recv(decode=True)))
    except ConnectionClosed:
        return heard, socket.close_code


async def said_to(url: str, *sent: str | bytes) -> tuple[list[messages.ServerMessage], int | None]:
    """Connect, send everything at once, and hear the server out."""
    async with connect(url, compression=None) as socket:
        for each in sent:
            await socket.send(each)
        return await said(socket)


def finals(heard: list[messages.ServerMessage]) -> list[str]:
    return [message.text for message in heard if isinstance(message, messages.Final)]


def errors(heard: list[messages.ServerMessage]) -> list[tuple[str, bool]]:
    return [(each.code, each.fatal) for each in heard if isinstance(each, messages.Error)]


async def raw_connection(
    port: int, path: str = "/v1/stream"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket below any library, whose owner does not read."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer
