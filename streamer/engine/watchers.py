"""Those who want to hear of every session that is opened.

Owns their queues. Must not know: engines, what they do with a session.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass

from streamer.engine.outbox import Outbox
from streamer.engine.session import Session

MAX_UNSEEN = 1_024  # sessions that a watcher has not taken yet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session as its watchers get it, with all its events.

    `id` is random: who knows it was told. `name` is what the owner calls it, perhaps nothing, and
    may be guessed; other sessions may have it too.
    """

    id: str
    name: str
    events: Outbox


class Watchers:
    """At its limit: who has not taken MAX_UNSEEN sessions misses the next, and the log says so."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[Opened]] = []

    def add(self) -> asyncio.Queue[Opened]:
        """What is told from now on, for one reader."""
        queue: asyncio.Queue[Opened] = asyncio.Queue(MAX_UNSEEN)
        self._queues.append(queue)
        return queue

    def tell(self, session: Session, id: str, name: str) -> None:  # noqa: A002 (what it is)
        """A session was opened; id "": a new one, that nobody guesses."""
        id = id or secrets.token_hex(8)  # noqa: A001
        for queue in self._queues:
            if queue.full():
                _log.warning("a watcher is %d sessions behind and misses one", MAX_UNSEEN)
            else:
                queue.put_nowait(Opened(id, name, session.add_outbox()))
