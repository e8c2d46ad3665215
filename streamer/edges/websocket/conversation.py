"""One client's session, whichever connection it has at the moment, if any.

Owns what must survive a connection: the engine's session, the decoder of its audio, how much of
what the client sends was taken, the journal of events, the token, and when all that is given up.
Must not know: sockets, what a connection says in which order.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Protocol

from streamer import messages
from streamer.audio import AudioError, UnsupportedAudioError, bytes_per_sample
from streamer.client_settings import ClientSettings
from streamer.container import ContainerDecoder
from streamer.edges.websocket.gate import Client
from streamer.edges.websocket.guard import Guard
from streamer.edges.websocket.journal import Journal
from streamer.edges.websocket.peer import PeerError
from streamer.engine.channels import Channels
from streamer.engine.errors import SessionError
from streamer.engine.session import Session
from streamer.wav import SniffingDecoder

SLICES_PER_S = 4  # a large frame is decoded in slices, so that others get their turn
CONTAINER_SLICE_BYTES = 4 << 10  # the same where bytes are not seconds


class Holder(Protocol):
    """The connection that a conversation has."""

    def displace(self) -> None:
        """Let go of the conversation soon: another connection has come for it."""


class Conversation:
    """A session with its client's side of things; of separate channels, a session for each.

    `run` is its life, in a task of its own; connections come and go by `held_by`. When nobody has
    held it for `window_s`, what was taken is finished, for whoever else listens, and it ends. When
    its client has `gone` for good or cannot come back, it ends and drops what is not decoded.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        session: Channels,
        start: messages.Start,
        settings: ClientSettings,
        journal: Journal,
        window_s: float,
        max_speed: float = 0.0,
    ) -> None:
        self.id, self.client = name, client
        self.began_at = asyncio.get_running_loop().time()
        self.token = secrets.token_urlsafe(24)
        self.start, self.session, self.journal = start, session, journal
        self.taken_bytes = self.taken_messages = 0  # of what the client has sent
        self.is_stopped = False  # the client has said that it will send no more
        self.ended = asyncio.Event()
        self._speaking: set[int] = set()  # channels with an utterance in progress
        self._with_words: set[int] = set()  # of these, where it has some that are not taken back
        self._texts = [messages.GrowingText() for _ in session.sessions]
        self._settings = settings
        self._decoder: SniffingDecoder | ContainerDecoder = SniffingDecoder(start.audio)
        if start.audio.is_container:
            self._decoder = ContainerDecoder(start.audio.encoding)
        self._guard = Guard(max_speed)
        self.window_s, self.is_kept = window_s, window_s > 0
        self._has_gone = False
        self._holder: Holder | None = None
        self._handover = asyncio.Lock()
        self._free = asyncio.Event()  # nobody holds it
        self._free.set()
        self._changed = asyncio.Event()  # who holds it, or what becomes of it

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write down what the session says, until nobody will ask for it again."""
        try:
            async with self.session, asyncio.TaskGroup() as tasks:
                for channel, session in enumerate(self.session.sessions):
                    recording = self._record(channel, session)
                    tasks.create_task(recording, name=f"record {self.id}.{channel}")
                await self._left()
                if self._has_gone or not self.is_kept:
                    self.session.abort()
                else:
                    await self.session.finish()
        finally:
            if isinstance(self._decoder, ContainerDecoder):
                await self._decoder.close()
            self.ended.set()

    @asynccontextmanager
    async def held_by(self, holder: Holder) -> AsyncIterator[None]:
        """The conversation belongs to this connection; one that had it has let go by then."""
        async with self._handover:
            if self._holder is not None:
                self._holder.displace()
                await self._free.wait()
            self._holder = holder
            self._free.clear()
            self._changed.set()
        try:
            yield
        finally:
            self._holder = None
            self._free.set()
            self._changed.set()

    @property
    def is_held(self) -> bool:
        """Whether a connection has it."""
        return self._holder is not None

    def gone(self) -> None:
        """Its client has all that it wants: nobody will come back."""
        self._has_gone = True
        self._changed.set()

    @property
    def may_come_back(self) -> bool:
        """Whether its client may still resume it."""
        return self.window_s > 0 and not self._has_gone

    def give_up(self) -> None:
        """Do not wait for its client any longer than a connection holds it."""
        self.window_s = 0
        self._changed.set()

    async def _left(self) -> None:
        while self.is_held or not self._has_gone:
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self.is_held else self.window_s):
                    await self._changed.wait()
            except TimeoutError:
                if not self.is_held:
                    return

    async def _record(self, channel: int, session: Session) -> None:
        """First write down, then let others see: who resumes must find what was sent before."""
        try:
            async for said in session:
                event = self.session.labelled(channel, said)
                if event is None:
                    continue
                if self.start.append_only:
                    self._commit_added(channel, event)
                if not (self.start.append_only and isinstance(event, messages.Partial)):
                    self.journal.commit(event)
                if isinstance(event, messages.SpeechStart):
                    self._speaking.add(channel)
                elif isinstance(event, messages.Partial):
                    self._with_words.discard(channel)
                    if event.committed or event.tail:
                        self._with_words.add(channel)
                elif isinstance(event, messages.Final):
                    self._speaking.discard(channel)
                    self._with_words.discard(channel)
        except SessionError as failure:
            self.journal.fail(failure)
            self.session.abort()  # one channel alone is of no use

    def _commit_added(self, channel: int, event: messages.Event) -> None:
        """What the event adds to the append-only text, which is never lost, unlike partials."""
        if isinstance(event, messages.Partial | messages.Final):
            added = self._texts[channel].added(event)
            if added:
                self.journal.commit(messages.Append(event.utterance, added, event.channel))

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance is in progress, with words or without."""
        return bool(self._speaking)

    @property
    def has_words(self) -> bool:
        """Whether words of an utterance in progress are known."""
        return bool(self._with_words)

    # --- what the client sends --------------------------------------------------------------------

    def slices(self, audio: bytes) -> Iterator[bytes]:
        """A frame of audio in parts, none of which keeps others waiting."""
        wanted = self.start.audio
        size = CONTAINER_SLICE_BYTES
        if not wanted.is_container:
            size = bytes_per_sample(wanted) * (wanted.sample_rate // SLICES_PER_S)
        for at in range(0, len(audio), size):
            yield audio[at : at + size]

    async def accept(self, audio: bytes) -> None:
        """Take audio; it counts as taken when the session has all of it. Not to be cancelled.

        PeerError for what cannot be decoded, and "too_fast" for what was taken and came too early.
        """
        received, bad = self.session.received_samples, self.bad_samples
        try:
            if isinstance(self._decoder, ContainerDecoder):
                async for samples in self._decoder.accept(audio):
                    await self.session.send(samples)
            else:
                await self.session.send(self._decoder.accept(audio))
                wanted = self.start.audio
                count = len(audio) * wanted.channels // bytes_per_sample(wanted)
                second = wanted.sample_rate * wanted.channels
                self._guard.check_numbers(count, self.bad_samples - bad, second)
        except AudioError as error:
            raise _told(error) from error
        self.taken_bytes += len(audio)
        now = asyncio.get_running_loop().time()
        self._guard.check_pace(self.session.received_samples - received, now)

    async def flush(self, name: str) -> None:
        """Finalise what was taken so far."""
        await self.session.flush(name)

    def begin(self) -> tuple[str, ...]:
        """What its start asks for holds from the first sample; gives what cannot be had here."""
        return self._settings.begin(self.session).refused

    def configure(self, change: messages.Configure) -> tuple[str, ...]:
        """Other settings from here on, and the journal says so; gives what cannot be had here.

        Raises ValueError, and changes nothing, for what a session does not take.
        """
        applied = self._settings.configure(self.session, change)
        self.journal.commit(messages.Configured(applied.sample))
        return applied.refused

    async def stop(self) -> int:
        """No more audio will come; gives the number of bytes that were no whole sample.

        PeerError for what cannot be decoded.
        """
        self.is_stopped = True
        leftover_bytes = 0
        try:
            if isinstance(self._decoder, ContainerDecoder):
                async for samples in self._decoder.finish():
                    await self.session.send(samples)
            else:
                await self.session.send(self._decoder.finish())
                leftover_bytes = self._decoder.leftover_bytes
        except AudioError as error:
            raise _told(error) from error
        await self.session.finish()
        return leftover_bytes

    def ack(self) -> messages.Ack:
        """What was taken so far."""
        received = self.session.received_samples
        if not self.is_kept:
            return messages.Ack(received)
        return messages.Ack(received, self.taken_bytes, self.taken_messages)

    @property
    def bad_samples(self) -> int:
        """Samples that were no numbers."""
        return 0 if isinstance(self._decoder, ContainerDecoder) else self._decoder.replaced


def _told(error: AudioError) -> PeerError:
    """What is wrong with a client's audio ends its connection."""
    is_known = not isinstance(error, UnsupportedAudioError)
    return PeerError("bad_audio" if is_known else "unsupported_audio", str(error))
