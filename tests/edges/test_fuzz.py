"""Garbage in every layer of the wire: none of it is our mistake, none outlives its connection."""

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from streamer.edges.websocket.peer import ENDINGS
from tests.fakes import LABELS, FakeModel, speak
from tests.http import HANDSHAKE
from tests.serving import Service, finals, in_loop, pcm, raw_connection, said_to, service

ROUNDS = 150  # conversations, raw connections and requests of each test
LAMP = pcm(speak("turn on the lamp"))
STOP = m.encode(m.Stop())
PLAIN = [
    m.encode(m.Start()),
    m.encode(
        m.Start(
            m.AudioFormat("pcm_f32le", 8_000, 2, separate=True),
            hotwords=("a", m.Hotword("lamp", 3.0)),
            endpoint=m.EndpointPatch(100, 200, 300, 4_000),
            decoding=m.DecodingPatch(5, 0.5, 1.0, 3, "low"),
            text=m.TextWishes(True, True, True),
            keywords=(m.KeywordWish("lamp", 0.5),),
            append_only=True,
            resume=True,
            model="fake",
        )
    ),
    m.encode(m.Start(m.AudioFormat("ogg_opus"))),
    m.encode(m.Resume("session", "token", 3)),
    m.encode(m.Flush("x")),
    m.encode(m.Confirm(1)),
    m.encode(m.Configure(hotwords=("b",), endpoint=m.EndpointPatch(100))),
    STOP,
]
ODD: list[Any] = [
    None, True, -1, 0, 1, 0.5, 1e308, -1e308, 5e-324, 2**53, 2**63, 10**300, "", " ", "x" * 300,
    "\0", "\ud800", "../../etc/passwd", "ü" * 80, [], {}, [[]], [None], {"type": "start"}, [{}],
]  # fmt: skip
AS_TEXT = ("1e999", "-1e999", "9" * 5_000, "NaN", "-Infinity", "[" * 9_000, '{"a":' * 3_000, "0x1")


class Tolerant(FakeModel):
    """Hears some token in any samples."""

    def read(self, window: Window) -> Frames:
        return _tame(super().read(window))

    def of_all_labels(self, frames: Frames, doubt: float = 0.0) -> Frames:
        return super().of_all_labels(_tame(frames), doubt)


