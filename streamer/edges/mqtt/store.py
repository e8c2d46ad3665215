"""Messages that a broker has not acknowledged yet, on disk and in order.

Owns the file, its limit and the one thread that touches it: a slow disk makes the caller of `put`
wait, never the event loop. Must not know: brokers, topics, what a payload says.

A crash of the process loses nothing that `put` has returned for; a power cut may lose the last
moments, since not every message is worth a flush of the disk.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")
BUSY_S = 1.0  # how long another process may hold the file before it counts as in use

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


class StoreError(Exception):
    """The file cannot be opened, read or written, in one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that waits; ids rise in the order of `put`."""

    id: int
    topic: str
    payload: str


class Store:
    """`async with Store(path, max_messages) as store:` keeps messages until they are removed.

    At its limit the oldest message makes room for the newest. The file holds transcripts: it is
    readable by its owner only. One process at a time.
    """

    def __init__(self, path: Path, max_messages: int) -> None:
        self.count = 0  # messages that wait; the thread writes it, others read it
        self.lost = 0  # messages that had to make room, likewise
        self._path, self._max_messages = path, max_messages
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt store")
        self._database: sqlite3.Connection

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._open)
        except StoreError:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def put(self, key: str, topic: str, payload: str) -> None:
        """Append a message; returns when it is on disk. A key that is there already: no effect."""
        await self._run(self._put, key, topic, payload)

    async def head(self, limit: int) -> list[Kept]:
        """The oldest messages, at most `limit` of them."""
        return await self._run(self._head, limit)

    async def remove(self, message: Kept) -> None:
        """Forget a message."""
        await self._run(self._remove, message.id)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, work, *arguments)
        try:
            return await asyncio.shield(running)
        except sqlite3.Error as error:
            raise StoreError(f"the MQTT outbox {self._path}: {error}") from error
        except OSError as error:
            raise StoreError(f"the MQTT outbox {self._path}: {error.strerror}") from error

    # --- in the thread ----------------------------------------------------------------------------

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            self._database.executescript(SCHEMA)
            rows = self._database.execute("SELECT count(*) FROM message")
            self.count = int(rows.fetchone()[0])
        except sqlite3.Error:
            self._database.close()
            raise

    def _close(self) -> None:
        self._database.close()

    def _put(self, key: str, topic: str, payload: str) -> None:
        added = self._database.execute(
            "INSERT OR IGNORE INTO message (key, topic, payload) VALUES (?, ?, ?)",
            (key, topic, payload),
        )
        self.count += added.rowcount
        while self.count > self._max_messages:
            self._database.execute("DELETE FROM message WHERE id = (SELECT min(id) FROM message)")
            self.count -= 1
            self.lost += 1

    def _head(self, limit: int) -> list[Kept]:
        rows = self._database.execute(
            "SELECT id, topic, payload FROM message ORDER BY id LIMIT ?", (limit,)
        )
        return [Kept(*row) for row in rows]

    def _remove(self, number: int) -> None:
        removed = self._database.execute("DELETE FROM message WHERE id = ?", (number,))
        self.count -= removed.rowcount
