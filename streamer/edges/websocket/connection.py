"""One client's connection, from its `start` or `resume` to the close code.

Owns the order of messages, acknowledgements and the answers to mistakes. Must not know: listening,
handshakes, other connections, what outlives this one.
"""

import asyncio
import logging
import secrets

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamer import messages
from streamer.audio import SAMPLE_RATE, AudioError
from streamer.config import ServerConfig
from streamer.edges.websocket.conversation import SLICES_PER_S, Conversation
from streamer.edges.websocket.conversations import Conversations
from streamer.edges.websocket.intake import Intake
from streamer.edges.websocket.journal import ForgottenError
from streamer.edges.websocket.peer import NORMAL, RESTART, Peer, PeerError
from streamer.engine.errors import SessionError

ACK_SAMPLES = SAMPLE_RATE // SLICES_PER_S  # and the next slice at the latest: under 500 ms
LEAVING_IDLE_S = 1.0  # at shutdown, a client that sends nothing for so long has no more to say
LEAVING_SAMPLES = SAMPLE_RATE // 2  # at shutdown: a word that has begun is known by then
GOODBYES = {1000, 1001, 1005}  # close codes of a client that has no further wish
COMES_BACK = {"timeout", "resumed_elsewhere"}  # errors after which a session can be resumed

logger = logging.getLogger(__name__)


class Connection:
    """Serves one client in `run`; `leave` ends it politely from outside, `cut` at once."""

    def __init__(
        self, connection: ServerConnection, conversations: Conversations, config: ServerConfig
    ) -> None:
        self.id = secrets.token_hex(4)
        self._peer = Peer(connection, f"connection {self.id}")
        self._conversations, self._config = conversations, config
        self._running: asyncio.Task[None] | None = None  # the task of `run`
        self._intake = Intake(self._peer, config)
        self._is_displaced = False
        self._is_leaving = False
        self._leave_at = 0.0  # loop time by which it leaves, whatever is being said
        self._leave_from_samples = 0  # before it leaves, so many samples must have been taken
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
            await self._peer.end(fault.error)
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
        self._is_displaced = True
        self._intake.interrupt()

    async def leave(self, grace_s: float) -> None:
        """End the conversation: finish what was received, say `closed`, close with 1012.

        An utterance in progress may go on to its end, for at most `grace_s`.
        """
        if self._conversation is None:
            await self._peer.close(RESTART)
            return
        received = self._conversation.session.received_samples
        self._leave_at = asyncio.get_running_loop().time() + grace_s
        self._leave_from_samples = received + LEAVING_SAMPLES
        self._is_leaving = True
        self._intake.interrupt(min(grace_s, LEAVING_IDLE_S))

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
        if first is None:
            raise PeerError("timeout", f"expected a start message within {limit_s:g} s")
        if isinstance(first, bytes):
            raise PeerError("bad_request", "expected a start message first, got audio")
        match await self._intake.decoded(first):
            case messages.Start() as start:
                return await self._conversations.open(start), None
            case messages.Resume() as resume:
                return self._conversations.find(resume), resume
        raise PeerError("bad_request", "expected a start message first")

    async def _serve(self, begun: tuple[Conversation, messages.Resume | None]) -> None:
        conversation, resume = begun
        async with self._conversations.held(conversation, self):
            self._conversation = conversation
            try:
                await self._greet(conversation, resume)
                await self._converse(conversation)
                if await self._peer.close(RESTART if self._is_leaving else NORMAL):
                    conversation.gone()
            except BaseException as end:
                if not _comes_back(end):
                    conversation.gone()
                raise

    async def _greet(self, conversation: Conversation, resume: messages.Resume | None) -> None:
        self._acknowledged = conversation.session.received_samples
        if resume is None:
            await self._peer.send(self._conversations.ready(conversation))
            await self._tell_refused(conversation.begin())
            if conversation.start.text.written and not self._conversations.writes:
                message = "written text needs a server with text2num, and was not made"
                await self._complain("unsupported", message)
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
                if await self._publish(conversation):
                    feeder.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

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
            if received is None or self._is_time_to_leave(conversation):
                await self._stop(conversation)
            await asyncio.sleep(0)  # a burst of flushes leaves the publisher its turns

    async def _hear(self, conversation: Conversation, audio: bytes) -> None:
        for part in conversation.slices(audio):
            if conversation.is_stopped or self._is_displaced:
                return
            try:
                await conversation.accept(part)
            except AudioError as error:
                raise PeerError("bad_audio", str(error)) from error
            received = conversation.session.received_samples
            if received - self._acknowledged >= ACK_SAMPLES:
                self._acknowledged = received
                await self._peer.send(_ack(conversation))
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
        try:
            leftover_bytes = await conversation.stop()
        except AudioError as error:
            raise PeerError("bad_audio", str(error)) from error
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

    async def _tell_refused(self, names: list[str]) -> None:
        if names:
            message = f"{', '.join(names)}: ignored, the server runs without --lm or --beam"
            await self._complain("unsupported", message)

    def _is_time_to_leave(self, conversation: Conversation) -> bool:
        if not self._is_leaving or asyncio.get_running_loop().time() >= self._leave_at:
            return self._is_leaving
        has_begun = conversation.session.received_samples >= self._leave_from_samples
        return has_begun and not conversation.is_speaking

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
        elif self._is_leaving:
            limit_s = LEAVING_IDLE_S
        received = None if self._is_displaced else await self._intake.receive(limit_s)
        if self._is_displaced:
            message = "another connection has resumed this session"
            raise PeerError("resumed_elsewhere", message)
        if received is None and not self._is_leaving:
            message = f"expected audio or stop within {limit_s:g} s"
            raise PeerError("timeout", message)
        return received


def _ack(conversation: Conversation) -> messages.Ack:
    received = conversation.session.received_samples
    if not conversation.is_kept:
        return messages.Ack(received)
    return messages.Ack(received, conversation.taken_bytes, conversation.taken_messages)


def _comes_back(end: BaseException) -> bool:
    """Whether a client may resume after a connection that ended so.

    One that closes properly has no further wish; one that vanishes, falls silent or comes by
    another connection has.
    """
    match end:
        case ConnectionClosed():
            is_goodbye = end.rcvd is not None and end.rcvd.code in GOODBYES
            return not (is_goodbye and end.rcvd_then_sent)
        case PeerError():
            return end.error.code in COMES_BACK
    return False
