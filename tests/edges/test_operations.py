"""Health, metrics and the log of a server, as those who run it get them."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from streamer import logs
from streamer import messages as m
from streamer.config import LogConfig, ServerConfig
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from streamer.edges.websocket import web
from tests.fakes import FakeModel, speak
from tests.http import ask, get, knock
from tests.serving import Service, errors, finals, in_loop, pcm, said, said_to, service

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))
ELSEWHERE = "X-Forwarded-For: 203.0.113.7"


# --- health ---------------------------------------------------------------------------------------


@in_loop
async def test_a_server_that_works_is_alive_and_ready() -> None:
    async with service() as running:
        for path in ("/healthz", "/readyz"):
            assert (await get(running.server.port, path, ELSEWHERE))[::2] == (200, b"ok\n")
            assert (await ask(running.server.port, "HEAD", path))[::2] == (200, b"")
            assert (await ask(running.server.port, "POST", path))[0] == 405
            assert (await get(running.server.port, path, host="evil.example"))[0] == 421


class Stuck(FakeModel):
    """Its device does not come back until it is told."""

    def __init__(self) -> None:
        super().__init__(slots=4)
        self.told = threading.Event()

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        self.told.wait()
        return super().run(slots, windows)


@in_loop
async def test_a_device_that_does_not_come_back_is_no_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "STEP_LIMIT_S", 0.0)
    model = Stuck()
    async with service(model=model) as running:
        assert (await get(running.server.port, "/healthz"))[0] == 200
        async with connect(running.url) as socket:
            for each in (START, LAMP):
                await socket.send(each)
            try:
                while (await get(running.server.port, "/healthz"))[0] == 200:
                    pass  # until the step has begun
                assert (await get(running.server.port, "/readyz"))[0] == 503
            finally:
                model.told.set()


@in_loop
async def test_an_engine_that_takes_no_sessions_is_not_ready() -> None:
    async with service() as running:
        draining = asyncio.create_task(running.engine.drain(), name="drain")
        await draining
        assert (await get(running.server.port, "/readyz"))[0] == 503


# --- metrics --------------------------------------------------------------------------------------


async def scraped(running: Service, *headers: str) -> dict[str, float]:
    status, fields, body = await get(running.server.port, "/metrics", *headers)
    assert (status, fields["Content-Type"].split(";")[0]) == (200, "text/plain")
    families = text_string_to_metric_families(body.decode())
    return {
        each.name + "".join(f",{label}" for _, label in sorted(each.labels.items())): each.value
        for family in families
        for each in family.samples
    }


@in_loop
async def test_what_was_done_is_counted() -> None:
    seconds = len(LAMP) / 2 / 16_000
    async with service(slots=1) as running:
        before = await scraped(running)
        assert (before["streamer_sessions"], before["streamer_session_slots"]) == (0, 1)
        async with connect(running.url) as socket:
            await socket.send(START)
            await socket.recv()
            _, code = await said_to(running.url, START)
            assert code == 1013
            during = await scraped(running)
            assert (during["streamer_sessions"], during["streamer_connections,stream"]) == (1, 1)
            for each in (LAMP, STOP):
                await socket.send(each)
            async for _ in socket:
                pass
        await said_to(running.url, "no json")
        await knock(running.server.port, "/v1/stream", host="evil.example")
        after = await scraped(running)
        while after["streamer_connections,stream"]:  # the last one is just leaving
            after = await scraped(running)
    assert after["streamer_sessions_opened_total"] == 1
    assert after["streamer_sessions_refused_total"] == 1
    assert after["streamer_audio_received_seconds_total"] == pytest.approx(seconds)
    assert after["streamer_audio_decoded_seconds_total"] == pytest.approx(seconds)
    assert after["streamer_audio_lost_seconds_total"] == 0
    steps = after["streamer_step_seconds_count"]
    assert steps > 0
    assert after["streamer_step_seconds_sum"] > 0
    assert after["streamer_step_seconds_bucket,+Inf"] == steps
    assert after["streamer_batch_size_bucket,1.0"] == after["streamer_batch_size_sum"] == steps
    for code, count in (("1000", 1), ("1013", 1), ("4400", 1)):
        assert after[f"streamer_connections_closed_total,{code},stream"] == count
    assert after["streamer_http_answers_total,421"] == 1
    assert set(before) <= set(after)


@in_loop
async def test_no_peer_makes_a_label() -> None:
    async with service() as running:
        for code in (3_000, 3_999, 4_999):
            async with connect(running.url) as socket:
                await socket.close(code, "a reason")
        for path in ("/x", "/y", "/v1/captions?session=canary"):
            await get(running.server.port, path)
        after = await scraped(running)
        while after["streamer_connections,stream"]:
            after = await scraped(running)
    assert after["streamer_connections_closed_total,other,stream"] == 3
    assert not any(word in name for name in after for word in ("canary", "3000", "4999"))


@in_loop
async def test_who_may_read_the_metrics(tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text("the-token-of-prometheus p metrics\nthe-token-of-the-hall hall view\n")
    right, wrong = (
        f"Authorization: Bearer the-token-of-{who}" for who in ("prometheus", "the-hall")
    )
    async with service() as running:
        assert (await get(running.server.port, "/metrics", ELSEWHERE))[0] == 403
    async with service(ServerConfig(port=0, token_file=str(path))) as running:
        port = running.server.port
        assert (await get(port, "/metrics"))[0] == 200
        assert (await get(port, "/metrics", ELSEWHERE))[0] == 401
        assert (await get(port, "/metrics", ELSEWHERE, wrong))[0] == 403
        assert (await get(port, "/metrics", ELSEWHERE, right))[0] == 200
        assert (await get(port, "/metrics", host="evil.example"))[0] == 421


# --- the log --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("streamer")
    before = root.handlers, root.level, ours.level
    yield
    root.handlers = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@in_loop
async def whole_session(tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text("canarytoken-of-the-phones phones\n")
    config = ServerConfig(port=0, token_file=str(path), trusted_proxies=("127.0.0.1",))
    async with service(config) as running:
        bearer = {"Authorization": "Bearer canarytoken-of-the-phones"}
        async with connect(running.url, additional_headers=bearer) as socket:
            start = m.Start(hotwords=("canaryhotword",))
            for each in (m.encode(start), pcm(speak("canaryword is said")), STOP):
                await socket.send(each)
            heard = [m.decode_server(text) async for text in socket]
        assert finals(heard) == ["canaryword is said"]
        assert errors(heard) == [("unsupported", False)]
        async with connect(running.url, additional_headers=bearer) as socket:
            for each in (START, pcm(speak("canaryword")), '{"type":"canarytype"}', "canaryjson"):
                await socket.send(each)
            await said(socket)
        wrong = "Authorization: Bearer canaryguess"
        await knock(running.server.port, "/v1/stream?token=canaryquery", wrong, ELSEWHERE)
        tickets = "Sec-WebSocket-Protocol: streamer.v1, ticket.canaryticket"
        await knock(running.server.port, "/v1/captions?session=canarysession", tickets, ELSEWHERE)


def test_json_lines_say_who_came_and_never_what_was_said(
    capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    logs.configure(LogConfig("json", "debug"))
    whole_session(tmp_path)
    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    opened = [each for each in lines if each["event"] == "websocket open"]
    closed = [each for each in lines if each["event"] == "websocket closed"]
    assert [each["code"] for each in closed] == [1000, 4400]
    assert {each["client"] for each in (*opened, *closed)} == {"phones"}
    assert all(each["level"] == "INFO" and each["time"].endswith("+00:00") for each in closed)
    assert [each["address"] for each in lines if each["event"] == "wrong token"] == [
        "203.0.113.7"
    ] * 2
    assert "canary" not in written.lower()


def test_text_lines_are_one_line_each(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    logs.configure(LogConfig("text", "info"))
    whole_session(tmp_path)
    written = capsys.readouterr().err
    assert "INFO websocket closed kind=stream client=phones" in written
    assert "canary" not in written.lower()


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    logs.configure(LogConfig("text", "error"))
    whole_session(tmp_path)
    assert capsys.readouterr().err == ""
