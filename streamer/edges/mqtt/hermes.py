"""The Hermes protocol of Snips and Rhasspy: a voice assistant's speech-to-text over MQTT.

Owns its topics, its JSON in both spellings, its dialogs and toggles. Must not know: how a message
gets to the broker.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.config import EndpointRules
from streamer.edges.mqtt.broker import Broker
from streamer.edges.mqtt.hermes_json import FrameError, frame, read_request, tokens, written
from streamer.edges.mqtt.inlet import Inlet
from streamer.edges.mqtt.recording import Recording
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from streamer.engine.session import Session
from streamer.messages import Final, Partial, Word

MAX_ID_LENGTH = 128  # characters of a session id
ASR = "hermes/asr"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Dialog:
    """One startListening: who asked, how, and what it was told."""

    site: str
    session: str | None
    is_snake: bool  # spells site_id where Hermes has siteId; answered in kind
    stops_on_silence: bool
    echoed: dict[str, Any]  # what the answer repeats
    recording: Recording | None  # of what the client wants to have back
    inlet: Inlet = field(default_factory=Inlet)
    is_answered: bool = False
    is_told_of_bad_audio: bool = False
    asked_at: float = 0.0  # loop time of the last frame, or of stopListening


class Hermes:
    """A listener of the broker, for the `sites` it serves; its sessions run in `tasks`.

    A dialog that hears nothing for `idle_timeout_s` is answered with what it has heard.
    """

    def __init__(
        self,
        engine: Engine,
        endpoint: EndpointRules,
        broker: Broker,
        tasks: asyncio.TaskGroup,
        *,
        sites: Sequence[str],
        idle_timeout_s: float,
    ) -> None:
        asked = ("startListening", "stopListening", "toggleOn", "toggleOff")
        frames = ("audioFrame", "+/audioSessionFrame")
        self.topics = (
            *(f"{ASR}/{name}" for name in asked),
            *(f"hermes/audioServer/{site}/{name}" for site in sites for name in frames),
            *(f"rhasspy/asr/{site}/train" for site in sites),
        )
        self._engine, self._endpoint, self._broker, self._tasks = engine, endpoint, broker, tasks
        self._idle_timeout_s = idle_timeout_s
        self._dialogs: dict[tuple[str, str | None], _Dialog] = {}
        self._reasons_off: dict[str, set[str]] = {site: set() for site in sites}

    def accept(self, topic: str, payload: bytes) -> None:
        """Take a request or a frame of audio."""
        match topic.split("/"):
            case ["hermes", "audioServer", site, "audioFrame"]:
                self._hear([d for d in self._dialogs.values() if d.site == site], payload)
            case ["hermes", "audioServer", site, session, "audioSessionFrame"]:
                self._hear([d for k, d in self._dialogs.items() if k == (site, session)], payload)
            case ["hermes", "asr", request]:
                self._accept_request(request, payload)
            case ["rhasspy", "asr", site, "train"]:  # there is nothing to train
                body, _ = read_request(payload) or ({}, False)
                done = json.dumps({"id": str(body.get("id", ""))[:MAX_ID_LENGTH]})
                self._broker.say(f"rhasspy/asr/{site}/trainSuccess", done)

    def close(self) -> None:
        """Let every dialog finish what it has received."""
        for dialog in self._dialogs.values():
            dialog.inlet.close()

    def _accept_request(self, request: str, payload: bytes) -> None:
        body, is_snake = read_request(payload) or ({"site_id": ""}, False)
        site, session = body.get("site_id"), body.get("session_id")
        site = "default" if site is None else site
        if not isinstance(site, str) or site not in self._reasons_off or not _is_id(session):
            return  # another recognizer's site, or nobody who could be answered
        reasons, reason = self._reasons_off[site], body.get("reason") or ""
        match request:
            case "startListening":
                self._start(body, site, session, is_snake)
            case "stopListening" if (site, session) in self._dialogs:
                dialog = self._dialogs.pop((site, session))
                dialog.asked_at = asyncio.get_running_loop().time()
                dialog.inlet.close()
            case "toggleOff" if isinstance(reason, str) and len(reasons) < 100:
                reasons.add(reason[:MAX_ID_LENGTH])
            case "toggleOn" if reason:
                reasons.discard(str(reason)[:MAX_ID_LENGTH])
            case "toggleOn":
                reasons.clear()

    def _start(self, body: dict[str, Any], site: str, session: str | None, is_snake: bool) -> None:
        if (site, session) in self._dialogs:  # asked again: only the new one is answered
            old = self._dialogs.pop((site, session))
            old.is_answered = True
            old.inlet.close()
        echoed = {name: body.get(name) for name in ("wakeword_id", "lang")}
        echoed = {name: value for name, value in echoed.items() if value and _is_id(value)}
        stops = body.get("stop_on_silence") is not False
        wants_audio = body.get("send_audio_captured") is True and session is not None
        recording = Recording() if wants_audio else None
        dialog = _Dialog(site, session, is_snake, stops, echoed, recording)
        try:
            opened = self._engine.open_session(self._endpoint, name=site)
        except CapacityError as full:
            self._complain(dialog, str(full))
            return
        self._dialogs[site, session] = dialog
        self._tasks.create_task(self._serve(dialog, opened), name=f"hermes {site}")

    def _hear(self, dialogs: list[_Dialog], payload: bytes) -> None:
        if not dialogs or self._reasons_off.get(dialogs[0].site):
            return
        try:
            audio, data = frame(payload)
        except FrameError as error:
            for dialog in dialogs:
                if not dialog.is_told_of_bad_audio:
                    dialog.is_told_of_bad_audio = True
                    self._complain(dialog, str(error))
            return
        for dialog in dialogs:
            dialog.asked_at = asyncio.get_running_loop().time()
            dialog.inlet.put_audio(audio, data)
            if dialog.recording is not None:
                dialog.recording.add(audio, data)

    async def _serve(self, dialog: _Dialog, session: Session) -> None:
        """One dialog from startListening to its end; whoever asked is always answered."""
        dialog.asked_at = asyncio.get_running_loop().time()
        try:
            async with session, asyncio.TaskGroup() as both:
                feeding = dialog.inlet.feed(session, self._idle_timeout_s)
                both.create_task(feeding, name=f"hermes feed {dialog.site}")
                await self._answer(dialog, session)
        except* SessionError as failures:
            logger.warning("hermes: a session failed: %s", failures.exceptions[0])
            self._complain(dialog, "the session has failed")
        finally:
            dialog.inlet.close()
            if self._dialogs.get((dialog.site, dialog.session)) is dialog:
                del self._dialogs[dialog.site, dialog.session]

    async def _answer(self, dialog: _Dialog, session: Session) -> None:
        """Text at each endpoint where that was asked for, else at the end, and once in any case."""
        finals: list[Final] = []
        partial = f"{ASR}/partialTextCaptured"
        dialog_id = f"{dialog.site}/{dialog.session}"
        async for event in session:
            if isinstance(event, Partial):
                text = " ".join(part for part in (event.committed, event.tail) if part)
                body = self._captured(dialog, text, event.words, is_whole=False)
                self._broker.show(partial, written(body, dialog.is_snake), dialog_id)
            elif isinstance(event, Final):
                self._broker.hide(partial, dialog_id)
                finals.append(event)
                if dialog.stops_on_silence and event.reason in ("endpoint", "length"):
                    self._tell(dialog, finals)
                    finals = []
        if not dialog.is_answered:
            self._tell(dialog, finals)

    def _tell(self, dialog: _Dialog, finals: list[Final]) -> None:
        dialog.is_answered = True
        text = " ".join(final.text for final in finals if final.text)
        words = [word for final in finals for word in final.words]
        whose = {"site_id": dialog.site, "session_id": dialog.session}
        self._broker.say("rhasspy/asr/recordingFinished", written(whose, dialog.is_snake))
        body = self._captured(dialog, text, words, is_whole=True)
        self._broker.say(f"{ASR}/textCaptured", written(body, dialog.is_snake))
        if dialog.recording is not None:
            topic = f"rhasspy/asr/{dialog.site}/{dialog.session}/audioCaptured"
            self._broker.show(topic, dialog.recording.take())

    def _captured(
        self, dialog: _Dialog, text: str, words: Sequence[Word], *, is_whole: bool
    ) -> dict[str, Any]:
        likelihood = sum(word.confidence for word in words) / len(words) if words else 0.0
        body = {
            "text": text,
            "likelihood": round(likelihood, 3),
            "seconds": round(asyncio.get_running_loop().time() - dialog.asked_at, 3),
            "site_id": dialog.site,
            "session_id": dialog.session,
        }
        return {**body, **dialog.echoed, "asr_tokens": [tokens(words)]} if is_whole else body

    def _complain(self, dialog: _Dialog, text: str) -> None:
        body = {"error": text, "site_id": dialog.site, "session_id": dialog.session}
        self._broker.say("hermes/error/asr", written(body, dialog.is_snake))


def _is_id(value: object) -> bool:
    """Whether it can name a session, or be one level of a topic."""
    fits = isinstance(value, str) and len(value) <= MAX_ID_LENGTH
    return value is None or (fits and not set(str(value)) & set("+#/\0"))
