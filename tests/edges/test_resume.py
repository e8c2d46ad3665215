"""Sessions that outlive their connections: what is kept, for whom, how long, and what is not."""

import asyncio
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection, connect

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.edges.websocket import conversations
from tests.clock import Clock, in_clock
from tests.fakes import speak
from tests.serving import Service, errors, finals, in_loop, pcm, said, said_to, service

START, STOP = m.encode(m.Start(resume=True)), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))
HALF = len(LAMP) // 2


async def heard_until(socket: ClientConnection, kind: type) -> list[tuple[m.ServerMessage, int]]:
    heard: list[tuple[m.ServerMessage, int]] = []
    while not heard or not isinstance(heard[-1][0], kind):
        message, seq = m.decode_numbered(await socket.recv(decode=True))
        heard.append((message, seq or 0))
    return heard


async def begun(running: Service, start: str = START) -> tuple[ClientConnection, m.Ready]:
    socket = await connect(running.url)
    await socket.send(start)
    ((ready, _),) = await heard_until(socket, m.Ready)
    return socket, cast("m.Ready", ready)


def resume(ready: m.Ready, seq: int = 0) -> str:
    assert ready.token
    return m.encode(m.Resume(ready.session, ready.token, seq))


async def resumed(
    running: Service, ready: m.Ready, seq: int = 0
) -> tuple[ClientConnection, m.Resumed]:
    socket = await connect(running.url)
    await socket.send(resume(ready, seq))
    ((answer, _),) = await heard_until(socket, m.Resumed)
    return socket, cast("m.Resumed", answer)


async def open_sessions(running: Service, expected: int) -> None:
    while running.engine.open_sessions != expected:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.01)


async def cut(socket: ClientConnection) -> None:
    socket.transport.abort()
    await socket.wait_closed()


@in_loop
async def test_a_session_goes_on_where_its_connection_was_lost() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        assert ready.resume_window_s == 60
        await socket.send(LAMP[:HALF])
        await socket.send(m.encode(m.Flush("a")))
        first = await heard_until(socket, m.Flushed)
        assert [seq for _, seq in first if seq] == [1, 2, 3]  # speech_start, final, flushed
        await cut(socket)
        socket, answer = await resumed(running, ready, seq=1)
        assert answer == m.Resumed(ready.session, HALF, 1)
        for each in (LAMP[answer.audio_bytes :], STOP):
            await socket.send(each)
        rest = await heard_until(socket, m.Closed)
        assert [seq for _, seq in rest if seq] == [2, 3, 4, 5, 6]
        assert [message for message, _ in rest[:2]] == [message for message, _ in first[-2:]]
        assert rest[-1][0] == m.Closed(len(LAMP) // 2, 2)
        assert (await said(socket))[1] == 1000
    assert running.engine.open_sessions == 0


@in_loop
async def test_what_was_said_while_nobody_listened_is_heard_later() -> None:
    async with service(slots=1) as running:
        socket, ready = await begun(running)
        await socket.send(LAMP)
        await socket.send(STOP)
        await heard_until(socket, m.SpeechStart)
        await cut(socket)
        await open_sessions(running, 0)
        # The slot is free, and the last words are not forgotten.
        heard, _ = await said_to(running.url, m.encode(m.Start()), LAMP, STOP)
        assert finals(heard) == ["turn on the lamp"]
        socket, answer = await resumed(running, ready)
        assert answer == m.Resumed(ready.session, len(LAMP), 1)
        heard, code = await said(socket)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)


@in_loop
async def test_only_who_has_the_token_gets_in() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        assert ready.token
        assert len(ready.token) >= 22  # 128 bits and more
        wrong = ["x", ready.token[:-1], ready.token + "x", ready.token.swapcase()]
        stolen = [m.encode(m.Resume(ready.session, token)) for token in wrong]
        for each in [*stolen, m.encode(m.Resume("nobody", ready.token))]:
            heard, code = await said_to(running.url, each)
            assert (errors(heard), code) == ([("no_session", True)], 4404)
        await socket.send(LAMP)
        await socket.send(STOP)
        assert finals((await said(socket))[0]) == ["turn on the lamp"]
        heard, code = await said_to(running.url, resume(ready))  # it is over
        assert (errors(heard), code) == ([("no_session", True)], 4404)


@in_loop
async def test_viewers_do_not_get_the_token() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        captions = running.url.replace("stream", f"captions?session={ready.session}")
        async with connect(captions) as viewer:
            text = await viewer.recv(decode=True)
        assert ready.session in text
        assert "token" not in text
        await cut(socket)


