"""Messages that a broker has not acknowledged yet, on disk and in order.

Owns the file, its limit, what happens when the disk fails, and the one thread that touches it: a
slow disk makes the caller of `put` wait, never the event loop. Must not know: brokers, topics, what
a payload says.

A crash of the process loses nothing that `put` has returned for; a power cut may lose the last
moments, since not every message is worth a flush of the disk. While the disk takes nothing, as when
it is full, messages wait in memory, behind those on disk.
"""

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")
BUSY_S = 1.0  # how long another process may hold the file before it counts as in use
MAX_IN_MEMORY = 1_000  # messages, while the disk takes none; one more loses the oldest of them

SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL
);
"""

logger = logging.getLogger(__name__)


class StoreError(Exception):
    """The file cannot be opened, in one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that waits; no two have the same key."""

    key: str
    topic: str
    payload: str


class Store:
    """`async with Store(path, max_messages) as store:` keeps messages until they are removed.

    At its limit the oldest message makes room for the newest. The file holds transcripts: it is
    readable by its owner only. One process at a time. A damaged file is set aside, and what can
    still be read of it is kept.
    """

    def __init__(self, path: Path, max_messages: int) -> None:
        self.count = 0  # messages that wait; the thread writes it, others read it
        self.lost = 0  # messages that had to make room, likewise
        self._path, self._max_messages = path, max_messages
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt store")
        self._database: sqlite3.Connection
        self._on_disk = 0  # messages
        self._in_memory: deque[Kept] = deque()  # behind those on disk
        self._gone: set[str] = set()  # keys on disk that are removed, but could not be deleted
        self._is_failing = False

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._open)
        except sqlite3.Error as error:
            self._thread.shutdown()
            raise StoreError(f"the MQTT outbox {self._path}: {error}") from error
        except OSError as error:
            self._thread.shutdown()
            raise StoreError(f"the MQTT outbox {self._path}: {error.strerror}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def put(self, key: str, topic: str, payload: str) -> None:
        """Append a message; returns when it is on disk. A key that is there already: no effect."""
        await self._run(self._put, Kept(key, topic, payload))

    async def head(self, limit: int) -> list[Kept]:
        """The oldest messages, at most `limit` of them."""
        return await self._run(self._head, limit)

    async def remove(self, messages: Iterable[Kept]) -> None:
        """Forget messages."""
        await self._run(self._remove, [each.key for each in messages])

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        return await asyncio.shield(running)

    # --- in the thread ----------------------------------------------------------------------------

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._connect()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._begin_anew()

    def _connect(self) -> None:
        self._database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            self._database.executescript(SCHEMA)
            (found,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise _Damage(found)
            rows = self._database.execute("SELECT count(*) FROM message")
            self._on_disk = self.count = int(rows.fetchone()[0])
        except sqlite3.Error as error:
            if not _is_damage(error):
                self._database.close()
            raise

    def _begin_anew(self) -> None:
        """Set a damaged file aside and keep, in a new one, what can be read of it."""
        saved = []
        with suppress(sqlite3.Error):
            for row in self._database.execute("SELECT key, topic, payload FROM message"):
                saved.append(Kept(*row))  # noqa: PERF401 (those before an error count)
        self._database.close()
        aside = self._path.with_name(f"{self._path.name}.damaged")
        self._path.replace(aside)
        for end in ("-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connect()
        self._in_memory.extendleft(reversed([e for e in saved if e.key not in self._gone]))
        self._gone.clear()
        text = "mqtt: the outbox %s was damaged: %d messages could be read, the file is now %s"
        logger.warning(text, self._path, len(saved), aside)
        self._spill()
        self._recount()

    def _close(self) -> None:
        self._attempt(self._spill)
        self._database.close()
        if self._in_memory:
            logger.error("mqtt: %d messages are lost with the disk", len(self._in_memory))

    def _put(self, message: Kept) -> None:
        is_done = self._attempt(self._spill, message)
        if not is_done and all(each.key != message.key for each in self._in_memory):
            self._in_memory.append(message)
            if len(self._in_memory) > MAX_IN_MEMORY:
                self._in_memory.popleft()
                self.lost += 1
        self._recount()

    def _head(self, limit: int) -> list[Kept]:
        rows: list[Kept] = []

        def read() -> None:
            text = "SELECT key, topic, payload FROM message ORDER BY id LIMIT ?"
            found = self._database.execute(text, (limit + len(self._gone),))
            rows.extend(each for row in found if (each := Kept(*row)).key not in self._gone)

        if not self._attempt(read):
            rows.clear()  # they stay on disk, and the next start may read them
        if not rows:
            self._on_disk = 0
            self._gone.clear()
            self._recount()
        return [*rows, *self._in_memory][:limit]

    def _remove(self, keys: list[str]) -> None:
        in_memory = {each.key for each in self._in_memory}
        self._gone.update(key for key in keys if key not in in_memory)
        self._in_memory = deque(each for each in self._in_memory if each.key not in keys)
        self._attempt(self._spill)
        self._recount()

    def _spill(self, *new: Kept) -> None:
        """Bring the disk up to date, all or nothing."""
        waiting = (*self._in_memory, *new)
        lost = 0
        self._database.execute("BEGIN")
        try:
            change = self._database.execute
            text = "INSERT OR IGNORE INTO message (key, topic, payload) VALUES (?, ?, ?)"
            count = self._on_disk
            for each in waiting:
                count += change(text, (each.key, each.topic, each.payload)).rowcount
            for key in self._gone:
                count -= change("DELETE FROM message WHERE key = ?", (key,)).rowcount
            lost = max(0, count - self._max_messages)
            oldest = "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?)"
            if lost:
                change(oldest, (lost,))
            change("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._on_disk = count - lost
        self.lost += lost
        self._in_memory.clear()
        self._gone.clear()
        if self._is_failing:
            self._is_failing = False
            logger.warning("mqtt: the outbox %s is in use again", self._path)

    def _attempt(self, work: Callable[..., None], *arguments: Kept) -> bool:
        """Whether the disk did it; the first failure of many is logged, as is their end."""
        try:
            try:
                work(*arguments)
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._begin_anew()
                work(*arguments)
        except (sqlite3.Error, OSError) as error:
            if not self._is_failing:
                self._is_failing = True
                text = "mqtt: the outbox %s: %s; messages wait in memory, at most %d"
                logger.error(text, self._path, error, MAX_IN_MEMORY)
            return False
        return True

    def _recount(self) -> None:
        self.count = self._on_disk - len(self._gone) + len(self._in_memory)


class _Damage(sqlite3.DatabaseError):
    """What the check of a file has found."""


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)  # an extended one: the first byte is the kind
    return isinstance(error, _Damage) or code & 0xFF == sqlite3.SQLITE_CORRUPT
