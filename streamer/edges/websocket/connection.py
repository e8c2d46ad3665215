"""One client's connection, from its `start` or `resume` to the close code.

Owns the order of messages, acknowledgements and the answers to mistakes. Must not know: listening,
handshakes, other connections, what outlives this one.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages
from streamer.audio import SAMPLE_RATE
from streamer.config import ServerConfig
from streamer.edges.websocket.conversation import SLICES_PER_S, Conversation
from streamer.edges.websocket.conversations import Conversations
from streamer.edges.websocket.gate import Client
from streamer.edges.websocket.intake import Intake
from streamer.edges.websocket.journal import ForgottenError
from streamer.edges.websocket.leaving import IDLE_S, SAMPLES, Leaving, notice_s
from streamer.edges.websocket.peer import ENDINGS, NORMAL, Peer, PeerError, comes_back
from streamer.engine.errors import SessionError

ACK_SAMPLES = SAMPLE_RATE // SLICES_PER_S  # and the next slice at the latest: under 500 ms

logger = logging.getLogger(__name__)


class Connection:
    """Serves one client in `run`; `leave` ends it politely from outside, `cut` at once."""

    def __init__(
        self,
        connection: ServerConnection,
        client: Client,
        conversations: Conversations,
        config: ServerConfig,
    ) -> None:
        self.id = secrets.token_hex(4)
        self._peer = Peer(connection, f"connection {self.id}")
        self._client = client
        self._conversations, self._config = conversations, config
        self._running: asyncio.Task[None] | None = None  # the task of `run`
        self._intake = Intake(self._peer, config)
        self._refusal: PeerError | None = None  # with which it must end now
        self._leaving: Leaving | None = None
        self._conversation: Conversation | None = None
        self._acknowledged = 0  # samples
        self._warned_of_bad_audio = False

    async def run(self) -> None:
        """Converse until the end; never raises for what a peer or an engine did."""
        self._running = asyncio.current_task()
        try:
            await self._serve(await self._begun())
        except ConnectionClosed:
            logger.info("connection %s: the client has gone", self.id)
        except PeerError as fault:
            is_kept = self._conversation is not None and self._conversation.may_come_back
            await self._peer.end(fault.error, is_kept=is_kept)
        except SessionError as failure:
            logger.warning("connection %s: session failed: %s", self.id, failure)
            code = "too_slow" if failure.code == "too_slow" else "internal"
            text = "the session has failed; please reconnect"
            await self._peer.end(messages.Error(code, text, True))
        except Exception:
            logger.exception("connection %s: our own mistake", self.id)
            await self._peer.end(messages.Error("internal", "the server has made a mistake", True))

    def displace(self) -> None:
        """Let go of the conversation: another connection has come for it."""
        self.refuse(PeerError("resumed_elsewhere", "another connection has resumed this session"))

    def refuse(self, why: PeerError) -> None:
        """End with this error, as soon as what is being taken is taken."""
        self._refusal = why
        self._intake.interrupt()

    async def leave(self, reason: str, grace_s: float) -> None:
        """End the conversation: say so, finish what was received, say `closed` and close.

        An utterance in progress may go on to its end, for at most `grace_s`.
        """
        if self._conversation is None:
            await self._peer.close(ENDINGS[reason].close_code)
            return
        now = asyncio.get_running_loop().time()
        received = self._conversation.session.received_samples
        self._leaving = Leaving(reason, now + grace_s, received + SAMPLES)
        self._intake.interrupt(min(grace_s, IDLE_S))
        with suppress(ConnectionClosed):
            await self._peer.send(self._leaving.announcement(now))

    def cut(self) -> None:
        """End at once, with nothing said."""
        self._peer.cut()
        if self._running is not None:
            self._running.cancel()

    # --- beginning --------------------------------------------------------------------------------

    async def _begun(self) -> tuple[Conversation, messages.Resume | None]:
        """The conversation that the first message asks for, which must come soon."""
        limit_s = self._config.start_timeout_s
        first = await self._intake.receive(limit_s)
        if self._refusal is not None:
            raise self._refusal
        if first is None:
            raise PeerError("timeout", f"expected a start message within {limit_s:g} s")
        if isinstance(first, bytes):
            raise PeerError("bad_request", "expected a start message first, got audio")
        match await self._intake.decoded(first):
            case messages.Start() as start:
                return await self._conversations.open(start, self._client), None
            case messages.Resume() as resume:
                return self._conversations.find(resume, self._client), resume
        raise PeerError("bad_request", "expected a start message first")

    async def _serve(self, begun: tuple[Conversation, messages.Resume | None]) -> None:
        conversation, resume = begun
        async with self._conversations.held(conversation, self):
            self._conversation = conversation
            try:
                await self._greet(conversation, resume)
                await self._converse(conversation)
                code = NORMAL if self._leaving is None else self._leaving.close_code
                if await self._peer.close(code):
                    conversation.gone()
            except BaseException as end:
                if not comes_back(end):
                    conversation.gone()
                raise

    async def _greet(self, conversation: Conversation, resume: messages.Resume | None) -> None:
        self._acknowledged = conversation.session.received_samples
        if resume is None:
            await self._peer.send(self._conversations.ready(conversation))
            await self._tell_refused(conversation.begin())
            return
        try:
            conversation.journal.rewind(resume.seq)
        except ForgottenError as error:
            raise PeerError("no_session", f"the session cannot go on there: {error}") from error
        taken = conversation.taken_bytes, conversation.taken_messages
        await self._peer.send(messages.Resumed(conversation.id, *taken))

    async def _converse(self, conversation: Conversation) -> None:
        """Feed and publish side by side; the first failure ends both and is raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = self._feed(conversation)
                feeder = tasks.create_task(feeding, name=f"feed {conversation.id}")
                ending = self._end_in_time(conversation)
                clock = tasks.create_task(ending, name=f"clock {conversation.id}")
                if await self._publish(conversation):
                    feeder.cancel()
                    clock.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _end_in_time(self, conversation: Conversation) -> None:
        """Leave when the session has lasted as long as it may, or soon will have."""
        longest_s = self._config.max_session_s
        if longest_s:
            left_s = conversation.began_at + longest_s - asyncio.get_running_loop().time()
            grace_s = notice_s(longest_s)
            await asyncio.sleep(left_s - grace_s)
            await self.leave("too_long", max(0.0, min(grace_s, left_s)))

    # --- client to session ------------------------------------------------------------------------

    async def _feed(self, conversation: Conversation) -> None:
        """Take what the client sends until the connection ends, also what it says after `stop`.

        A lost connection is noticed between two frames only: what is being taken, is taken.
        """
        while True:
            received = await self._next(conversation)
            if isinstance(received, bytes):
                await self._hear(conversation, received)
            elif received is not None:
                await self._obey(conversation, received)
                await asyncio.sleep(0)  # a burst of flushes leaves the publisher its turns
            if received is None or self._must_leave(conversation):
                await self._stop(conversation)

    async def _hear(self, conversation: Conversation, audio: bytes) -> None:
        for part in conversation.slices(audio):
            if conversation.is_stopped or self._refusal is not None:
                return
            await conversation.accept(part)
            received = conversation.session.received_samples
            if received - self._acknowledged >= ACK_SAMPLES:
                self._acknowledged = received
                await self._peer.send(conversation.ack())
        if conversation.bad_samples and not self._warned_of_bad_audio:
            self._warned_of_bad_audio = True
            message = "the audio has samples that are not numbers; they were taken as silence"
            await self._complain("bad_audio", message)

    async def _obey(self, conversation: Conversation, text: str) -> None:
        message = await self._intake.decoded(text)
        if isinstance(message, messages.Confirm):
            try:
                conversation.journal.confirm(message.seq)
            except ForgottenError as error:
                raise PeerError("bad_request", f"confirm: {error}") from error
            return
        if conversation.is_stopped:
            return
        match message:
            case messages.Stop():
                await self._stop(conversation)
            case messages.Flush(id=name):
                await conversation.flush(name)
            case messages.Configure() as change:
                await self._configure(conversation, change)
            case messages.Start() | messages.Resume():
                await self._complain("bad_request", "this stream has been started already")
        conversation.taken_messages += 1

    async def _stop(self, conversation: Conversation) -> None:
        if conversation.is_stopped:
            return
        leftover_bytes = await conversation.stop()
        if leftover_bytes:
            message = f"{leftover_bytes} bytes at the end were no whole sample"
            await self._complain("truncated_sample", message)

    async def _configure(self, conversation: Conversation, change: messages.Configure) -> None:
        try:
            refused = conversation.configure(change)
        except ValueError as error:
            await self._complain("bad_request", f"configure: {error}")
        else:
            await self._tell_refused(refused)

    async def _tell_refused(self, refused: Sequence[str]) -> None:
        for sentence in refused:
            await self._complain("unsupported", sentence)

    def _must_leave(self, conversation: Conversation) -> bool:
        now = asyncio.get_running_loop().time()
        return self._leaving is not None and self._leaving.is_due(conversation, now)

    # --- session to client ------------------------------------------------------------------------

    async def _publish(self, conversation: Conversation) -> bool:
        """Send what is in the journal, until `closed`; whether the connection lived so long."""
        start = conversation.start
        try:
            while True:
                number, event = await conversation.journal.next()
                if start.partials or not isinstance(event, messages.Partial):
                    seq = number if conversation.is_kept else None
                    await self._peer.send(event, words=start.words, seq=seq)
                if isinstance(event, messages.Closed):
                    return True
        except ConnectionClosed:
            return False  # the feeder says so, when it has taken its frame

    async def _complain(self, code: str, message: str) -> None:
        await self._peer.send(messages.Error(code, message, False))

    async def _next(self, conversation: Conversation) -> str | bytes | None:
        """What the client sends; None if it is time to leave and the client sends nothing."""
        limit_s: float | None = self._config.idle_timeout_s
        if conversation.is_stopped:
            limit_s = None
        elif self._leaving is not None:
            limit_s = IDLE_S
        received = None if self._refusal is not None else await self._intake.receive(limit_s)
        if self._refusal is not None:
            raise self._refusal
        if received is None and self._leaving is None:
            message = f"expected audio or stop within {limit_s:g} s"
            raise PeerError("timeout", message)
        return received
