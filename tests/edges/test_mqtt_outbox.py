"""The outbox of finals: order, limits, and every fault of process, disk and file."""

import asyncio
import json
import random
import resource
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.edges.mqtt import store as stores
from streamer.edges.mqtt.store import Kept, Store, StoreError
from tests.brokers import mosquitto, subscriber
from tests.chaos import Wire
from tests.commands import ROOT
from tests.edges.over_mqtt import once, publishing, quick_retries, spoken
from tests.serving import in_loop
from tests.speaker import UTTERANCES

__all__ = ["quick_retries"]  # a fixture
PAGE_BYTES = 4_096


def numbered(numbers: range, size: int = 1) -> list[Kept]:
    return [Kept(f"s/{number}", "topic", f"{number}".rjust(size)) for number in numbers]


async def put(store: Store, messages: list[Kept]) -> None:
    for each in messages:
        await store.put(each.key, each.topic, each.payload)


@in_loop
async def test_the_store_keeps_order_and_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "outbox.db"
    async with Store(path, max_messages=5) as store:
        await put(store, numbered(range(2)))
        await put(store, numbered(range(1, 4)))
        assert (store.count, store.lost) == (4, 0)
        await put(store, numbered(range(4, 8)))
        assert (store.count, store.lost) == (5, 3)
        first = await store.head(1)
        await store.remove(first)
        await store.remove(first)
        with pytest.raises(StoreError, match="locked"):
            async with Store(path, max_messages=5):
                pass
    async with Store(path, max_messages=5) as store:
        assert await store.head(99) == numbered(range(4, 8))
        assert store.count == 4
        assert await store.head(2) == numbered(range(4, 6))


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond so much: the system refuses the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@in_loop
async def test_a_full_disk_loses_nothing_while_memory_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    expected = numbered(range(12), size=PAGE_BYTES)
    async with Store(path, max_messages=99) as store:
        await put(store, expected[:4])
        written = path.with_name("outbox.db-wal").stat().st_size
        with full_disk(written):
            await put(store, expected[4:8])
            await put(store, expected[6:7])  # again: no effect
            assert store.count == 8
            assert await store.head(99) == expected[:8]
            await store.remove([expected[0], expected[5]])
            assert await store.head(99) == [*expected[1:5], *expected[6:8]]
            assert store.count == 6
        await put(store, expected[8:])
        assert await store.head(3) == expected[1:4]
        assert (store.count, store.lost) == (10, 0)
    async with Store(path, max_messages=99) as store:
        assert await store.head(99) == [*expected[1:5], *expected[6:]]
    told = [each.getMessage() for each in caplog.records]
    assert len(told) == 2
    assert "messages wait in memory" in told[0]
    assert "is in use again" in told[1]


@in_loop
async def test_memory_has_a_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_IN_MEMORY", 3)
    messages = numbered(range(6), size=PAGE_BYTES)
    async with Store(tmp_path / "outbox.db", max_messages=99) as store:
        await put(store, messages[:1])
        with full_disk(tmp_path.joinpath("outbox.db-wal").stat().st_size):
            await put(store, messages[1:])
        assert (store.count, store.lost) == (4, 2)
        assert await store.head(9) == [messages[0], *messages[3:]]


