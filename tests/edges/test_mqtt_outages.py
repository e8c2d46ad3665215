"""MQTT: a broker that is killed, held and cut off, and every final all the same."""

import asyncio
import logging
import random
import sqlite3
import stat
from collections import defaultdict
from pathlib import Path

import pytest

from tests.brokers import mosquitto, subscriber
from tests.chaos import Wire
from tests.edges.over_mqtt import FINALS, once, publishing, quick_retries, said, spoken, told
from tests.serving import in_loop

__all__ = ["quick_retries"]  # a fixture


@in_loop
async def test_finals_of_an_outage_arrive_once_and_in_order(tmp_path: Path) -> None:
    """The line opens again when the subscriber is there: the broker itself keeps nothing."""
    async with (
        mosquitto() as server,
        Wire(server.port) as joined,
        publishing(joined.port, tmp_path) as engine,
    ):
        async with subscriber(server.port, FINALS) as heard:
            sessions = [await spoken(engine, "a", "before")]
            before = [await heard.until(FINALS)]
        await joined.shut()
        await server.kill()
        outage = (("while it", "is dead"), ("and", "still"))
        sessions += [await spoken(engine, "a", *texts) for texts in outage]
        await server.start()
        async with subscriber(server.port, FINALS) as heard:
            await joined.listen()
            sessions.append(await spoken(engine, "a", "and after"))
            while len(once(before + heard.bodies(FINALS))) < 6:
                await heard.until(FINALS)
    of_session = defaultdict(list)  # each session's are in order; it has a task of its own
    for body in once(before + heard.bodies(FINALS)):
        of_session[body["session"]].append(body)
    assert sorted(map(said, of_session.values())) == sorted(map(told, sessions))


@in_loop
async def test_finals_outlive_the_process(tmp_path: Path) -> None:
    async with mosquitto() as server, Wire(server.port) as joined:
        await joined.shut()
        async with publishing(joined.port, tmp_path) as engine:
            events = await spoken(engine, "a", "nobody", "hears this")
        path = tmp_path / "outbox.db"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with subscriber(server.port, "streamer/out/+/+") as heard:
            await joined.listen()
            async with publishing(joined.port, tmp_path):
                await heard.until("streamer/out/a/closed")
        with sqlite3.connect(path) as database:
            rows = database.execute("SELECT count(*) FROM message").fetchone()
        database.close()
    assert said(heard.bodies(FINALS)) == told(events)
    assert rows == (0,)


@in_loop
async def test_a_full_outbox_loses_the_oldest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with mosquitto() as server, Wire(server.port) as joined:
        await joined.shut()
        async with publishing(joined.port, tmp_path, max_outbox_messages=3) as engine:
            await spoken(engine, "a", *"abcdef")
            async with subscriber(server.port, "streamer/out/#") as heard:
                await joined.listen()
                closed = await heard.until("streamer/out/a/closed")
    assert [each["text"] for each in heard.bodies(FINALS)] == ["e", "f"]
    assert closed["utterances"] == 6
    assert caplog.text.count("the outbox is full") == 1


@pytest.mark.parametrize("seed", range(3))
def test_cuts_at_any_moment_lose_nothing_and_change_no_order(tmp_path: Path, seed: int) -> None:
    """At least once: a message in flight at the cut may come again, under its own key."""
    rng = random.Random(seed)
    names = ["a", "b", "c"]
    texts = {name: [f"{name} {word}" for word in "abcdefghij"] for name in names}

    @in_loop
    async def scenario() -> None:
        async with mosquitto() as server, Wire(server.port) as joined:
            topics = ("streamer/out/+/final", "streamer/out/+/closed")
            async with (
                subscriber(server.port, *topics) as heard,
                publishing(joined.port, tmp_path) as engine,
                asyncio.TaskGroup() as tasks,
            ):
                speaking = {
                    name: tasks.create_task(spoken(engine, name, *texts[name]), name=name)
                    for name in names
                }
                for _ in range(6):
                    for _ in range(rng.randint(0, 4)):
                        await heard.until("streamer/out/+/final")
                    await joined.shut()
                    await joined.listen()
                while len({b["session"] for b in heard.bodies("streamer/out/+/closed")}) < 3:
                    await heard.until("streamer/out/+/closed")
            for name in names:
                finals = once(heard.bodies(f"streamer/out/{name}/final"))
                assert said(finals) == told(speaking[name].result())

    scenario()


@in_loop
async def test_a_broker_that_hangs_delays_no_session(tmp_path: Path) -> None:
    async with mosquitto() as server, subscriber(server.port, "streamer/#") as heard:
        async with publishing(server.port, tmp_path) as engine:
            await heard.until("streamer/status")
            server.hold()
            try:
                events = await spoken(engine, "a", *(f"number {c}" for c in "abcdefgh"))
                assert len(told(events)) == 8
            finally:
                server.go_on()
            await heard.until("streamer/out/a/closed")
        assert said(heard.bodies(FINALS)) == told(events)


@in_loop
async def test_no_broker_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with mosquitto() as server, Wire(server.port) as joined:
        await joined.shut()
        async with publishing(joined.port, tmp_path) as engine:
            await spoken(engine, "a", *(f"the canary {c}" for c in "abcdefgh"))
            async with subscriber(server.port, FINALS) as heard:
                await joined.listen()
                await heard.until(FINALS)
    told_of = [each.getMessage() for each in caplog.records if "mqtt" in each.getMessage()]
    assert len(told_of) == 2
    assert f"mqtt://127.0.0.1:{joined.port}" in told_of[0]
    assert "connected" in told_of[1]
    assert "canary" not in caplog.text
    assert "Traceback" not in caplog.text
