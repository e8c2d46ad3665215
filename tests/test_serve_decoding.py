"""`streamer serve` with its language model in processes of their own, over real websockets."""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect

import streamer
from streamer import messages as m
from streamer.config import Config, ModelConfig
from streamer.edges.audio_file import AudioFile, stream
from tests.commands import ROOT, serving
from tests.http import get
from tests.serving import errors, said, said_to, until

pytestmark = pytest.mark.usefixtures("one_thread")
HANGS_S = 500  # a process that loads torch may take long on a busy machine
CLIP = ROOT / "clients" / "demo.flac"
START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LM = ["--lm", "model", "--dtype", "float32", "--threads", "1"]


def children(pid: int) -> list[int]:
    """Of a process, that run."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def demo() -> bytes:
    """The clip as s16le at 16 kHz."""
    with AudioFile(CLIP) as file:
        blocks = [block async for block in stream(file)]
    return b"".join((block * 32767).astype("<i2").tobytes() for block in blocks)


def finals(heard: list[m.ServerMessage]) -> list[tuple[str, tuple[m.Word, ...]]]:
    return [(each.text, tuple(each.words or ())) for each in heard if isinstance(each, m.Final)]


async def begun(url: str, pcm: bytes) -> ClientConnection:
    """A session that has said something."""
    socket = await connect(url)
    await socket.send(START)
    await socket.send(pcm)
    await until(m.Partial, socket)
    return socket


async def metrics(url: str) -> bytes:
    return (await get(urlsplit(url).port or 0, "/metrics"))[2]


async def served(pcm: bytes) -> list[list[m.ServerMessage]]:
    """Two at once; one whose process is killed, and beside it one whose process is not; another."""
    async with serving("--port", "0", "--decode-workers", "2", *LM) as (server, url):
        heard = list(await asyncio.gather(*(said_to(url, START, pcm, STOP) for _ in range(2))))
        half = len(pcm) // 4 * 2
        sockets = [await begun(url, pcm[:half]) for _ in range(2)]
        before = children(server.pid)
        assert b"\nstreamer_decoders 2.0\n" in await metrics(url)
        os.kill(before[0], signal.SIGKILL)
        heard.append(await said(sockets[0]))
        await sockets[1].send(pcm[half:])
        await sockets[1].send(STOP)
        heard.append(await said(sockets[1]))
        heard.append(await said_to(url, START, pcm, STOP))
        after = children(server.pid)
        assert b"\nstreamer_decoder_deaths_total 1.0\n" in await metrics(url)
        server.terminate()
        _, logged = await server.communicate()
    assert (len(before), len(after), len({*before} & {*after})) == (2, 2, 1)
    assert server.returncode == 0
    assert b"decoding process 0 has died with 1 session" in logged
    assert b"Traceback" not in logged
    assert b"child process" not in logged
    assert not [pid for pid in after if is_there(pid)]
    return [messages for messages, _ in heard]


def test_what_is_served_is_what_one_process_hears_and_a_death_is_one_sessions_own(
    tmp_path: Path,
) -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("pyctcdecode")
    model = ModelConfig(lm="model", dtype="float32", threads=1)
    pcm = asyncio.run(demo())
    soundfile.write(tmp_path / "sent.wav", np.frombuffer(pcm, "<i2"), 16_000)
    heard = streamer.transcribe(tmp_path / "sent.wav", Config(model=model))
    alone = finals([m.decode_server(m.encode(each)) for each in heard])  # as rounded on the wire
    one, two, victim, survivor, later = asyncio.run(asyncio.wait_for(served(pcm), HANGS_S))
    assert finals(one) == finals(two) == finals(later) == alone
    # It had said a partial before `said` began; its finals are all there.
    assert finals(survivor) == alone
    assert errors(victim) == [("internal", True)]
