"""Every session's events, as JSON under `PREFIX/out/NAME/…`.

Owns the topics and payloads that docs/mqtt.md describes, and which of the broker's ways out each
event takes. Must not know: where a session's audio comes from.
"""

import asyncio
import json
import logging
import re

from streamer import messages
from streamer.edges.mqtt.broker import Broker
from streamer.engine.engine import Engine
from streamer.engine.errors import SessionError
from streamer.engine.watchers import Opened

LEVEL = re.compile(r"[^+#/\0]{1,256}")  # what may be one level of a topic

logger = logging.getLogger(__name__)


class Publisher:
    """Publishes all sessions that are opened from its making on, each in a task of `tasks`."""

    def __init__(
        self, engine: Engine, broker: Broker, tasks: asyncio.TaskGroup, prefix: str
    ) -> None:
        self._broker, self._tasks, self._prefix = broker, tasks, prefix
        self._opened = engine.watch()
        self._publishing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take new sessions until cancelled; those taken go on to their own end."""
        while True:
            self._take(await self._opened.get())

    async def finished(self) -> None:
        """Wait until the sessions opened so far have come to their end."""
        while not self._opened.empty():
            self._take(self._opened.get_nowait())
        while self._publishing:
            await asyncio.wait(self._publishing)

    def _take(self, opened: Opened) -> None:
        each = self._tasks.create_task(self._publish(opened), name=f"mqtt publish {opened.name}")
        self._publishing.add(each)
        each.add_done_callback(self._publishing.discard)

    async def _publish(self, opened: Opened) -> None:
        """One session: finals and what follows from them are kept, the rest is for the moment."""
        session, number = opened.id, 0
        name = opened.name if LEVEL.fullmatch(opened.name) else session
        place = f"{self._prefix}/out/{name}"
        try:
            async for event in opened.events:
                body = {**_body(event), "session": session}
                topic = f"{place}/{body['type']}"
                match event:
                    case messages.Partial():
                        self._broker.show(topic, _json(body))
                    case messages.SpeechStart():
                        self._broker.say(topic, _json(body))
                    case _:
                        if not isinstance(event, messages.Keyword):  # an utterance goes on
                            self._broker.hide(f"{place}/partial")
                        key, number = f"{session}/{number}", number + 1
                        await self._broker.keep(key, topic, _json({**body, "key": key}))
        except SessionError as failure:
            logger.info("mqtt: session %s ended early: %s", session, failure.code)
            text = "the session ended before all of it was recognised"
            error = messages.Error(failure.code, text, fatal=True)
            self._broker.hide(f"{place}/partial")
            self._broker.say(f"{place}/error", _json({**_body(error), "session": session}))


def _body(message: messages.ServerMessage) -> dict[str, object]:
    """The object of the websocket protocol; only finals tell of their words."""
    words = isinstance(message, messages.Final)
    body: dict[str, object] = json.loads(messages.encode(message, words=words))
    return body


def _json(body: dict[str, object]) -> str:
    return json.dumps(body, separators=(",", ":"))
