"""One Wyoming client: what it asks, and the transcripts it gets.

Owns the order of events and the answers to mistakes. Text goes out append-only, so clients get
committed text and never the tail. Must not know: listening, other connections.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from streamer.audio import SAMPLE_RATE
from streamer.config import EndpointRules, WyomingConfig
from streamer.edges.wyoming.framing import Event, FrameError, encoded, read
from streamer.edges.wyoming.turn import ClientError, Turn, Wishes, audio_format
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from streamer.messages import Final, GrowingText, expected_words

IDLE_S = 60.0  # a client may send nothing for so long
SEND_S = 3.0  # and leave an event unread for so long

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What `info` says about us."""

    model: str
    version: str


class Connection:
    """Serves one client in `run`; `leave` ends it politely from outside, `cut` at once."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        engine: Engine,
        endpoint: EndpointRules,
        config: WyomingConfig,
        program: Program,
    ) -> None:
        self.id = secrets.token_hex(8)
        self._reader, self._writer = reader, writer
        self._engine, self._endpoint = engine, endpoint
        self._config, self._program = config, program
        self._turn: Turn | None = None
        self._wishes = Wishes()  # for the next turn
        self._is_answered = False  # we have ended the turn, and its audio may go on for a while
        self._is_leaving = False

    async def run(self) -> None:
        """Converse until the end; never raises for what a peer or an engine did."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._converse(tasks)
        except* (ConnectionError, asyncio.IncompleteReadError):
            logger.info("wyoming %s: the client has gone", self.id)
        except* ClientError as faults:
            fault = faults.exceptions[0]
            assert isinstance(fault, ClientError), fault
            await self._end(fault.code, str(fault))
        except* SessionError as failures:
            if not self._is_leaving:
                logger.warning("wyoming %s: session failed: %s", self.id, failures.exceptions[0])
                await self._end("internal", "the session has failed")
        except* Exception:
            logger.exception("wyoming %s: our own mistake", self.id)
        finally:
            if self._turn is not None:
                self._turn.session.abort()
            await self._close()

    async def leave(self) -> None:
        """Answer what was heard so far, then close."""
        self._is_leaving = True
        if self._turn is not None:
            await self._turn.session.finish()
            await asyncio.wait([self._turn.answering])
        self._writer.close()

    def cut(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    async def _converse(self, tasks: asyncio.TaskGroup) -> None:
        while (event := await self._read()) is not None:
            match event.type:
                case "describe":
                    await self._send("info", self._info())
                case "ping":
                    await self._send("pong", {"text": str(event.data.get("text") or "")[:1024]})
                case "transcribe":
                    self._is_answered = False
                    self._wishes = Wishes.of(event.data)
                case "audio-start":
                    self._is_answered = False
                case "audio-chunk" if not self._is_answered:
                    await self._hear(tasks, event)
                case "audio-stop":
                    await self._finish_turn()
        if self._turn is not None:  # gone without audio-stop: nobody waits for a transcript
            self._turn.answering.cancel()

    async def _read(self) -> Event | None:
        try:
            async with asyncio.timeout(IDLE_S):
                return await read(self._reader)
        except TimeoutError:
            raise ClientError("timeout", f"expected an event within {IDLE_S:g} s") from None
        except FrameError as error:
            raise ClientError("bad-request", str(error)) from error

    async def _hear(self, tasks: asyncio.TaskGroup, chunk: Event) -> None:
        audio = audio_format(chunk.data)
        turn = self._turn or self._open_turn(tasks)
        if turn.session.received_samples > self._config.max_audio_s * SAMPLE_RATE:
            limit = f"{self._config.max_audio_s:g} s"
            raise ClientError("too-long", f"expected at most {limit} of audio in one transcription")
        await self._unless_ended(turn.hear(audio, chunk.payload))

    def _open_turn(self, tasks: asyncio.TaskGroup) -> Turn:
        wishes, self._wishes = self._wishes, Wishes()
        rules = wishes.rules(self._endpoint)
        try:
            session = self._engine.open_session(rules, name=f"wyoming-{self.id}")
        except CapacityError as full:
            raise ClientError("capacity", str(full)) from full
        options = replace(session.options, hotwords=expected_words(wishes.hotwords))
        if wishes.hotwords and not session.unsupported(options):
            session.configure(rules, options)
        turn = self._turn = Turn(session)
        turn.answering = tasks.create_task(self._answer(turn), name=f"wyoming answer {self.id}")
        return turn

    async def _finish_turn(self) -> None:
        """The client has said everything: it waits for a transcript, unless it has one."""
        turn = self._turn
        if turn is not None:
            await self._unless_ended(turn.end_format())
            await turn.session.finish()
            await asyncio.wait([turn.answering])
        elif not self._is_answered:
            await self._send("transcript", {"text": "", "language": self._config.language})
        self._is_answered = False

    async def _unless_ended(self, work: Awaitable[None]) -> None:
        """Feed a session that we ourselves may have finished meanwhile."""
        try:
            await work
        except SessionError:
            if not (self._is_answered or self._is_leaving):
                raise

    async def _answer(self, turn: Turn) -> None:
        """Committed text as it grows, then the transcript."""
        growing, sent = GrowingText(), ""
        ours = self._config.endpointing == "server"
        async for event in turn.session:
            if added := growing.added(event):
                if not sent:
                    await self._send("transcript-start", {"language": self._config.language})
                await self._send("transcript-chunk", {"text": added})
                sent += added
            if ours and isinstance(event, Final) and event.text and event.reason != "end":
                self._is_answered = True
                break
        self._turn = None
        await turn.session.finish()
        await self._send("transcript", {"text": sent, "language": self._config.language})
        if sent:
            await self._send("transcript-stop", {})

    def _info(self) -> dict[str, Any]:
        about = {
            "attribution": {"name": "streamer", "url": ""},
            "installed": True,
            "version": self._program.version,
        }
        model = {
            "name": self._program.model,
            "description": f"{self._program.model}, streaming",
            "languages": [self._config.language],
        }
        program = {
            "name": "streamer",
            "description": "Streaming speech recognition on your own machine",
            "models": [{**about, **model}],
            "supports_transcript_streaming": True,
            "requires_external_vad": self._config.endpointing == "client",
        }
        return {"asr": [{**about, **program}]}

    async def _end(self, code: str, text: str) -> None:
        with suppress(ConnectionError):
            await self._send("error", {"text": text, "code": code})

    async def _close(self) -> None:
        """Let the last words out, to a client that takes them."""
        self._writer.close()
        try:
            async with asyncio.timeout(SEND_S):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except ConnectionError:
            return

    async def _send(self, kind: str, data: dict[str, Any]) -> None:
        """Send, or drop a client that does not read."""
        self._writer.write(encoded(Event(kind, data)))
        try:
            async with asyncio.timeout(SEND_S):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionResetError("the client does not read") from None