def _tame(frames: Frames) -> Frames:
    log_probs = -np.abs(frames.log_probs) % 1 - 1
    return replace(frames, token_ids=frames.token_ids % len(LABELS.tokens), log_probs=log_probs)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to every value in a JSON value, itself among them."""
    yield path
    items = value if isinstance(value, dict) else {}
    if isinstance(value, list):
        items = dict(enumerate(value))
    for key, each in items.items():
        yield from leaves(each, (*path, key))


def changed(chance: random.Random, text: str) -> str:
    """A message with one value changed, or its text damaged."""
    body = json.loads(text)
    way = chance.choice(list(leaves(body)))
    if way:
        parent = body
        for key in way[:-1]:
            parent = parent[key]
        parent[way[-1]] = chance.choice([*ODD, "@"])
    text = json.dumps(body).replace('"@"', chance.choice(AS_TEXT))
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        text = chance.choice([text[:at], text[at:], text[:at] + "\x07\ufeff" + text[at:], text * 2])
    return text


def conversation(chance: random.Random) -> list[str | bytes]:
    """What a client says that has lost its mind."""
    said: list[str | bytes] = [chance.choice(PLAIN[:2])] if chance.random() < 0.6 else []
    for _ in range(chance.randrange(1, 12)):
        kind = chance.random()
        if kind < 0.5:
            said.append(changed(chance, chance.choice(PLAIN)))
        elif kind < 0.7:
            said.append(chance.choice(PLAIN))
        elif kind < 0.8:
            said.append(LAMP[: chance.randrange(len(LAMP))])
        else:
            said.append(chance.randbytes(chance.choice([0, 1, 7, 4_000])))
    return said


async def all_of(socket: ClientConnection) -> list[m.ServerMessage]:
    heard: list[m.ServerMessage] = []
    try:
        while True:
            heard.append(m.decode_server(await socket.recv(decode=True)))
    except ConnectionClosed:
        return heard


async def is_unharmed(running: Service, caplog: pytest.LogCaptureFixture) -> None:
    heard, code = await said_to(running.url, m.encode(m.Start()), LAMP, STOP)
    assert (finals(heard), code) == (["turn on the lamp"], 1000)
    while running.engine.open_sessions or running.server.sockets_inside:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # nothing tells
    worse = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert [each.getMessage() for each in worse if each.name.startswith("streamer")] == []


CODES = {each.close_code for each in ENDINGS.values()} - {1011}


@in_loop
async def test_conversations(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(0)
    config = ServerConfig(port=0, resume_window_s=0.01)
    async with service(config, model=Tolerant(slots=8), slots=8) as running:
        for _ in range(ROUNDS):
            said = conversation(chance)
            async with connect(running.url) as socket:
                for each in [*said, STOP]:
                    with suppress(ConnectionClosed, UnicodeEncodeError):  # half a character
                        await socket.send(each)
                heard = await all_of(socket)
            assert socket.close_code in {1000, *CODES}, said
            fatal = [each.code for each in heard if isinstance(each, m.Error) and each.fatal]
            assert fatal == [] or ENDINGS[fatal[0]].close_code == socket.close_code, said
        await is_unharmed(running, caplog)


@in_loop
async def test_frames(caplog: pytest.LogCaptureFixture) -> None:
    """Any first bytes, any lengths, then garbage, and an end in the middle."""
    chance = random.Random(1)
    async with service(ServerConfig(port=0, start_timeout_s=3_600)) as running:
        for _ in range(ROUNDS):
            reader, writer = await raw_connection(running.server.port)
            text = chance.choice(PLAIN).encode()
            parts = [
                bytes([0x81, 0x80 | len(text)]) + bytes(4) + text if len(text) < 126 else b"",
                bytes([chance.randrange(256), chance.randrange(256)]),
                chance.randbytes(chance.randrange(200)),
                b"\x82\xff" + chance.randbytes(8),
            ]
            writer.write(b"".join(chance.sample(parts, chance.randrange(1, 5))))
            if chance.random() < 0.5:
                writer.write_eof()
            else:
                await asyncio.sleep(0)
                writer.transport.abort()
            await all_read(reader)
            writer.close()
        await is_unharmed(running, caplog)


async def all_read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


LINES = [
    "Host: localhost", "Host: evil.example", "Host:", "Origin: null", "Origin: http://[",
    "Upgrade: h2c",
    "Content-Length: -1", "Content-Length: 99999999999999999999", "Transfer-Encoding: chunked",
    "Expect: 100-continue", "Authorization: Bearer", "Authorization: " + "x" * 4_000,
    "X-Forwarded-For: ,,;",
    "X-Forwarded-For: " + "1.1.1.1," * 500, "Sec-WebSocket-Protocol: " + "a," * 500, "Cookie: \xff",
    "Sec-WebSocket-Protocol: ,,ticket.,", "Connection: close, Upgrade", "Range: bytes=0-0",
    *HANDSHAKE,
]  # fmt: skip
PATHS = [
    "/", "/captions", "/v1/stream", "/v1/captions", "/v1/captions?session=latest&session=x",
    "/v1/ticket",
    "/v1/ticket?scope=" + "x" * 500, "/metrics", "/healthz", "/web/main.js", "/web/../main.js",
    "/web/%2e%2e/x",
    "//localhost//", "/%00", "/\\", "*", "http://localhost/", "http://[::1", "/?" + "a=b&" * 900,
    "/v1/stream#x",
    "/;x", "", "localhost:80", "/v1/captions?session=" + "%ff" * 100,
    "/v1/captions?source=%F0%9F%92%A9",
]  # fmt: skip


@pytest.mark.parametrize("has_tokens", [False, True])
@in_loop
async def test_requests(has_tokens: bool, tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    chance, path = random.Random(2), tmp_path / "tokens"
    path.write_text("a-token-of-this-test nobody\n")
    trusting = ServerConfig(port=0, trusted_proxies=("127.0.0.1",))
    guarded = ServerConfig(port=0, trusted_proxies=("127.0.0.1",), token_file=str(path))
    async with service(guarded if has_tokens else trusting) as running:
        for _ in range(2 * ROUNDS):
            method = chance.choice(["GET", "HEAD", "POST", "get", "PUT", "PRI", "", "\0"])
            version = chance.choice(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2", ""])
            head = [f"{method} {chance.choice(PATHS)} {version}", *chance.sample(LINES, 4)]
            request = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"
            if chance.random() < 0.2:
                at = chance.randrange(len(request))
                request = request[:at] + chance.randbytes(3) + request[at:]
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            writer.write(request)
            writer.write_eof()
            answer = await all_read(reader)
            assert not answer or answer.startswith(b"HTTP/1.1 "), request
            assert not answer.startswith(b"HTTP/1.1 5"), (request, answer)
            writer.close()
        if not has_tokens:
            await is_unharmed(running, caplog)
