"""Peers that take what they should not: half requests, unread answers, silence, floods."""

import asyncio
import itertools
import os
import random
import ssl
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.edges.websocket import door, wire
from tests.clock import Clock, in_clock
from tests.fakes import speak
from tests.http import HANDSHAKE, ask, frame, get
from tests.serving import (
    Service,
    errors,
    finals,
    in_loop,
    pcm,
    raw_connection,
    said,
    said_to,
    service,
)

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def is_served(running: Service) -> bool:
    heard, code = await said_to(running.url, START, LAMP, STOP)
    return (finals(heard), code) == (["turn on the lamp"], 1000)


async def ended(reader: asyncio.StreamReader) -> bool:
    """The other end closes, or has vanished."""
    try:
        while await reader.read(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


async def emptied(running: Service) -> None:
    while running.server.sockets_inside:  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(0.01)


# --- half requests --------------------------------------------------------------------------------


@in_loop
async def test_half_requests_keep_nobody_out() -> None:
    """More of them than may wait; the ones that have waited longest go."""
    config = ServerConfig(port=0, start_timeout_s=3_600)
    async with service(config) as running:
        waiting = []
        for number in range(door.MAX_AT_DOOR + 20):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: local"[: number % 40])
            waiting.append((reader, writer))
        assert await is_served(running)
        assert all([await ended(reader) for reader, _ in waiting[:20]])
        last, writer = waiting[-1]
        assert not last.at_eof()
        for _, writer in waiting:
            writer.transport.abort()


@in_loop
async def test_half_handshakes_of_tls_keep_nobody_out(tmp_path: Path) -> None:
    authority, path = trustme.CA(), tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    config = ServerConfig(port=0, start_timeout_s=3_600, tls_cert=str(path))
    async with service(config) as running:
        port, waiting = running.server.port, []
        for _ in range(door.MAX_AT_DOOR + 20):
            waiting.append(await asyncio.open_connection("127.0.0.1", port))
            waiting[-1][1].write(b"\x16\x03\x01")
        assert (await ask(port, "GET", "/", tls=trust))[0] == 200
        assert all([await ended(reader) for reader, _ in waiting[:20]])
        for _, writer in waiting:
            writer.transport.abort()


@in_clock
async def test_a_socket_that_asks_nothing_is_closed_in_time(clock: Clock) -> None:
    async with service() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        while not running.server.sockets_waiting:
            await clock.wait(0)
        await clock.wait(ServerConfig().start_timeout_s)
        assert await reader.read() == b""
        writer.close()


@in_loop
async def test_sockets_that_have_closed_are_forgotten() -> None:
    async with service(ServerConfig(port=0, max_connections=1)) as running:
        for _ in range(3):
            assert await is_served(running)
            await get(running.server.port, "/")
            _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            writer.transport.abort()
            await emptied(running)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"x" * 8_000 + b"\r\n") * 100, b""),
        (b"GET / HTTP/9.9\r\n\r\n", b""),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX : x\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n X: x\r\n\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (random.Random(0).randbytes(4_096) + b"\r\n\r\n", b""),
    ],
    ids=range(10),
)
@in_loop
async def test_heads_that_are_none(head: bytes, status: bytes) -> None:
    # Some are half requests only: they end by time.
    config = ServerConfig(port=0, start_timeout_s=3_600 if status else 0.5)
    async with service(config) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(head)
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        assert answer.split(b" ")[1:2] == [status][: len(status)]
        writer.close()


# --- unread answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flood", "config"),
    [
        # Pings are answered below our messages, so their answers have a limit of their own.
        (frame(0x9, b"p" * 125), ServerConfig(port=0, send_timeout_s=3_600)),
        (frame(0x1, b'{"type":"sing"}'), ServerConfig(port=0, send_timeout_s=0.5)),
    ],
    ids=["pings", "mistakes"],
)
@in_loop
async def test_a_client_that_never_reads_is_cut_and_fills_no_memory(
    flood: bytes, config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "UNACKNOWLEDGED_MS", 3_600_000)  # the kernel would notice it too
    async with service(config) as running:
        assert await is_served(running)
        before = resident_bytes()
        _, writer = await raw_connection(running.server.port)
        writer.write(frame(0x1, START.encode()))
        with pytest.raises(ConnectionError):
            while True:
                writer.write(flood * 500)
                await writer.drain()
        assert resident_bytes() - before < 16 << 20
        assert await is_served(running)
        writer.transport.abort()


