"""Every line of the table of answers in docs/deployment.md, over a real socket.

Each error says by `retryable` and `resume` what may be done, and the close code belongs to it.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from streamer.edges.websocket import conversations, guard
from streamer.edges.websocket.journal import Journal
from streamer.edges.websocket.peer import ENDINGS
from tests.clock import Clock, in_clock
from tests.fakes import FakeModel, speak
from tests.serving import errors, finals, in_loop, pcm, said, said_to, service

START, STOP = m.Start(), m.encode(m.Stop())
KEPT = m.encode(m.Start(resume=True))
LAMP = pcm(speak("turn on the lamp"))
FLOATS = m.AudioFormat("pcm_f32le")
DOCS = Path(__file__).parents[2] / "docs" / "deployment.md"


class Broken(FakeModel):
    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        raise RuntimeError("the device is on fire")


def ended(heard: list[m.ServerMessage], code: int | None) -> tuple[str, int | None, bool, bool]:
    """Code, close code, `retryable` and `resume` of the error that ended it."""
    last = heard[-1]
    assert isinstance(last, m.Error)
    assert last.fatal
    assert last.retryable is not None
    assert last.resume is not None
    return last.code, code, last.retryable, last.resume


def wanting(**changes: object) -> str:
    return m.encode(replace(START, **changes))  # type: ignore[arg-type]


def with_rate(rate: str) -> str:
    return '{"type":"start","audio":{"sample_rate":' + rate + "}}"


# --- one message is enough ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["no json"], ("bad_request", 4400, False, False)),
        ([m.encode(m.Resume("x", "y"))], ("no_session", 4404, True, False)),
        ([wanting(model="another")], ("no_model", 4404, False, False)),
        ([wanting(model="../fake")], ("no_model", 4404, False, False)),
        (
            [wanting(model="x" * 128).replace("x" * 128, "x" * 129)],
            ("bad_request", 4400, False, False),
        ),
        (['{"type":"start","audio":7}'], ("bad_request", 4400, False, False)),
        *(
            ([with_rate(rate)], ("unsupported_audio", 4415, False, False))
            for rate in ("0", "-1", "1e9", "192000", '"16000"', "true", "9" * 4_000)
        ),
        (
            ['{"type":"start","audio":{"encoding":"mp3"}}'],
            ("unsupported_audio", 4415, False, False),
        ),
        (['{"type":"start","audio":{"channels":99}}'], ("unsupported_audio", 4415, False, False)),
        (
            [wanting(audio=FLOATS), np.full(16_000, np.nan, "<f4").tobytes()],
            ("bad_audio", 4422, False, False),
        ),
    ],
)
@in_loop
async def test_mistakes(sent: list[str | bytes], expected: tuple[str, int, bool, bool]) -> None:
    async with service() as running:
        assert ended(*await said_to(running.url, *sent)) == expected
        heard, code = await said_to(running.url, wanting(model="fake"), LAMP, STOP)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)  # nobody else has noticed


@pytest.mark.parametrize(("bad", "code"), [(160, 1000), (161, 4422)])
@in_loop
async def test_one_sample_in_a_hundred_may_be_no_number(bad: int, code: int) -> None:
    samples = np.zeros(16_000, "<f4")
    samples[:bad] = np.nan
    async with service() as running:
        heard, told = await said_to(running.url, wanting(audio=FLOATS), samples.tobytes(), STOP)
    assert (errors(heard)[-1], told) == (("bad_audio", code != 1000), code)


@pytest.mark.parametrize("encoding", ["ogg_opus", "webm_opus"])
@in_loop
async def test_containers_need_pyav(encoding: m.Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.container.find_spec", lambda _: None)
    async with service() as running:
        heard, code = await said_to(running.url, wanting(audio=m.AudioFormat(encoding)))
        assert ended(heard, code) == ("unsupported_audio", 4415, False, False)
        assert "needs PyAV on the server" in cast("m.Error", heard[0]).message
        assert running.engine.open_sessions == 0


@in_loop
async def test_a_failing_engine_is_our_fault() -> None:
    async with service(model=Broken(slots=4)) as running:
        told = ended(*await said_to(running.url, KEPT, LAMP, STOP))
    assert told == ("internal", 1011, True, False)


@in_loop
async def test_no_room() -> None:
    async with service(slots=1) as running, connect(running.url) as first:
        await first.send(wanting())
        await first.recv()
        heard, code = await said_to(running.url, KEPT)
    assert ended(heard, code) == ("capacity", 1013, True, False)
    assert cast("m.Error", heard[-1]).retry_after_s


@pytest.mark.parametrize("is_kept", [False, True])
@in_clock
async def test_silence(clock: Clock, is_kept: bool) -> None:
    async with service() as running, connect(running.url) as socket:
        await socket.send(wanting(resume=is_kept))
        await socket.recv()
        await clock.wait(ServerConfig().idle_timeout_s)
        assert ended(*await said(socket)) == ("timeout", 4408, True, is_kept)


class Unread(Journal):
    """Its reader comes when it is too late."""

    async def next(self) -> tuple[int | None, m.Event | m.Configured | m.Append]:
        while self._error is None:
            self._changed.clear()
            await self._changed.wait()
        return await super().next()


@in_loop
async def test_events_that_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "Journal", Unread)
    config = ServerConfig(port=0, max_messages_per_s=8, max_unconfirmed_events=16)
    async with service(config) as running:
        flushes = [m.encode(m.Flush("a"))] * 20
        told = ended(*await said_to(running.url, KEPT, *flushes))
    assert told == ("too_slow", 4408, True, False)


@in_loop
async def test_a_session_that_another_connection_has() -> None:
    async with service() as running, connect(running.url) as first, connect(running.url) as second:
        await first.send(KEPT)
        ready = m.decode_server(await first.recv(decode=True))
        assert isinstance(ready, m.Ready)
        await second.send(m.encode(m.Resume(ready.session, str(ready.token))))
        assert ended(*await said(first)) == ("resumed_elsewhere", 4409, False, False)


# --- pace -----------------------------------------------------------------------------------------


@in_clock
async def test_audio_that_comes_too_fast_may_go_on_later(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_AHEAD_S", len(LAMP) / 32_000 / 2)
    async with service(ServerConfig(port=0, max_speed=1.0)) as running:
        heard, code = await said_to(running.url, KEPT, LAMP, LAMP)
        assert ended(heard, code) == ("too_fast", 4429, True, True)
        error, ready = cast("m.Error", heard[-1]), cast("m.Ready", heard[0])
        assert error.retry_after_s
        async with connect(running.url) as socket:
            await socket.send(m.encode(m.Resume(ready.session, str(ready.token))))
            answer = m.decode_server(await socket.recv(decode=True))
            assert isinstance(answer, m.Resumed)
            assert len(LAMP) / 2 < answer.audio_bytes < 2 * len(LAMP)
            await clock.wait(error.retry_after_s)
            await socket.send((LAMP + LAMP)[answer.audio_bytes :][: len(LAMP) // 4])
            await socket.send(STOP)
            heard, code = await said(socket)
        assert (errors(heard), code) == ([], 1000)


@in_loop
async def test_without_a_limit_a_file_is_heard_as_fast_as_it_comes() -> None:
    async with service() as running:
        heard, code = await said_to(running.url, wanting(), *[LAMP] * 60, STOP)
    assert (errors(heard), code) == ([], 1000)


# --- goaway ---------------------------------------------------------------------------------------


@in_clock
async def test_a_session_does_not_last_for_ever(clock: Clock) -> None:
    """It is told, may finish what it says, has every final, and then the close code says why."""
    config = ServerConfig(port=0, max_session_s=3_600, idle_timeout_s=3_600)
    async with service(config) as running, connect(running.url) as socket:
        for each in (KEPT, LAMP[:8_000]):
            await socket.send(each)
        heard = [m.decode_server(await socket.recv(decode=True))]
        await clock.wait(3_540)
        while not isinstance(heard[-1], m.GoAway):
            heard.append(m.decode_server(await socket.recv(decode=True)))
        goaway = heard[-1]
        assert (goaway.code, goaway.retryable, goaway.resume) == ("too_long", True, False)
        assert goaway.time_left_s == 60
        await socket.send(LAMP[8_000:])
        while not isinstance(heard[-1], m.Ack) or heard[-1].received < len(LAMP) // 2 - 4_000:
            heard.append(m.decode_server(await socket.recv(decode=True)))
        await clock.wait(1)  # it says no more
        rest, code = await said(socket)
    heard += rest
    assert (finals(heard), code) == (["turn on the lamp"], 4413)
    assert isinstance(heard[-1], m.Closed)


@in_loop
async def test_a_session_with_a_limit_that_ends_before_does_not_hear_of_it() -> None:
    async with service(ServerConfig(port=0, max_session_s=3_600)) as running:
        heard, code = await said_to(running.url, wanting(), LAMP, STOP)
    assert code == 1000
    assert not any(isinstance(each, m.GoAway) for each in heard)


@in_loop
async def test_a_server_that_ends_says_so_first() -> None:
    running = service()
    serving = await running.__aenter__()
    async with connect(serving.url) as socket:
        await socket.send(KEPT)
        await socket.send(LAMP)
        heard: list[m.ServerMessage] = []
        while not any(isinstance(each, m.Ack) and each.received > 4_000 for each in heard):
            heard.append(m.decode_server(await socket.recv(decode=True)))
        leaving = asyncio.create_task(running.__aexit__(None, None, None), name="leave")
        rest, code = await said(socket)
        await leaving
    (goaway,) = [each for each in rest if isinstance(each, m.GoAway)]
    assert (goaway.code, goaway.retryable, goaway.resume) == ("restart", True, False)
    assert goaway.retry_after_s
    assert 0 < goaway.time_left_s <= ServerConfig().drain_timeout_s
    assert (isinstance(rest[-1], m.Closed), code) == (True, 1012)


# --- the table ------------------------------------------------------------------------------------


def test_the_table_in_the_docs_is_the_one_that_is_served() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \|.*\| (yes|no)[^|]* \| (yes|no)[^|]* \|$", DOCS.read_text(), re.M
    )
    told = {
        name: (int(code), retry == "yes", resume == "yes") for name, code, retry, resume in rows
    }
    assert told == {
        name: (each.close_code, each.retryable, each.resumable) for name, each in ENDINGS.items()
    }
