"""The awaitable face of one stream.

Owns back-pressure towards who sends, and the ways a session ends. Must not know: batches, the
device, the outside world.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import repeat
from typing import Protocol, Self

from streamer.core.chunker import Waveform, Window
from streamer.core.decoder import Decoded
from streamer.core.decoding import DecoderSettings
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames
from streamer.core.hypothesis import Event
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions
from streamer.core.speech import Probabilities
from streamer.core.stream import Stream
from streamer.core.text_rules import TextRules
from streamer.engine.errors import SessionError
from streamer.engine.outbox import Outbox

_log = logging.getLogger(__name__)


class Host(Protocol):
    """What a session asks of its engine."""

    def ready(self, session: "Session", deadline: float) -> None:
        """The session has a window ready since `deadline` (loop time), and none in flight."""

    def listens(self, session: "Session") -> None:
        """A verdict on what the session has not heard yet may end its utterance."""

    def left(self, session: "Session") -> None:
        """The session is over; said once."""


class Session:
    """One stream in the engine: `await send(samples)`, `async for event in session`.

    One task sends, another may take the events. Leaving the `async with` block before the `Closed`
    event aborts it. The slot is given back as soon as it is over; queued events can still be taken.

    At its limits: undecoded audio beyond `max_backlog_samples`, or more than `max_windows` ready (a
    flush costs one), makes `send` and `flush` wait; a session whose outboxes have failed is over.
    """

    def __init__(
        self,
        host: Host,
        stream: Stream,
        slot: int,
        *,
        max_backlog_samples: int,
        max_windows: int,
        max_events: int,
    ) -> None:
        self.slot, self._host, self._stream = slot, host, stream
        # Of the window in flight, either may be called; the first by another thread too.
        self.decode, self.chunk = stream.decode, stream.chunk
        self._max_backlog_samples, self._max_windows = max_backlog_samples, max_windows
        self._now = asyncio.get_running_loop().time
        self._deadlines: deque[float] = deque()  # of the ready windows
        self._max_events, self._outbox = max_events, Outbox(max_events)
        self._outboxes = [self._outbox]  # those that did not fail
        self._room, self._is_finished = asyncio.Event(), False  # whether no more input comes
        self.lost_samples = 0  # reported so far
        self._over: SessionError | None = None  # what a call after the end raises

    async def send(self, samples: Waveform) -> None:
        """Take float32 (S,) samples in [-1, 1] at 16 kHz, any S; waits only for room.

        Raises ValueError for bad samples, SessionError if the session is finished or over.
        """
        while len(samples) > (room := self._free_samples()):
            if room:
                self._accept(samples[:room])
                samples = samples[room:]
            else:
                await self._room_made()
        self._accept(samples)

    async def flush(self, id: str = "") -> None:  # noqa: A002 (the wire's name)
        """Finalise what was sent so far; `Flushed(id)` follows. Waits only for room, as `send`."""
        self._check_input()
        while self._has_windows_enough():
            await self._room_made()
            self._check_input()
        self._stream.flush(id)
        self._announce()

    async def finish(self) -> None:
        """No more input will come; `Closed` follows. Does not wait for it. Again: no effect."""
        if not (self._is_finished or self.is_over):
            self._is_finished = True
            self._room.set()  # a sender that still waits is told
            self._stream.input_finished()
            self._announce()

    def configure(
        self,
        endpoint: EndpointRules,
        options: DecodingOptions | None = None,
        text: TextRules | None = None,
        keywords: Sequence[Phrase] | None = None,
    ) -> int:
        """Other settings from here on; returns that sample. See `Stream.configure`."""
        self._check_input()
        return self._stream.configure(endpoint, options, text, keywords)

    def check_configure(
        self, text: TextRules | None = None, keywords: Sequence[Phrase] | None = None
    ) -> None:
        """Raise what `configure` would."""
        self._check_input()
        self._stream.check_configure(text, keywords)

    @property
    def options(self) -> DecodingOptions:
        """What holds for the audio that is sent now."""
        return self._stream.options

    def unsupported(self, options: DecodingOptions) -> list[str]:
        """The names of the options that would be ignored."""
        return self._stream.unsupported(options)

    @property
    def decoder_settings(self) -> DecoderSettings:
        """Of the decoder at the beginning."""
        return self._stream.decoder_settings

    def report_gap(self, duration: int) -> None:
        """`duration` samples were lost between what was sent and what will be."""
        self._check_input()
        self._stream.report_gap(duration)
        self.lost_samples += duration
        self._announce()

    def abort(self) -> None:
        """Leave at once: what is not decoded is dropped. No effect if the session is over."""
        self.fail(SessionError("closed", "the session was aborted"))

    @property
    def received_samples(self) -> int:
        """Samples accepted so far."""
        return self._stream.received_samples

    @property
    def decoded_samples(self) -> int:
        """Of these, the ones that were decoded."""
        return self._stream.received_samples - self._stream.pending_samples

    def is_caught_up(self) -> bool:
        """Whether each window that is there was decoded, and each event taken."""
        return not (self._stream.is_behind() or self._outbox.holds_events())

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come, except events that are queued already."""
        return self._over is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    def events(self) -> AsyncIterator[Event]:
        """The events, for one reader; ends after `Closed` or raises SessionError."""
        return self._outbox

    __aiter__ = events

    def add_outbox(self) -> Outbox:
        """Another sink, for the events from now on."""
        self._check_input()
        self._outboxes.append(Outbox(self._max_events))
        return self._outboxes[-1]

    @property
    def ready_windows(self) -> int:
        """Windows whose samples are all there, those in flight not counted."""
        return len(self._deadlines)

    def take_unheard(self) -> Waveform | None:
        """See `Stream.take_unheard`; None if the session is over."""
        return None if self.is_over else self._stream.take_unheard()

    def accept_verdict(self, verdict: Probabilities | Exception) -> None:
        """What the detector says of samples taken, or why it says nothing."""
        if self.is_over:
            return
        try:
            if isinstance(verdict, Exception):
                raise verdict
            self._stream.accept_verdict(verdict)
            self._announce()
        except Exception as cause:
            self._break_down(cause)

    def take_windows(self, most: int) -> list[Window]:
        """The next window, and up to `most` in all behind each other, from now on in flight."""
        windows = self._stream.next_windows(most)
        for _ in windows:
            self._deadlines.popleft()
        return windows

    def accept(self, answers: Sequence[Frames | Decoded | Exception]) -> None:
        """The frames of the windows in flight, or what `decode` has made of them.

        An exception behind which there are none ends the session; what came before is told first.
        """
        try:
            try:
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise answer
                    decoded = self.decode(answer) if isinstance(answer, Frames) else answer
                    self._stream.accept_decoded(decoded)
            finally:
                self._room.set()
                self._announce()
        except Exception as cause:
            self._break_down(cause)

    def fail(self, error: SessionError) -> None:
        """End with `error` behind the events queued so far; no effect if the session is over."""
        if not self.is_over:
            for outbox in self._outboxes:
                outbox.fail(error)
            self._leave(error)

    def _break_down(self, cause: Exception) -> None:
        """A fault of the recogniser on this session goes to the log and ends no other one."""
        _log.error("a session failed in slot %d", self.slot, exc_info=cause)
        error = SessionError("engine", "the recognizer failed on this session")
        error.__cause__ = cause
        self.fail(error)

    def _check_input(self) -> None:
        if self._over is not None:
            raise self._over
        if self._is_finished:
            raise SessionError("closed", "the session was finished and takes no more input")

    def _free_samples(self) -> int:
        self._check_input()
        room = self._max_backlog_samples - self._stream.pending_samples
        return 0 if self._has_windows_enough() else room

    def _has_windows_enough(self) -> bool:
        return len(self._deadlines) > self._max_windows

    async def _room_made(self) -> None:
        self._room.clear()
        await self._room.wait()

    def _accept(self, samples: Waveform) -> None:
        self._stream.accept_waveform(samples)
        self._announce()

    def _announce(self) -> None:
        """Pass on what the last call has brought about: ready windows, events, the end."""
        new_windows = self._stream.ready_windows - len(self._deadlines)
        if new_windows:
            self._deadlines.extend(repeat(self._now(), new_windows))
        events = self._stream.take_events()
        if events:
            self._publish(events)
        if self._over is not None:
            return
        if self._deadlines and self._stream.is_ready():
            self._host.ready(self, self._deadlines[0])
        elif self._stream.wants_verdict():
            self._host.listens(self)

    def _publish(self, events: list[Event]) -> None:
        for outbox in self._outboxes:
            for event in events:
                outbox.put(event)
        failed = [outbox.error for outbox in self._outboxes if outbox.error is not None]
        if self._stream.is_done:
            for outbox in self._outboxes:
                outbox.close()
            self._leave(SessionError("closed", "the session has come to its end"))
        elif failed:
            self._outboxes = [outbox for outbox in self._outboxes if outbox.error is None]
            if not self._outboxes:
                self._leave(failed[-1])

    def _leave(self, over: SessionError) -> None:
        self._over = over
        self._room.set()
        self._host.left(self)
