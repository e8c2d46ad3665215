"""`streamer serve` is told to end while it has sessions: a real process, several clients."""

import asyncio
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer import messages as m
from streamer.config import ServerConfig
from tests.commands import finals, serving, use
from tests.serving import said, until

pytestmark = pytest.mark.usefixtures("one_thread")
HANGS_S = 500  # a process that loads torch may take long on a busy machine
PACKET = 3_200  # bytes: 100 ms


def test_open_sessions_have_less_than_half_a_minute() -> None:
    assert ServerConfig().drain_timeout_s < 30


def test_every_client_gets_every_final_of_what_was_received(model: str, tmp_path: Path) -> None:
    heard = asyncio.run(asyncio.wait_for(until_the_end(model), HANGS_S))
    for number, (pcm, messages, code) in enumerate(heard):
        closed = messages[-1]
        assert isinstance(closed, m.Closed)
        assert code == 1012
        received = np.frombuffer(pcm, "<i2")[: closed.received]
        assert len(received) == closed.received > 0
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, received, 16_000)
        texts = [each.text for each in messages if isinstance(each, m.Final)]
        assert texts == [final.text for final in finals(model, str(path))]
    assert any(isinstance(each, m.Final) for _, messages, _ in heard for each in messages)


async def until_the_end(model: str) -> list[tuple[bytes, list[m.ServerMessage], int | None]]:
    """Some clients fall silent when the server is told to end, the others talk on."""
    options = ("--port", "0", "--drain-timeout-s", "300", *use(model))
    async with serving(*options) as (server, url):
        noise = np.random.default_rng(0).normal(0, 0.1, (3, 16_000 * 2))
        audio = [(each * 32767).astype("<i2").tobytes() for each in noise]
        sockets = [await connect(url) for _ in audio]
        for socket, pcm in zip(sockets, audio, strict=True):
            await socket.send(m.encode(m.Start(resume=True)))
            await socket.send(pcm[: len(pcm) // 2])
            await until(m.Ack, socket)  # its finals come at the end: such babble is longer
        talking = [
            asyncio.create_task(talk(socket, pcm), name="talk")
            for socket, pcm in zip(sockets[::2], audio[::2], strict=True)
        ]
        server.send_signal(signal.SIGTERM)
        heard = await asyncio.gather(*map(said, sockets))
        await asyncio.gather(*talking)
        with pytest.raises((OSError, InvalidStatus), match=r"Connect call failed|HTTP 503"):
            await connect(url)  # at first there may be an answer, then nobody is there
        _, logged = await server.communicate()
    assert server.returncode == 0
    assert b"Traceback" not in logged
    return [(pcm, *each) for pcm, each in zip(audio, heard, strict=True)]


async def talk(socket: ClientConnection, pcm: bytes) -> None:
    """The rest of the audio, until the server has had enough."""
    try:
        for at in range(len(pcm) // 2, len(pcm), PACKET):
            await socket.send(pcm[at : at + PACKET])
    except ConnectionClosed:
        return
