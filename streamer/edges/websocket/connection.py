"""One client's connection, from its `start` to the close code.

Owns the order of messages, the pace, acknowledgements and the answers to mistakes. Must not know:
listening, handshakes, other connections.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages
from streamer.audio import SAMPLE_RATE, PcmDecoder, Samples, bytes_per_sample
from streamer.config import EndpointRules, ServerConfig
from streamer.edges.websocket.peer import NORMAL, RESTART, Peer, PeerError
from streamer.engine.engine import CapacityError, Engine
from streamer.engine.session import Session, SessionError

SLICES_PER_S = 4  # a large frame is decoded in slices, so that others get their turn
ACK_SAMPLES = SAMPLE_RATE // SLICES_PER_S  # and the next slice at the latest: under 500 ms

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What `ready` says about the model."""

    name: str
    latency_ms: int


class Connection:
    """Serves one client in `run`; `leave` ends it politely from outside, `cut` at once."""

    def __init__(
        self,
        connection: ServerConnection,
        engine: Engine,
        endpoint: EndpointRules,
        config: ServerConfig,
        model: ServedModel,
    ) -> None:
        self.id = secrets.token_hex(8)
        self._peer = Peer(connection, f"connection {self.id}", config.send_timeout_s)
        self._engine, self._config, self._model = engine, config, model
        self._endpoint = endpoint  # the rules in force: the server's, then as the client patches
        self._running: asyncio.Task[None] | None = None  # the task of `run`
        self._feeding: asyncio.Task[None] | None = None  # set while there is a session
        self._session: Session | None = None
        self._leaving = False
        self._acknowledged = 0  # samples
        self._warned_of_bad_audio = False
        self._read_at = 0.0  # loop time up to which the allowance of messages is used

    async def run(self) -> None:
        """Converse until the end; never raises for what a peer or an engine did."""
        self._running = asyncio.current_task()
        try:
            start = await self._started()
            async with self._opened(start) as session:
                await self._converse(session, start)
            await self._peer.close(RESTART if self._leaving else NORMAL)
        except ConnectionClosed:
            logger.info("connection %s: the client has gone", self.id)
        except PeerError as fault:
            await self._peer.end(fault.error)
        except SessionError as failure:
            logger.warning("connection %s: session failed: %s", self.id, failure)
            code = "too_slow" if failure.code == "too_slow" else "internal"
            text = "the session has failed; please reconnect"
            await self._peer.end(messages.Error(code, text, True))
        except Exception:
            logger.exception("connection %s: our own mistake", self.id)
            await self._peer.end(messages.Error("internal", "the server has made a mistake", True))

    async def leave(self) -> None:
        """End the conversation: finish what was received, say `closed`, close with 1012."""
        self._leaving = True
        if self._session is None or self._feeding is None:
            await self._peer.close(RESTART)
            return
        self._feeding.cancel()
        await asyncio.wait([self._feeding])
        await self._session.finish()

    def cut(self) -> None:
        """End at once, with nothing said."""
        self._peer.cut()
        if self._running is not None:
            self._running.cancel()

    async def _started(self) -> messages.Start:
        """The start message, which must come first and soon."""
        first = await self._receive("a start message", self._config.start_timeout_s)
        if isinstance(first, bytes):
            raise PeerError("bad_request", "expected a start message first, got audio")
        message = await self._decoded(first)
        if not isinstance(message, messages.Start):
            raise PeerError("bad_request", "expected a start message first")
        return message

    def _opened(self, start: messages.Start) -> Session:
        self._endpoint = _patched(self._endpoint, start.endpoint)
        try:
            # A whole burst may be flushes, and each is answered by a final and its id.
            burst = 2 * self._config.max_messages_per_s
            self._session = self._engine.open_session(self._endpoint, max_events=burst, id=self.id)
        except CapacityError as full:
            raise PeerError("capacity", str(full), full.retry_after_s) from full
        return self._session

    async def _converse(self, session: Session, start: messages.Start) -> None:
        """Feed and publish side by side; the first failure ends both and is raised."""
        name = self.id
        try:
            async with asyncio.TaskGroup() as both:
                feeding = self._feed(session, start)
                self._feeding = both.create_task(feeding, name=f"feed {name}")
                both.create_task(self._publish(session, start), name=f"publish {name}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _feed(self, session: Session, start: messages.Start) -> None:
        """Client to session, until `stop`."""
        await self._peer.send(ready(self.id, self._config, self._model))
        await self._expect(session, start.hotwords)
        decoder = PcmDecoder(start.audio)
        slice_bytes = bytes_per_sample(start.audio) * (start.audio.sample_rate // SLICES_PER_S)
        async for received in self._received():
            if isinstance(received, bytes):
                for at in range(0, len(received), slice_bytes):
                    await self._accept(session, decoder.accept(received[at : at + slice_bytes]))
                await self._warn_of_bad_audio(decoder)
                continue
            match await self._decoded(received):
                case messages.Stop():
                    break
                case messages.Flush(id=name):
                    await session.flush(name)
                case messages.Configure() as change:
                    self._endpoint = _patched(self._endpoint, change.endpoint)
                    session.configure(self._endpoint)
                    await self._expect(session, change.hotwords)
                case messages.Start():
                    await self._complain("bad_request", "this stream has been started already")
        await self._accept(session, decoder.finish())
        if decoder.leftover_bytes:
            message = f"{decoder.leftover_bytes} bytes at the end were no whole sample"
            await self._complain("truncated_sample", message)
        await session.finish()

    async def _publish(self, session: Session, start: messages.Start) -> None:
        """Session to client, until `closed`."""
        async for event in session:
            if start.partials or not isinstance(event, messages.Partial):
                await self._peer.send(event, words=start.words)

    async def _accept(self, session: Session, samples: Samples) -> None:
        await session.send(samples)
        if session.received_samples - self._acknowledged >= ACK_SAMPLES:
            self._acknowledged = session.received_samples
            await self._peer.send(messages.Ack(self._acknowledged))

    async def _received(self) -> AsyncIterator[str | bytes]:
        """Everything the client sends, at `max_messages_per_s` once a second's burst is used."""
        loop, interval_s = asyncio.get_running_loop(), 1 / self._config.max_messages_per_s
        while True:
            received = await self._receive("audio or stop", self._config.idle_timeout_s)
            self._read_at = max(self._read_at, loop.time() - 1.0) + interval_s
            if self._read_at > loop.time():
                await asyncio.sleep(self._read_at - loop.time())
            yield received
            await asyncio.sleep(0)  # a burst of flushes leaves the publisher its turns

    async def _receive(self, expected: str, limit_s: float) -> str | bytes:
        try:
            async with asyncio.timeout(limit_s):
                return await self._peer.receive()
        except TimeoutError:
            raise PeerError("timeout", f"expected {expected} within {limit_s:g} s") from None

    async def _decoded(self, text: str | bytes) -> messages.ClientMessage | None:
        """The client's message; None, and an answer, for a mistake that is not fatal."""
        assert isinstance(text, str), type(text)
        if len(text) > self._config.max_text_bytes:
            limit = self._config.max_text_bytes
            raise PeerError("bad_request", f"expected a text of at most {limit} bytes")
        try:
            return messages.decode_client(text)
        except messages.MessageError as error:
            if error.fatal:
                raise PeerError(error.code, str(error)) from error
            await self._complain(error.code, str(error))
            return None

    async def _expect(self, session: Session, hotwords: tuple[str, ...] | None) -> None:
        """Pass on the words a client expects (None: as before), if they are of any use."""
        if hotwords is not None and session.takes_hotwords:
            session.configure(self._endpoint, hotwords)
        elif hotwords:
            message = "hotwords need a server with --lm or --beam, and were ignored"
            await self._complain("unsupported", message)

    async def _warn_of_bad_audio(self, decoder: PcmDecoder) -> None:
        """Say once that samples were no numbers."""
        if decoder.replaced and not self._warned_of_bad_audio:
            self._warned_of_bad_audio = True
            message = "the audio has samples that are not numbers; they were taken as silence"
            await self._complain("bad_audio", message)

    async def _complain(self, code: str, message: str) -> None:
        await self._peer.send(messages.Error(code, message, False))


def ready(session: str, config: ServerConfig, model: ServedModel) -> messages.Ready:
    """What a session's owner and its viewers are told of it first."""
    limits = (config.max_frame_bytes, config.max_text_bytes, config.max_messages_per_s)
    return messages.Ready(
        session=session,
        model=model.name,
        sample_rate=SAMPLE_RATE,
        latency_ms=model.latency_ms,
        limits=messages.Limits(*limits),
    )


def _patched(rules: EndpointRules, patch: messages.EndpointPatch) -> EndpointRules:
    """The rules with what a client wants different, milliseconds to seconds."""
    wanted_ms = {
        "silence_idle_s": patch.silence_idle_ms,
        "silence_s": patch.silence_ms,
        "blank_s": patch.blank_ms,
        "max_utterance_s": patch.max_utterance_ms,
    }
    return replace(rules, **{k: ms / 1000 for k, ms in wanted_ms.items() if ms is not None})
