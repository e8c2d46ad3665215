"""Audio in over a broker: `PREFIX/in/SOURCE/audio` is PCM, `PREFIX/in/SOURCE/control` is JSON.

Owns the sources that speak and the session each of them has. What is recognised goes out like the
events of any session, under `PREFIX/out/SOURCE/…`. Must not know: how it gets there.
"""

import asyncio
import json
import logging
import math
import re

from streamer import messages
from streamer.client_settings import ClientSettings
from streamer.config import EndpointRules
from streamer.edges.mqtt.broker import Broker
from streamer.edges.mqtt.inlet import Inlet
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from streamer.engine.session import Session

MAX_REFUSED = 1_024  # sources remembered as refused; beyond it, all are forgotten
SOURCE = re.compile(r"[\w.-]{1,64}", re.ASCII)

logger = logging.getLogger(__name__)


class AudioIn:
    """A listener of the broker; its sessions run in `tasks`.

    A source's first audio, or its `start`, opens a session; `stop`, or silence on the wire for
    `idle_timeout_s`, ends it. When the engine is full, the source is told, and not heard again
    before the time the engine names; after a `start` that cannot be, or what might have been one,
    not before another `start` or `stop`: nobody is heard otherwise than asked for.
    """

    def __init__(
        self,
        engine: Engine,
        endpoint: EndpointRules,
        broker: Broker,
        tasks: asyncio.TaskGroup,
        *,
        prefix: str,
        idle_timeout_s: float,
    ) -> None:
        self.topics = (f"{prefix}/in/+/audio", f"{prefix}/in/+/control")
        self._engine, self._endpoint, self._broker = engine, endpoint, broker
        self._tasks, self._prefix, self._idle_timeout_s = tasks, prefix, idle_timeout_s
        self._inlets: dict[str, tuple[messages.AudioFormat, Inlet]] = {}
        self._refused_until: dict[str, float] = {}  # loop time

    def accept(self, topic: str, payload: bytes) -> None:
        """Take audio or a control message of a source."""
        source, kind = topic.split("/")[-2:]
        if SOURCE.fullmatch(source) is None:
            logger.info("mqtt: a source with an unusable name was ignored")
        elif kind == "control":
            self._control(source, payload)
        elif payload:
            audio, inlet = self._opened(source, messages.Start()) or (None, None)
            if audio is not None and inlet is not None:
                inlet.put_audio(audio, payload)

    def close(self) -> None:
        """Let every session finish what it has received."""
        for _, inlet in self._inlets.values():
            inlet.close()

    def _control(self, source: str, payload: bytes) -> None:
        try:
            message = messages.decode_client(payload.decode())
        except ValueError as error:  # MessageError is one
            is_no_text = isinstance(error, UnicodeDecodeError)
            text = "expected a JSON object in UTF-8" if is_no_text else str(error)
            self._complain(source, "bad_request", text)
            if getattr(error, "fatal", True):
                self._refuse(source)
            return
        match message:
            case messages.Start():
                self._start(source, message)
            case messages.Flush(id=name):
                _, inlet = self._inlets.get(source, (None, None))
                if inlet is None or not inlet.put_flush(name):
                    self._complain(source, "bad_request", "there is no audio to flush")
            case messages.Stop():
                self._stop(source)
                self._refused_until.pop(source, None)
            case messages.Configure():
                self._complain(source, "unsupported", "configure is not supported over MQTT")

    def _start(self, source: str, start: messages.Start) -> None:
        self._stop(source)
        self._refused_until.pop(source, None)
        if start.audio.is_container:
            encoding = start.audio.encoding
            self._complain(source, "unsupported", f"{encoding} is not heard over MQTT")
        elif start.audio.separate:
            self._complain(source, "unsupported", "channels are not heard apart over MQTT")
        else:
            self._opened(source, start)
            return
        self._refuse(source)

    def _refuse(self, source: str, until: float = math.inf) -> None:
        """Do not hear the source before that loop time."""
        self._stop(source)
        if len(self._refused_until) >= MAX_REFUSED:
            self._refused_until.clear()
        self._refused_until[source] = until

    def _stop(self, source: str) -> None:
        if source in self._inlets:
            _, inlet = self._inlets.pop(source)
            inlet.close()

    def _opened(
        self, source: str, start: messages.Start
    ) -> tuple[messages.AudioFormat, Inlet] | None:
        """The source's format and inlet, opened as asked if there are none; None if refused."""
        known = self._inlets.get(source)
        if known is not None and not known[1].is_closed:
            return known
        now = asyncio.get_running_loop().time()
        if self._refused_until.get(source, now) > now:
            return None
        self._refused_until.pop(source, None)
        settings = ClientSettings(self._engine, self._endpoint, start)
        try:
            session = self._engine.open_session(
                settings.endpoint, name=source, text=settings.text, keywords=settings.keywords
            )
        except CapacityError as full:
            self._refuse(source, now + full.retry_after_s)
            self._complain(source, "capacity", str(full))
            return None
        except ValueError as error:
            self._refuse(source)
            self._complain(source, "bad_request", f"start: {error}")
            return None
        for sentence in settings.begin(session).refused:
            self._complain(source, "unsupported", sentence)
        opened = self._inlets[source] = (start.audio, Inlet())
        self._tasks.create_task(self._serve(source, session, opened[1]), name=f"mqtt in {source}")
        return opened

    async def _serve(self, source: str, session: Session, inlet: Inlet) -> None:
        """One session, to its last event; those who watch the engine publish its events."""
        try:
            async with session, asyncio.TaskGroup() as both:
                feeding = inlet.feed(session, self._idle_timeout_s)
                both.create_task(feeding, name=f"mqtt feed {source}")
                async for _ in session:
                    pass
        except* SessionError as failures:
            logger.warning("mqtt: the session of a source failed: %s", failures.exceptions[0])
        finally:
            inlet.close()
            if self._inlets.get(source, (None, None))[1] is inlet:
                del self._inlets[source]

    def _complain(self, source: str, code: str, text: str) -> None:
        error = json.loads(messages.encode(messages.Error(code, text, fatal=False)))
        self._broker.say(f"{self._prefix}/out/{source}/error", json.dumps(error))
