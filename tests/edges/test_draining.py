"""A server that is told to end and still has sessions: who gets which answer meanwhile."""

import asyncio

from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ServerConfig
from tests.engine.harness import GatedModel
from tests.fakes import BLANK, FakeDetector, FakeModel, audio, speak
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


@in_loop
async def test_speech_without_a_word_is_not_waited_for() -> None:
    model = FakeModel(slots=4)
    model.detector = FakeDetector()
    murmur = pcm(audio([BLANK] * 50, [-FakeDetector.SPEECH] * 50))  # a second of it
    entered = service(ServerConfig(port=0, drain_timeout_s=3_600), model=model)
    running = await entered.__aenter__()
    async with connect(running.url) as socket:
        await socket.send(m.encode(m.Start(endpoint=m.EndpointPatch(vad=True))))
        await socket.send(murmur)
        await until(m.SpeechStart, socket)
        leaving = asyncio.create_task(entered.__aexit__(None, None, None), name="leave")
        await until(m.GoAway, socket)
        for _ in range(4):
            await socket.send(murmur)
        heard, code = await said(socket)
        assert (finals(heard), code) == ([], 1012)
        await leaving