@in_loop
async def test_a_newer_connection_takes_the_session_and_the_older_one_is_told() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        for _ in range(20):
            await socket.send(LAMP)
            newer, _ = await resumed(running, ready)
            heard, code = await said(socket)
            assert errors(heard) == [("resumed_elsewhere", True)]
            assert code == 4409
            socket = newer
        await socket.send(STOP)
        assert (await said(socket))[1] == 1000


@in_loop
async def test_many_connections_at_once_leave_one_owner() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        sockets = [socket, *[await connect(running.url) for _ in range(30)]]
        for each in sockets[1:]:
            await each.send(resume(ready))
        ends = [asyncio.create_task(said(each)) for each in sockets]
        done: set[asyncio.Task] = set()
        while len(done) < 30:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        (owner,) = [s for s, end in zip(sockets, ends, strict=True) if not end.done()]
        await owner.send(LAMP)
        await owner.send(STOP)
        results = await asyncio.gather(*ends)
    assert sorted(code or 0 for _, code in results) == [1000, *[4409] * 30]
    assert sum(finals(heard) == ["turn on the lamp"] for heard, _ in results) == 1


@pytest.mark.parametrize("goodbye", ["close", "no resume asked for", "none offered"])
@in_loop
async def test_nothing_is_kept_for_who_will_not_come_back(goodbye: str) -> None:
    config = ServerConfig(port=0, resume_window_s=0 if goodbye == "none offered" else 60)
    start = START if goodbye != "no resume asked for" else m.encode(m.Start())
    async with service(config, slots=1) as running:
        socket, ready = await begun(running, start)
        assert (ready.token is None) == (goodbye != "close")
        await socket.send(LAMP)
        if goodbye == "close":
            await socket.close()
        else:
            await cut(socket)
        await open_sessions(running, 0)


@in_loop
async def test_a_session_is_finished_when_its_time_is_over() -> None:
    async with service(ServerConfig(port=0, resume_window_s=0.05)) as running:
        watched = running.engine.watch()
        socket, ready = await begun(running)
        await socket.send(LAMP)
        await heard_until(socket, m.Ack)
        await cut(socket)
        events = [event async for event in watched.get_nowait().events]
        assert finals(events) == ["turn on the lamp"]  # for whoever listens elsewhere
        while (answer := await said_to(running.url, resume(ready)))[1] != 4404:
            pass
        assert errors(answer[0]) == [("no_session", True)]


@in_loop
async def test_a_new_client_gets_the_slot_of_one_that_left_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with service(slots=1) as running:
        socket, ready = await begun(running)
        await cut(socket)
        heard, code = await said_to(running.url, START)
        assert (errors(heard), code) == ([("capacity", True)], 1013)  # it may come back
        monkeypatch.setattr(conversations, "YIELDS_AFTER_S", 0.0)
        heard, code = await said_to(running.url, START, LAMP, STOP)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)
        assert (await said_to(running.url, resume(ready)))[1] == 4404


@in_loop
async def test_no_more_are_kept_than_the_limit() -> None:
    async with service(ServerConfig(port=0, max_detached=2)) as running:
        left = []
        for _ in range(4):
            socket, ready = await begun(running)
            await cut(socket)
            left.append(ready)
            if len(left) > 2:
                await open_sessions(running, 2)
        for ready, is_kept in zip(left, (False, False, True, True), strict=True):
            socket = await connect(running.url)
            await socket.send(resume(ready))
            message, _ = m.decode_numbered(await socket.recv(decode=True))
            assert isinstance(message, m.Resumed) == is_kept
            await socket.close()


@in_loop
async def test_events_that_were_confirmed_or_never_were_cannot_be_had_again() -> None:
    async with service() as running:
        socket, ready = await begun(running)
        await socket.send(LAMP)
        await socket.send(m.encode(m.Flush("a")))
        await heard_until(socket, m.Flushed)
        await socket.send(m.encode(m.Confirm(2)))
        await socket.send(LAMP)
        await heard_until(socket, m.SpeechStart)
        for seq in (1, 99):
            heard, code = await said_to(running.url, resume(ready, seq))
            assert (errors(heard), code) == ([("no_session", True)], 4404)
        heard, code = await said_to(running.url, START, m.encode(m.Confirm(1)))
        assert (errors(heard), code) == ([("bad_request", True)], 4400)


@in_clock
async def test_a_silent_client_may_come_back(clock: Clock) -> None:
    async with service() as running:
        socket, ready = await begun(running)
        await clock.wait(ServerConfig().idle_timeout_s)
        heard, code = await said(socket)
        assert (errors(heard), code) == ([("timeout", True)], 4408)
        socket, _ = await resumed(running, ready)
        await socket.send(STOP)
        assert (await said(socket))[1] == 1000
