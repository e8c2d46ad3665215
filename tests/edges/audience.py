"""A speaker's session, and what its viewers are shown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from streamer import messages as m
from tests.fakes import speak
from tests.serving import Service, pcm


def captions(running: Service, session: str) -> str:
    return f"ws://127.0.0.1:{running.server.port}/v1/captions?session={session}"


async def heard_until(socket: ClientConnection, kind: type) -> list[m.ServerMessage]:
    heard: list[m.ServerMessage] = []
    while not heard or not isinstance(heard[-1], kind):
        heard.append(m.decode_server(await socket.recv(decode=True)))
    return heard


@asynccontextmanager
async def speaker(running: Service) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A client with a session, and the session's id."""
    async with connect(running.url) as socket:
        await socket.send(m.encode(m.Start()))
        ready = m.decode_server(await socket.recv(decode=True))
        assert isinstance(ready, m.Ready)
        yield socket, ready.session


async def say(socket: ClientConnection, text: str) -> None:
    """Speak one utterance; returns when the speaker has its final."""
    await socket.send(pcm(speak(text)))
    await socket.send(m.encode(m.Flush()))
    await heard_until(socket, m.Flushed)
