"""Viewers: how many there may be, what one that does not read costs, and what no log holds."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.edges.websocket.broadcast import Broadcast
from streamer.engine.errors import SessionError
from streamer.engine.outbox import MAX_EVENTS
from tests.edges.audience import captions, heard_until, say, speaker
from tests.serving import finals, in_loop, raw_connection, said, service

STOP = m.encode(m.Stop())


@pytest.mark.parametrize(
    "config", [ServerConfig(port=0, max_viewers=1), ServerConfig(port=0, max_connections=2)]
)
@in_loop
async def test_viewers_count(config: ServerConfig) -> None:
    async with (
        service(config) as running,
        speaker(running) as (_, session),
        connect(captions(running, session)) as viewer,
    ):
        await heard_until(viewer, m.Ready)
        with pytest.raises(InvalidStatus) as refused:
            await connect(captions(running, session))

    assert refused.value.response.status_code == 503


@in_loop
async def test_viewers_leave_room_for_speakers() -> None:
    config = ServerConfig(port=0, max_viewers=1, max_connections=3)
    async with (
        service(config) as running,
        speaker(running) as (_, session),
        connect(captions(running, session)) as viewer,
    ):
        await heard_until(viewer, m.Ready)
        async with speaker(running) as (_, another):
            assert another != session


@in_loop
async def test_a_viewer_that_does_not_read_is_dropped_and_slows_nobody() -> None:
    config = ServerConfig(port=0, max_viewers=2, send_timeout_s=0.2)
    spoken = " ".join(["lamp"] * 100)
    async with service(config) as running, speaker(running) as (socket, session):
        path = f"/v1/captions?session={session}"
        _, writer = await raw_connection(running.server.port, path)
        async with connect(captions(running, session)) as reading:
            told = asyncio.create_task(said(reading), name="reading viewer")
            rounds, dropped = 0, False
            while not dropped:
                await say(socket, spoken)
                rounds += 1
                try:  # its place is free when it is gone
                    async with connect(captions(running, session)):
                        dropped = True
                except InvalidStatus as refused:
                    assert refused.response.status_code == 503  # noqa: PT017
            await socket.send(STOP)
            heard, code = await told
        writer.transport.abort()
    assert (" ".join(finals(heard)), code) == (" ".join([spoken] * rounds), 1000)


@in_loop
async def test_an_outbox_that_overflows_fails_alone() -> None:
    broadcast = Broadcast(m.Ready("x", "fake", 16_000, 335, m.Limits(1, 1, 1)))
    quick, slow = broadcast.join(), broadcast.join()
    said_finals = [m.Final(n, "so", (), n, n + 1, 1.0, "flush") for n in range(MAX_EVENTS + 1)]
    taken: list[m.Event] = []

    async def events() -> AsyncIterator[m.Event]:
        for final in said_finals:
            yield final
            taken.append(await anext(quick))

    await broadcast.relay(events())
    assert taken == said_finals
    with pytest.raises(SessionError, match="not taken"):
        await anext(slow)


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "10.0.0.9"}, {"Forwarded": "for=10.0.0.9"}, {"Via": "1.1 x"}]
)
@in_loop
async def test_a_proxys_client_may_not_ask_for_the_latest_session(headers: dict[str, str]) -> None:
    async with service() as running, speaker(running) as (_, session):
        with pytest.raises(InvalidStatus) as refused:
            await connect(captions(running, "latest"), additional_headers=headers)
        assert refused.value.response.status_code == 403
        async with connect(captions(running, session), additional_headers=headers) as viewer:
            await heard_until(viewer, m.Ready)


@in_loop
async def test_words_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with service() as running, speaker(running) as (socket, session):
        viewer = await connect(captions(running, session))
        gone = await connect(captions(running, session))
        await heard_until(gone, m.Ready)
        gone.transport.abort()
        await say(socket, "canary")
        assert finals(await heard_until(viewer, m.Final)) == ["canary"]
        viewer.transport.abort()
        await socket.send(STOP)
        await said(socket)
    ours = [each for each in caplog.records if each.name.startswith("streamer")]
    assert ours
    assert not any("canary" in each.getMessage() for each in ours)
