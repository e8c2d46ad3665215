"""Wyoming: mistakes of a client, the limits of the server, and how both of them leave."""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import pytest
from wyoming.client import AsyncClient
from wyoming.ping import Ping

from streamer.config import ConfigError, WyomingConfig
from streamer.edges.wyoming import Program, WyomingServer, connection
from streamer.edges.wyoming.framing import MAX_LINE_BYTES, encoded
from streamer.engine.engine import Engine
from tests.edges.over_wyoming import RULES, answer, chunks, client, serving, speak_to
from tests.engine.harness import GatedModel
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop


@in_loop
async def test_mistakes_are_answered_and_end_the_connection() -> None:
    chunk = {"rate": 16_000, "width": 2, "channels": 1}
    data = json.dumps(chunk).encode()
    over = [
        (b"no json\n", "bad-request"),
        (b"[]\n", "bad-request"),
        (b"{}\n", "bad-request"),
        (b"x" * MAX_LINE_BYTES * 2 + b"\n", "bad-request"),
        (b'{"type":"a","data":3}\n', "bad-request"),
        (b'{"type":"a","data_length":99999999}\n', "bad-request"),
        (b'{"type":"a","payload_length":-1}\n', "bad-request"),
        (b'{"type":"a","payload_length":true}\n', "bad-request"),
        (b'{"type":"audio-chunk"}\n', "bad-request"),
        (encoded_chunk({**chunk, "width": 4}), "bad-request"),
        (encoded_chunk({**chunk, "rate": 3}), "bad-request"),
        (encoded_chunk({**chunk, "channels": "two"}), "bad-request"),
    ]
    assert data in encoded_chunk(chunk).replace(b'":', b'": ').replace(b',"', b', "')
    async with serving() as server:
        for sent, code in over:
            event = await last_event(server, sent)
            assert (event["type"], event["code"]) == ("error", code), sent[:60]


def encoded_chunk(data: dict[str, Any]) -> bytes:
    from streamer.edges.wyoming.framing import Event as Framed

    return encoded(Framed("audio-chunk", data, bytes(32)))


async def last_event(server: WyomingServer, sent: bytes) -> dict[str, Any]:
    """What is said before the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    said = b""
    try:
        while data := await reader.read(4_096):
            said += data
    except ConnectionError:
        pass
    writer.close()
    line, _, rest = said.partition(b"\n")
    return {**json.loads(rest), **json.loads(line)}


@in_loop
async def test_limits_of_sessions_connections_and_length() -> None:
    model = GatedModel(slots=1)
    async with serving(slots=1, model=model, max_audio_s=1.0, max_connections=2) as server:
        async with client(server) as first, client(server) as second:
            await chunks(first, speak("so"))
            await model.is_running()
            await chunks(second, speak("no"))
            event = await second.read_event()
            assert event is not None
            assert (event.type, event.data["code"]) == ("error", "capacity")
            assert await second.read_event() is None
            model.open_for_good()
            await chunks(first, silence(2.0))
            while (event := await first.read_event()) is not None:
                last = event
            assert (last.type, last.data["code"]) == ("error", "too-long")
        async with client(server) as first, client(server), client(server) as third:
            await first.write_event(Ping().event())
            await first.read_event()
            with suppress(ConnectionError):
                assert await third.read_event() is None


@in_loop
async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.05)
    async with serving() as server, client(server) as joined:
        event = await joined.read_event()
        assert event is not None
        assert (event.type, event.data["code"]) == ("error", "timeout")


@in_loop
async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_S", 0.2)
    ping = json.dumps({"type": "ping", "data": {"text": "x" * 1_000}}).encode() + b"\n"
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(ConnectionError):
            while True:
                writer.write(ping * 100)
                await writer.drain()
        writer.close()


@in_loop
async def test_a_client_that_vanishes_takes_its_session_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with serving(slots=1) as server:
        for _ in range(3):
            async with client(server) as joined:
                await chunks(joined, speak("hello"))
        while True:  # the slot is free again
            async with client(server) as joined:
                await speak_to(joined, speak("here"))
                event = await joined.read_event()
                assert event is not None
                if event.type != "error":
                    break
    assert caplog.text == ""


@in_loop
async def test_leaving_answers_what_was_heard() -> None:
    model = GatedModel(slots=1)
    async with Engine(model, max_sessions=1, max_batch=1) as engine:
        async with WyomingServer(engine, RULES, WyomingConfig(), Program("fake", "1")) as server:
            joined = AsyncClient.from_uri(f"tcp://127.0.0.1:{server.port}")
            await joined.connect()
            await chunks(joined, speak("just in time"))
            await model.is_running()
            model.open_for_good()
        text, _ = await answer(joined)
        assert "just in time".startswith(text)
        assert text
        assert await joined.read_event() is None
        await joined.disconnect()


@in_loop
async def test_an_address_in_use_is_one_sentence() -> None:
    async with serving() as server, Engine(FakeModel(), max_sessions=1, max_batch=1) as engine:
        config = WyomingConfig(port=server.port)
        with pytest.raises(
            ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use$"
        ):
            async with WyomingServer(engine, RULES, config, Program("fake", "1")):
                pass
