"""Viewers of a session's captions: what they see, and when they come."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer import messages as m
from streamer.edges.websocket.broadcast import REMEMBERED_FINALS
from tests.edges.audience import captions, heard_until, say, speaker
from tests.engine.harness import play
from tests.fakes import speak
from tests.serving import Service, errors, finals, in_loop, pcm, said, service

START, STOP, FLUSH = m.encode(m.Start()), m.encode(m.Stop()), m.encode(m.Flush())


@in_loop
async def test_a_viewer_hears_what_was_said_and_then_what_comes() -> None:
    async with service() as running, speaker(running) as (socket, session):
        await say(socket, "one")
        await socket.send(pcm(speak("and more")))
        await heard_until(socket, m.Partial)
        async with connect(captions(running, session)) as viewer:
            snapshot = await heard_until(viewer, m.Partial)
            assert isinstance(snapshot[0], m.Ready)
            assert snapshot[0].session == session
            assert finals(snapshot) == ["one"]
            await socket.send(STOP)
            rest, code = await said(viewer)
        await said(socket)
    assert (finals(rest), code) == (["and more"], 1000)
    assert isinstance(rest[-1], m.Closed)
    assert all(not each.words for each in [*snapshot, *rest] if isinstance(each, m.Final))


@in_loop
async def test_many_viewers_see_the_same() -> None:
    async with service() as running, speaker(running) as (socket, session):
        viewers = [await connect(captions(running, session)) for _ in range(20)]
        await asyncio.gather(*(heard_until(viewer, m.Ready) for viewer in viewers))
        await socket.send(pcm(speak("turn on the lamp")))
        await socket.send(STOP)
        shown = await asyncio.gather(*(said(viewer) for viewer in viewers))
        own, _ = await said(socket)
    assert all(finals(heard) == finals(own) == ["turn on the lamp"] for heard, _ in shown)
    assert {code for _, code in shown} == {1000}


@in_loop
async def test_a_late_viewer_gets_the_last_finals_only() -> None:
    async with service() as running, speaker(running) as (socket, session):
        for _ in range(REMEMBERED_FINALS):
            await say(socket, "old")
        for _ in range(REMEMBERED_FINALS):
            await say(socket, "new")
        async with connect(captions(running, session)) as viewer:
            await heard_until(viewer, m.Ready)
            await socket.send(STOP)
            heard, _ = await said(viewer)
    assert finals(heard) == ["new"] * REMEMBERED_FINALS


@in_loop
async def test_a_session_that_is_not_there_or_vanishes_is_said() -> None:
    async with service() as running:
        async with connect(captions(running, "nobody")) as viewer:
            heard, code = await said(viewer)
        assert (errors(heard), code) == ([("no_session", True)], 4404)
        async with speaker(running) as (socket, session):
            async with connect(captions(running, session)) as viewer:
                await heard_until(viewer, m.Ready)
                socket.transport.abort()
                heard, code = await said(viewer)
            assert (errors(heard), code) == ([("no_session", True)], 4404)


@in_loop
async def test_the_latest_session_and_then_the_next() -> None:
    async with (
        service() as running,
        connect(captions(running, "latest")) as viewer,  # before there is any
    ):
        for text in ("one", "two"):
            async with speaker(running) as (socket, session):
                (ready,) = await heard_until(viewer, m.Ready)
                assert isinstance(ready, m.Ready)
                assert ready.session == session
                await socket.send(pcm(speak(text)))
                await socket.send(STOP)
                assert finals(await heard_until(viewer, m.Closed)) == [text]
                await said(socket)


@in_loop
async def test_a_viewer_only_listens() -> None:
    async with (
        service() as running,
        speaker(running) as (_, session),
        connect(captions(running, session)) as viewer,
    ):
        await heard_until(viewer, m.Ready)
        await viewer.send(STOP)
        heard, code = await said(viewer)

    assert (errors(heard), code) == ([("bad_request", True)], 4400)


@in_loop
async def test_a_server_that_ends_shows_the_last_words_first() -> None:
    async with service() as running:
        waiting = await connect(captions(running, "latest"))
        socket = await connect(running.url)
        await socket.send(START)
        (ready,) = await heard_until(waiting, m.Ready)
        assert isinstance(ready, m.Ready)
        viewer = await connect(captions(running, ready.session))
        await heard_until(viewer, m.Ready)
        await socket.send(pcm(speak("good bye")))
        await heard_until(socket, m.Partial)
    for each in (socket, viewer, waiting):
        heard, code = await said(each)
        assert (finals(heard), code) == (["good bye"], 1012)


@in_loop
async def test_a_server_that_ends_lets_a_waiting_viewer_go() -> None:
    async with service() as running:
        viewer = await connect(captions(running, "latest"))
    assert await said(viewer) == ([], 1012)


# --- sessions of other edges ----------------------------------------------------------------------


def source(running: Service, name: str) -> str:
    return f"ws://127.0.0.1:{running.server.port}/v1/captions?source={name}"


@in_loop
async def test_a_source_is_followed_by_its_name_over_its_sessions() -> None:
    async with service() as running, connect(source(running, "hall")) as viewer:
        ids = []
        for number, text in enumerate(("one", "two")):
            await play(running.engine.open_session(name="attic"), [speak("not this")])
            await play(running.engine.open_session(name="hall"), [speak(text)])
            heard = await heard_until(viewer, m.Closed)
            assert isinstance(heard[0], m.Ready)
            assert (finals(heard), number) == ([text], len(ids))
            ids.append(heard[0].session)
        assert len(set(ids)) == 2


@in_loop
async def test_a_name_is_no_id_and_an_id_is_enough() -> None:
    """Whoever knows only a source's name must be on this machine; the id is random."""
    far = {"X-Forwarded-For": "10.0.0.9"}
    async with service() as running:
        opened = running.engine.watch()
        async with running.engine.open_session(name="hall") as session:
            known = opened.get_nowait()
            assert known.name == "hall"
            for url in (source(running, "hall"), f"{source(running, 'hall')}&session={known.id}"):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url, additional_headers=far)
                assert refused.value.response.status_code == 403
            async with connect(captions(running, "hall"), additional_headers=far) as viewer:
                heard, code = await said(viewer)
            assert (errors(heard), code) == ([("no_session", True)], 4404)
            url = captions(running, known.id)
            async with connect(url, additional_headers=far) as viewer:
                await heard_until(viewer, m.Ready)
                await session.send(speak("hello"))
                await session.finish()
                async for _ in session:
                    pass
                heard, code = await said(viewer)
    assert (finals(heard), code) == (["hello"], 1000)


@in_loop
async def test_a_server_that_ends_leaves_the_sessions_of_others() -> None:
    async with service() as running:
        opened = running.engine.watch()
        session = running.engine.open_session(name="hall")
        viewers = [
            await connect(url)
            for url in (captions(running, opened.get_nowait().id), source(running, "hall"))
        ]
        for viewer in viewers:
            await heard_until(viewer, m.Ready)
        await session.send(speak("still here"))
        await running.server.__aexit__(None, None, None)
        for viewer in viewers:
            heard, code = await said(viewer)
            assert (errors(heard), code) == ([], 1012)
        assert not session.is_over
        await session.finish()
