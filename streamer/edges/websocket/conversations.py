"""All conversations of a server: opened, found again, and given up.

Owns their tasks, the limits of those without a connection, and what `ready` says. Must not know:
sockets, audio.

Limits, and what happens at them: conversations without a connection count in the limits of their
token and address, whose next `start` gets the error `quota`. Of more than `max_detached` of them,
the one left longest, of whoever has most, is finished and forgotten; when a new client finds too
few sessions free, so are those that were left YIELDS_AFTER_S ago, as many as it takes, and it gets
theirs. Of separate channels each has a session, and a client that cannot have all gets none.
"""

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from streamer import messages
from streamer.audio import SAMPLE_RATE, AudioError
from streamer.client_settings import ClientSettings
from streamer.config import EndpointRules, ServerConfig
from streamer.container import check_container
from streamer.edges.websocket.conversation import Conversation, Holder
from streamer.edges.websocket.gate import Client, Gate, RefusalError
from streamer.edges.websocket.journal import Journal
from streamer.edges.websocket.peer import PeerError
from streamer.engine.channels import Channels
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError
from streamer.engine.session import Session

YIELDS_AFTER_S = 5.0  # a client whose network has hiccups is back by then


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What `ready` says about the model."""

    name: str
    latency_ms: int


class Conversations:
    """Use as `async with`: at its end those without a connection are finished."""

    def __init__(
        self,
        engine: Engine,
        endpoint: EndpointRules,
        config: ServerConfig,
        model: ServedModel,
        gate: Gate,
    ) -> None:
        self._engine, self._endpoint = engine, endpoint
        self._config, self._model, self._gate = config, model, gate
        self._all: dict[str, Conversation] = {}  # by id
        self._detached: dict[Conversation, float] = {}  # loop time since when, longest first
        self._no_token = secrets.token_urlsafe()  # nobody's: what a wrong session is checked with
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_up()
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def ids(self) -> frozenset[str]:
        """Of the sessions that are not over, and of those of their channels."""
        everyone = self._all.values()
        channels = (i for each in everyone for i in _session_ids(each.id, each.start.audio))
        return frozenset(self._all).union(channels)

    async def open(self, start: messages.Start, client: Client) -> Conversation:
        """A new conversation of a client.

        PeerError("capacity") if there is no session to be had, "quota" if the client has too many
        that wait for a resume, "no_model" or "unsupported_audio" for what is not served here, and
        "bad_request" for keywords that the model cannot spell or that are redacted.
        """
        self._check(start, client)
        config, name = self._config, secrets.token_hex(8)
        window_s = config.resume_window_s if start.resume else 0.0
        # A whole burst may be flushes, and each is answered by a final and its id.
        burst = 2 * config.max_messages_per_s
        ids, settings = _session_ids(name, start.audio), self._settings(start)
        await self._make_room(len(ids))
        channels = Channels(self._opened(ids, settings, burst), separate=start.audio.separate)
        events = len(ids) * max(config.max_unconfirmed_events, burst)
        journal = Journal(events, keeps=window_s > 0)
        speed = config.max_speed
        conversation = Conversation(
            name, client, channels, start, settings, journal, window_s, speed
        )
        self._all[name] = conversation
        self._detached[conversation] = asyncio.get_running_loop().time()
        self._tasks.create_task(self._run(conversation), name=f"conversation {name}")
        return conversation

    def _check(self, start: messages.Start, client: Client) -> None:
        """Raises PeerError for a start that cannot be, whatever the engine has free."""
        if start.model not in (None, self._model.name):
            raise PeerError("no_model", f"the model here is {self._model.name}")
        try:
            check_container(start.audio.encoding)
            self._gate.check_waiting(client, [each.client for each in self._detached])
        except AudioError as error:
            raise PeerError("unsupported_audio", str(error)) from error
        except RefusalError as error:
            raise PeerError("quota", error.text, error.retry_after_s) from error

    def find(self, wanted: messages.Resume, client: Client) -> Conversation:
        """The conversation that a client goes on with; PeerError("no_session") if it cannot.

        A wrong token, of the session or of another client, is answered as a session that never was.
        """
        found = self._all.get(wanted.session)
        expected = self._no_token if found is None else found.token
        is_right = hmac.compare_digest(expected.encode(), wanted.token.encode())
        if not is_right or found is None or found.client.identity.name != client.identity.name:
            raise PeerError("no_session", "the session is over, or never was: start another")
        return found

    @asynccontextmanager
    async def held(self, conversation: Conversation, holder: Holder) -> AsyncIterator[None]:
        """The conversation belongs to this connection, until the block is left."""
        async with conversation.held_by(holder):
            self._detached.pop(conversation, None)
            try:
                yield
            finally:
                if not conversation.ended.is_set():
                    self._detached[conversation] = asyncio.get_running_loop().time()
                self._give_up_too_many()

    def _give_up_too_many(self) -> None:
        waiting = [each for each in self._detached if each.may_come_back]
        while len(waiting) > self._config.max_detached:
            owners = [self._gate.owner(each.client) for each in waiting]
            ((greediest, _),) = Counter(owners).most_common(1)  # of equals, who came first
            waiting.pop(owners.index(greediest)).give_up()

    def give_up(self) -> None:
        """Keep no conversation any longer than a connection has it."""
        for conversation in self._all.values():
            conversation.give_up()

    def ready(self, conversation: Conversation) -> messages.Ready:
        """The answer to `start`."""
        answer = ready(conversation.id, self._config, self._model)
        if not conversation.is_kept:
            return answer
        return replace(answer, token=conversation.token, resume_window_s=conversation.window_s)

    async def _run(self, conversation: Conversation) -> None:
        try:
            await conversation.run()
        finally:
            del self._all[conversation.id]
            self._detached.pop(conversation, None)

    def _settings(self, start: messages.Start) -> ClientSettings:
        return ClientSettings(self._engine, self._endpoint, start)

    def _opened(self, ids: Sequence[str], settings: ClientSettings, burst: int) -> list[Session]:
        """A session for each id: all, or none and a PeerError."""
        engine = self._engine
        opened = partial(
            engine.open_session,
            settings.endpoint,
            max_events=burst,
            text=settings.text,
            keywords=settings.keywords,
        )
        try:
            engine.check_room(len(ids))
            return [opened(id=each) for each in ids]  # the second fails where the first has
        except CapacityError as full:
            raise PeerError("capacity", str(full), full.retry_after_s) from full
        except ValueError as error:
            raise PeerError("bad_request", f"start: {error}") from error

    async def _make_room(self, count: int) -> None:
        """End as many as it takes of those that were left long enough ago; none if in vain."""
        latest, leaving, yielding = asyncio.get_running_loop().time() - YIELDS_AFTER_S, 0, []
        for conversation, since in self._detached.items():
            if self._engine.has_room(count, leaving=leaving):
                break
            if since <= latest and conversation.session.open_sessions:
                leaving += conversation.session.open_sessions
                yielding.append(conversation)
        if not self._engine.has_room(count, leaving=leaving):
            return
        for conversation in yielding:
            conversation.give_up()
        for conversation in yielding:
            await conversation.ended.wait()


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


def _session_ids(name: str, audio: messages.AudioFormat) -> list[str]:
    """The ids of a conversation's sessions: its own, or one for each separate channel."""
    return [f"{name}.{each}" for each in range(audio.channels)] if audio.separate else [name]
