"""A server that is told to end and still has sessions: who gets which answer meanwhile."""

import asyncio
from contextlib import suppress

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.chunker import Window
from streamer.core.context import Context
from streamer.core.frames import Frames
from tests.engine.harness import GatedModel
from tests.fakes import BLANK, FakeDetector, FakeModel, audio, silence, speak
from tests.http import HANDSHAKE, ask, get
from tests.serving import finals, in_loop, pcm, said, service, until

START, STOP = m.encode(m.Start(resume=True)), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))


@in_loop
async def test_while_it_drains_it_is_alive_measured_and_not_ready() -> None:
    entered = service(ServerConfig(port=0, drain_timeout_s=3_600))
    running = await entered.__aenter__()
    port = running.server.port
    async with connect(running.url) as socket, connect(running.url) as late:
        await socket.send(START)
        await socket.send(LAMP[:20_000])
        while not isinstance(m.decode_server(await socket.recv(decode=True)), m.SpeechStart):
            pass
        assert (await get(port, "/readyz"))[0] == 200
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        while not isinstance(message := m.decode_server(await socket.recv(decode=True)), m.GoAway):
            pass
        assert message.code == "restart"
        assert (await said(late))[1] == 1012  # it never began
        assert (await get(port, "/readyz"))[::2] == (503, b"the server is shutting down\n")
        assert (await get(port, "/healthz"))[0] == 200
        status, _, body = await get(port, "/metrics")
        assert (status, b"streamer_sessions 1.0" in body) == (200, True)
        for path in ("/v1/stream", "/v1/captions?session=latest"):
            status, headers, _ = await ask(port, "GET", path, *HANDSHAKE)
            assert (status, bool(headers["Retry-After"])) == (503, True)
        await socket.send(LAMP[20_000:])
        await socket.send(STOP)
        heard, code = await said(socket)
        assert (finals(heard), code) == (["turn on the lamp"], 1012)
        await leaving
    try:
        await get(port, "/readyz")
    except OSError:
        return
    raise AssertionError("the port is open after the end")


@in_loop
async def test_a_handshake_that_is_half_done_at_the_end_is_answered() -> None:
    entered = service()
    running = await entered.__aenter__()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n")
    async with connect(running.url) as socket:
        await socket.send(START)
        await socket.recv()
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        while not isinstance(m.decode_server(await socket.recv(decode=True)), m.GoAway):
            pass
        writer.write(("\r\n".join(HANDSHAKE) + "\r\n\r\n").encode())
        assert b" 503 " in await reader.readline()
        await socket.close()
    await leaving
    writer.close()


@in_loop
async def test_a_word_that_is_received_but_not_decoded_is_heard_in_one_piece() -> None:
    model = GatedModel()
    entered = service(ServerConfig(port=0, drain_timeout_s=3_600), model=model)
    running = await entered.__aenter__()
    async with connect(running.url) as socket:
        await socket.send(START)
        await socket.recv()
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        while not isinstance(message := m.decode_server(await socket.recv(decode=True)), m.GoAway):
            pass
        await socket.send(LAMP[:20_000])  # more than is waited for, and in the midst of a word
        while not isinstance(message, m.Ack) or message.received < 8_000:
            message = m.decode_server(await socket.recv(decode=True))
        for each in (LAMP[20_000:], STOP):
            await socket.send(each)
        model.open_for_good()
        heard, code = await said(socket)
        assert (finals(heard), code) == (["turn on the lamp"], 1012)
        await leaving


async def said_while_going_on(
    socket: ClientConnection, audio: bytes
) -> tuple[list[m.ServerMessage], int | None]:
    """As `said`; the client sends this again and again, live, and must not be heard to its end."""
    times = 600

    async def go_on() -> None:
        with suppress(ConnectionClosed):
            for _ in range(times):
                await socket.send(audio)
                await asyncio.sleep(0.01)  # what was sent is decoded now and then

    sending = asyncio.create_task(go_on(), name="go on")
    heard, code = await said(socket)
    await sending
    closed = heard[-1]
    assert isinstance(closed, m.Closed)
    assert closed.received < times * len(audio) // 2  # else silence on the wire has ended it
    return heard, code


@in_loop
async def test_speech_without_a_word_is_not_waited_for() -> None:
    model = FakeModel(slots=4)
    model.detector = FakeDetector()
    murmur = pcm(audio([BLANK] * 5, [-FakeDetector.SPEECH] * 5))
    entered = service(ServerConfig(port=0, drain_timeout_s=3_600), model=model)
    running = await entered.__aenter__()
    async with connect(running.url) as socket:
        await socket.send(m.encode(m.Start(endpoint=m.EndpointPatch(vad=True))))
        await socket.send(murmur * 10)
        await until(m.SpeechStart, socket)
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        await until(m.GoAway, socket)
        heard, code = await said_while_going_on(socket, murmur)
        assert (finals(heard), code) == ([], 1012)
        await leaving


class Wavering(FakeModel):
    """Takes back what its lookahead has promised."""

    def read(self, window: Window) -> Frames:
        frames = super().read(window)
        ids = np.where(np.arange(len(frames.token_ids)) < window.chunk, BLANK, frames.token_ids)
        return Frames(ids, frames.log_probs)


@in_loop
async def test_words_that_were_taken_back_are_not_waited_for() -> None:
    model = Wavering(Context(0, 16, 8), slots=4)
    entered = service(ServerConfig(port=0, drain_timeout_s=3_600), model=model)
    running = await entered.__aenter__()
    async with connect(running.url) as socket:
        await socket.send(m.encode(m.Start()))
        await socket.send(LAMP)
        await until(m.SpeechStart, socket)
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        await until(m.GoAway, socket)
        heard, code = await said_while_going_on(socket, pcm(silence(0.1)))
        assert (finals(heard), code) == ([], 1012)
        assert any(isinstance(each, m.Partial) and not each.words for each in heard)
        await leaving
