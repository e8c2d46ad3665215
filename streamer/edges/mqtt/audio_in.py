"""Audio in over a broker: `PREFIX/in/SOURCE/audio` is PCM, `PREFIX/in/SOURCE/control` is JSON.

Owns the sources that speak and the session each of them has. What is recognised goes out like the
events of any session, under `PREFIX/out/SOURCE/…`. Must not know: how it gets there.
"""

import asyncio
import json
import logging
import re

from streamer import messages
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
    before the time the engine names.
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
            audio, inlet = self._opened(source, messages.AudioFormat()) or (None, None)
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
            self._complain(source, "bad_request", str(error))
            return
        match message:
            case messages.Start(audio=audio) if audio.is_container:
                self._complain(source, "unsupported", f"{audio.encoding} is not heard over MQTT")
            case messages.Start(audio=audio) if audio.separate:
                self._complain(source, "unsupported", "channels are not heard apart over MQTT")
            case messages.Start(audio=audio, text=wishes):
                self._stop(source)
                self._opened(source, audio, wishes)
            case messages.Flush(id=name):
                _, inlet = self._inlets.get(source, (None, None))
                if inlet is None or not inlet.put_flush(name):
                    self._complain(source, "bad_request", "there is no audio to flush")
            case messages.Stop():
                self._stop(source)
            case messages.Configure():
                self._complain(source, "unsupported", "configure is not supported over MQTT")

    def _stop(self, source: str) -> None:
        if source in self._inlets:
            _, inlet = self._inlets.pop(source)
            inlet.close()

    def _opened(
        self,
        source: str,
        audio: messages.AudioFormat,
        wishes: messages.TextWishes = messages.TextWishes(),  # noqa: B008 (frozen)
    ) -> tuple[messages.AudioFormat, Inlet] | None:
        """The source's format and inlet, opened as asked if there are none; None if refused."""
        known = self._inlets.get(source)
        if known is not None and not known[1].is_closed:
            return known
        now = asyncio.get_running_loop().time()
        if self._refused_until.get(source, now) > now:
            return None
        try:
            text = self._engine.text.wished(
                wishes.written, wishes.mask_profanity, wishes.redact_numbers
            )
            session = self._engine.open_session(self._endpoint, name=source, text=text)
        except CapacityError as full:
            if len(self._refused_until) >= MAX_REFUSED:
                self._refused_until.clear()
            self._refused_until[source] = now + full.retry_after_s
            self._complain(source, "capacity", str(full))
            return None
        opened = self._inlets[source] = (audio, Inlet())
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