@in_loop
async def test_a_session_does_not_notice_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Finals of a disk that takes nothing still reach a broker that is there."""
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/#") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        with full_disk(tmp_path.joinpath("outbox.db-wal").stat().st_size):
            async with engine.open_session(name="a") as session:
                await session.flush()
                await session.finish()
                async for _ in session:
                    pass
            assert (await heard.until("streamer/out/a/closed"))["utterances"] == 0
        assert len(heard.bodies("streamer/out/a/closed")) == 1
        assert "messages wait in memory" in caplog.text


@pytest.mark.parametrize("page", [0.3, 0.6, 0.9])
@in_loop
async def test_a_damaged_file_is_set_aside_and_read_as_far_as_it_goes(
    tmp_path: Path, page: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    messages = numbered(range(60), size=PAGE_BYTES // 2)
    async with Store(path, max_messages=99) as store:
        await put(store, messages)
    content = bytearray(path.read_bytes())
    at = round(page * len(content) / PAGE_BYTES) * PAGE_BYTES
    content[at : at + PAGE_BYTES] = random.Random(7).randbytes(PAGE_BYTES)
    path.write_bytes(content)
    new = numbered(range(60, 62))
    async with Store(path, max_messages=99) as store:
        kept = await store.head(99)
        await put(store, new)
        assert store.count == len(kept) + 2
    assert 0 < len(kept) < 60
    assert kept == messages[: len(kept)]
    async with Store(path, max_messages=99) as store:
        assert await store.head(99) == [*kept, *new]
    assert path.with_name("outbox.db.damaged").read_bytes() == content
    assert caplog.text.count("was damaged") == 1


@in_loop
async def test_a_file_that_is_damaged_while_it_is_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    messages = numbered(range(60), size=PAGE_BYTES // 2)
    async with Store(path, max_messages=99) as store:
        await put(store, messages)
    async with Store(path, max_messages=99) as store:  # nothing of it is in its cache
        with path.open("r+b") as file:
            file.seek(40 * PAGE_BYTES)
            file.write(random.Random(7).randbytes(10 * PAGE_BYTES))
        kept = await store.head(99)
        assert kept
        await put(store, numbered(range(60, 61)))
        assert await store.head(99) == [*kept, *numbered(range(60, 61))]
        await store.remove(await store.head(99))
        assert (store.count, await store.head(99)) == (0, [])
    assert kept == messages[: len(kept)]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_a_line_that_breaks_at_any_byte_loses_nothing(tmp_path: Path, seed: int) -> None:
    """A backlog goes out over connections that die after some bytes, within packets too."""
    rng = random.Random(seed)
    messages = numbered(range(60), size=100)
    bodies = [
        Kept(each.key, "streamer/out/a/final", json.dumps({"key": each.key})) for each in messages
    ]

    @in_loop
    async def scenario() -> None:
        async with Store(tmp_path / "outbox.db", max_messages=99) as store:
            await put(store, bodies)
        budgets = [rng.randint(1, 3_000) for _ in range(8)]
        async with (
            mosquitto() as server,
            Wire(server.port, budgets) as joined,
            subscriber(server.port, "streamer/#") as heard,
            publishing(joined.port, tmp_path) as engine,
        ):
            while not heard.bodies("streamer/out/a/final"):
                await heard.until("streamer/#")
            await spoken(engine, "b", "the end")
            await heard.until("streamer/out/b/closed")
        arrived = once(heard.bodies("streamer/out/a/final"))
        assert [each["key"] for each in arrived] == [each.key for each in bodies]

    scenario()


def waiting(path: Path) -> list[str]:
    """The keys in an outbox whose process is dead."""
    with closing(sqlite3.connect(path)) as database:
        return [key for (key,) in database.execute("SELECT key FROM message ORDER BY id")]


@asynccontextmanager
async def speaking(port: int, outbox: Path) -> AsyncIterator[asyncio.StreamReader]:
    """A process of sessions, see tests/speaker.py, and what it prints; killed at the end."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.speaker", f"{port}", f"{outbox}"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        yield child.stdout
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("seed", range(2))
def test_a_server_that_is_killed_leaves_no_hole(tmp_path: Path, seed: int) -> None:
    """Killed anywhere, with and without a broker: what arrives of a session has all before it."""
    rng, outbox = random.Random(seed), tmp_path / "outbox.db"

    @in_loop
    async def scenario() -> None:
        expected: set[str] = set()
        async with (
            mosquitto() as server,
            Wire(server.port) as joined,
            subscriber(server.port, "streamer/out/#") as heard,
        ):
            for is_away in (False, True, False):
                if is_away:
                    await joined.shut()
                async with speaking(joined.port, outbox) as said:
                    for _ in range(rng.randint(1, 4 if is_away else 15)):
                        if is_away:
                            assert await said.readline()
                        else:
                            await heard.until("streamer/out/+/final")
                expected.update(waiting(outbox))
                if is_away:
                    await joined.listen()
            async with publishing(joined.port, tmp_path):
                while not expected <= {each["key"] for each in everything(heard)}:
                    await heard.until("streamer/out/+/+")
            of_session = defaultdict(list)
            for body in once(everything(heard)):
                of_session[body["session"]].append(body)
            assert len(of_session) > 1
            for session, bodies in of_session.items():
                assert [b["key"] for b in bodies] == [f"{session}/{n}" for n in range(len(bodies))]
                texts = [b["text"] for b in bodies if b["type"] == "final"]
                assert texts == list("abcdefgh"[:UTTERANCES])[: len(texts)]

    scenario()


def everything(heard: Any) -> list[Any]:
    return [each for each in heard.bodies("streamer/out/#") if "key" in each]
