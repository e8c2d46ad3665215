"""Mistakes and ill will of a client: each is answered, and none reaches the others."""

import asyncio
import json

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from tests.clock import Clock, in_clock
from tests.fakes import LABELS, FakeModel, speak
from tests.http import frame
from tests.serving import errors, finals, in_loop, pcm, raw_connection, said, said_to, service

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))


@pytest.mark.parametrize(
    "first",
    [LAMP, STOP, "not json", '{"type":"start","hotwords":"' + "x" * 20_000 + '"}', "[" * 10_000],
)
@in_loop
async def test_a_bad_beginning_gets_an_error_and_a_close_code(first: str) -> None:
    async with service() as running:
        heard, closed_with = await said_to(running.url, first)
        assert errors(heard) == [("bad_request", True)]
        assert closed_with == 4400
        assert running.engine.open_sessions == 0


@in_clock
async def test_no_beginning_is_timed_out(clock: Clock) -> None:
    async with service() as running, connect(running.url) as socket:
        await clock.wait(ServerConfig().start_timeout_s)
        heard, code = await said(socket)
    assert (errors(heard), code) == ([("timeout", True)], 4408)


@in_loop
async def test_a_client_that_falls_silent_is_timed_out_and_frees_its_session() -> None:
    async with service(ServerConfig(port=0, idle_timeout_s=0.05)) as running:
        heard, code = await said_to(running.url, START)
        assert (errors(heard), code) == ([("timeout", True)], 4408)
        assert running.engine.open_sessions == 0


@in_loop
async def test_a_burst_of_flushes_is_answered_one_by_one() -> None:
    names = [str(number) for number in range(900)]
    async with service() as running:
        flushes = [m.encode(m.Flush(name)) for name in names]
        heard, code = await said_to(running.url, START, LAMP, *flushes, STOP)
    assert [each.id for each in heard if isinstance(each, m.Flushed)] == names
    assert (finals(heard), errors(heard), code) == (["turn on the lamp"], [], 1000)


@in_loop
async def test_small_mistakes_leave_the_stream_alive() -> None:
    async with service() as running:
        heard, code = await said_to(
            running.url,
            m.encode(m.Start(hotwords=("lamp",))),
            LAMP,
            '{"type":"sing"}',
            '{"type":"flush","id":3}',
            START,
            STOP,
        )
    codes = ["unsupported", "unknown_type", "bad_request", "bad_request"]
    assert errors(heard) == [(each, False) for each in codes]
    assert (finals(heard), code) == (["turn on the lamp"], 1000)


@in_loop
async def test_text_that_is_no_json_in_mid_stream_ends_it() -> None:
    async with service() as running:
        heard, code = await said_to(running.url, START, LAMP, "{")
        assert (errors(heard), code) == ([("bad_request", True)], 4400)


@in_loop
async def test_the_limit_of_a_text_counts_bytes() -> None:
    start = json.dumps({"type": "start", "note": "ü" * 200}, ensure_ascii=False)
    assert len(start) < 256 < len(start.encode())
    async with service(ServerConfig(port=0, max_text_bytes=256)) as running:
        heard, code = await said_to(running.url, start)
    assert (errors(heard), code) == ([("bad_request", True)], 4400)


@in_loop
async def test_samples_that_are_no_numbers_are_silence_and_said_once() -> None:
    start = m.encode(m.Start(m.AudioFormat("pcm_f32le")))
    bad = np.full(1_600, np.nan, "<f4").tobytes()
    async with service() as running:
        heard, code = await said_to(running.url, start, bad, bad, STOP)
    assert errors(heard) == [("bad_audio", False)]
    assert (heard[-1], code) == (m.Closed(3_200, 0), 1000)


@in_loop
async def test_an_odd_byte_at_the_end_is_told() -> None:
    async with service() as running:
        heard, code = await said_to(running.url, START, LAMP + b"\x00", STOP)
    assert errors(heard) == [("truncated_sample", False)]
    assert (finals(heard), code) == (["turn on the lamp"], 1000)


class Patient(FakeModel):
    """Hears some token in any samples."""

    def read(self, window: Window) -> Frames:
        frames = super().read(window)
        return Frames(frames.token_ids % len(LABELS.tokens), -np.abs(frames.log_probs) % 1 - 1)


@in_loop
async def test_a_mebibyte_of_garbage_is_heard_and_one_byte_more_is_refused() -> None:
    garbage = np.random.default_rng(0).bytes(1 << 20)
    async with service(model=Patient(slots=4)) as running:
        heard, code = await said_to(running.url, START, garbage, STOP)
        assert code == 1000
        assert isinstance(heard[-1], m.Closed)
        assert heard[-1].received == 1 << 19
        heard, code = await said_to(running.url, START, garbage + b"\x00")
        assert code == 1009
        heard, code = await said_to(running.url, START, LAMP, STOP)
        assert finals(heard) == ["turn on the lamp"]


@in_loop
async def test_too_many_sessions_are_refused_with_a_time_to_come_back() -> None:
    async with service(slots=1) as running, connect(running.url) as first:
        await first.send(START)
        await first.recv()
        heard, code = await said_to(running.url, START)
        (error,) = heard
        assert isinstance(error, m.Error)
        assert (error.code, error.fatal, code) == ("capacity", True, 1013)
        assert error.retry_after_s is not None
        assert error.retry_after_s > 0
        await first.send(STOP)
        await said(first)
        heard, code = await said_to(running.url, START, LAMP, STOP)
        assert finals(heard) == ["turn on the lamp"]


@in_loop
async def test_too_many_connections_are_refused_by_http() -> None:
    async with service(ServerConfig(port=0, max_connections=1)) as running, connect(running.url):
        with pytest.raises(InvalidStatus) as caught:
            await connect(running.url)
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"]


@in_loop
async def test_a_client_killed_in_mid_word_frees_its_session() -> None:
    async with service(slots=1) as running:
        victim = await connect(running.url)
        await victim.send(START)
        await victim.recv()
        await victim.send(LAMP[: len(LAMP) // 2])
        victim.transport.abort()
        await victim.wait_closed()
        code: int | None = 1013
        while code == 1013:  # until the server has noticed
            heard, code = await said_to(running.url, START, LAMP, STOP)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)
        assert running.engine.open_sessions == 0


@in_loop
async def test_a_client_that_never_reads_is_dropped_and_others_do_not_notice() -> None:
    config = ServerConfig(port=0, send_timeout_s=0.2)
    async with service(config) as running:
        _, writer = await raw_connection(running.server.port)
        flood = frame(0x1, b'{"type":"' + b"x" * 40 + b'"}')  # each is answered by an error
        writer.write(frame(0x1, START.encode()))

        async def pour() -> None:
            while True:
                writer.write(flood * 100)
                await writer.drain()

        pouring = asyncio.create_task(pour(), name="pour")
        heard, code = await said_to(running.url, START, LAMP, STOP)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)
        with pytest.raises(ConnectionError):
            await pouring
    writer.transport.abort()