@in_loop
async def test_the_kernel_notices_a_client_that_never_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "UNACKNOWLEDGED_MS", 500)
    async with service(ServerConfig(port=0, send_timeout_s=3_600)) as running:
        _, writer = await raw_connection(running.server.port)
        writer.write(frame(0x1, START.encode()))
        with pytest.raises(ConnectionError):
            while True:
                writer.write(frame(0x1, b'{"type":"sing"}') * 500)
                await writer.drain()
        writer.transport.abort()


@in_loop
async def test_a_client_that_talks_on_hears_its_error_at_once() -> None:
    """Its goodbye comes behind more than the server has room for."""
    async with service(ServerConfig(port=0, send_timeout_s=3_600)) as running:
        heard, code = await said_to(running.url, "no json", *[LAMP[:8_000]] * 200)
        assert (errors(heard), code) == ([("bad_request", True)], 4400)
        heard, code = await said_to(running.url, START, STOP, *[LAMP[:8_000]] * 200)
        assert (errors(heard), code) == ([], 1000)


# --- silence --------------------------------------------------------------------------------------


@in_clock
async def test_a_peer_that_answers_no_ping_is_noticed(clock: Clock) -> None:
    config = ServerConfig(port=0, start_timeout_s=3_600)
    async with service(config) as running:
        reader, writer = await raw_connection(running.server.port)
        await clock.wait(wire.PING_AFTER_S)
        assert await reader.readexactly(2) == b"\x89\x00"  # a ping
        assert running.server.sockets_inside == 1
        await clock.wait(wire.GONE_AFTER_S - wire.PING_AFTER_S)
        assert await ended(reader)
        await emptied(running)
        writer.close()


@in_clock
async def test_a_peer_that_answers_pings_may_be_silent(clock: Clock) -> None:
    config = ServerConfig(port=0, start_timeout_s=3_600)
    async with service(config) as running:
        reader, writer = await raw_connection(running.server.port)
        for _ in range(5):
            await clock.wait(wire.GONE_AFTER_S - wire.PING_AFTER_S)
            assert await reader.readexactly(2) == b"\x89\x00"
            writer.write(frame(0xA, b""))
            await clock.wait(0)  # until it is taken
        assert running.server.sockets_inside == 1
        writer.close()


@in_clock
async def test_a_server_that_was_away_gives_nobody_up(clock: Clock) -> None:
    """Its machine was asleep, or its loop stood still: first it asks."""
    config = ServerConfig(port=0, idle_timeout_s=3_600)
    async with service(config) as running, connect(running.url) as socket:
        await socket.send(START)
        await socket.recv()
        await clock.wait(1_800)
        assert running.server.sockets_inside == 1
        for each in (LAMP, STOP):
            await socket.send(each)
        assert (finals((await said(socket))[0]), socket.close_code) == (["turn on the lamp"], 1000)


@in_clock
async def test_a_client_that_waits_for_us_is_not_silent(clock: Clock) -> None:
    """Its pongs queue behind audio that we do not read for longer than a peer may be silent."""
    async with service(ServerConfig(port=0, max_messages_per_s=1)) as running:
        size = len(LAMP) // 40 * 2
        parts = [LAMP[at : at + size] for at in range(0, len(LAMP), size)]
        begun_at = clock.now
        saying = asyncio.create_task(said_to(running.url, START, *parts, STOP))
        while not saying.done():
            await clock.wait(0.1)
        heard, code = await saying
    assert (finals(heard), code) == (["turn on the lamp"], 1000)
    assert clock.now - begun_at > 2 * wire.GONE_AFTER_S


# --- websockets that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 426),
        (("Connection: Upgrade",), 426),
        (("Upgrade: h2c", "Connection: Upgrade"), 426),
        ((*HANDSHAKE[:3], "Sec-WebSocket-Key: short"), 400),
        ((*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]), 400),
    ],
)
@in_loop
async def test_a_websockets_path_wants_a_websocket(fields: tuple[str, ...], status: int) -> None:
    async with service() as running:
        for path in ("/v1/stream", "/v1/captions?session=x"):
            assert (await get(running.server.port, path, *fields))[0] == status
        assert (await ask(running.server.port, "POST", "/v1/stream", *HANDSHAKE))[0] == 405


@in_loop
async def test_frames_that_are_none_end_their_own_connection_only() -> None:
    garbage = random.Random(1).randbytes(1 << 14)
    async with service() as running:
        for begin, opcode in itertools.product((b"", frame(0x1, START.encode())), (0x3, 0xB, 0x0)):
            reader, writer = await raw_connection(running.server.port)
            writer.write(begin + frame(opcode, b"x") + garbage)
            assert await ended(reader)
            writer.close()
        assert await is_served(running)
