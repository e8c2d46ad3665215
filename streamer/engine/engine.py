"""The loop that batches the windows of all sessions through one model.

Owns the open sessions and the one thread that may touch the model. Must not know: what the model
is made of, where audio comes from, where events go.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from streamer.core.context import Grid
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.keywords import Phrase
from streamer.core.listener import check_keywords, unredacted
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.recognizer import Model
from streamer.core.stream import Stream
from streamer.core.text_rules import SPOKEN, TextRules
from streamer.engine import limits
from streamer.engine.decode_workers import DecodeWorkers
from streamer.engine.errors import CapacityError, SessionError
from streamer.engine.lateness import HANDING_SHARE, windows_each
from streamer.engine.load import Load
from streamer.engine.meter import Measured, Meter
from streamer.engine.outbox import MAX_EVENTS
from streamer.engine.scheduler import Scheduler
from streamer.engine.session import Session
from streamer.engine.slots import Slots
from streamer.engine.step import Outcome, Result
from streamer.engine.trip import Trip
from streamer.engine.watchers import Opened, Watchers

_log = logging.getLogger(__name__)


class Engine:
    """Sessions in, one model, one device thread: `async with Engine(...) as engine`.

    Leaving the block closes the engine: every session is finished, and what it sent is decoded.
    An exception in the block aborts the sessions instead.

    At its limits: `max_sessions` open sessions (at most the model's slots), or those that take
    `max_load` of the device's or decoders' time, as measured (0: no limit), more are refused with
    CapacityError; `max_batch` windows in a step, fewer once memory was short; `max_backlog_s`
    seconds of undecoded audio in a session, then its `send` waits.
    Beams are searched by `decode_workers` processes (see there), or by the device thread if 0.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_sessions: int,
        max_batch: int,
        max_backlog_s: float = 10.0,
        max_load: float = 0.0,
        text: TextRules = SPOKEN,
        keywords: Sequence[Phrase] = (),
        options: DecodingOptions = DEFAULT_OPTIONS,
        decode_workers: int = 0,
    ) -> None:
        limits.check(model, max_sessions, max_backlog_s)
        self._model, self._options, self._keywords = model, options, keywords
        self.text = text  # of the sessions that wish nothing else
        check_keywords(keywords, model.labels, text)
        self._max_backlog_samples = Grid.samples_in(max_backlog_s)
        self._scheduler: Scheduler[Session] = Scheduler(max_batch)
        self._meter = Meter()
        chunk_s = Grid.seconds(model.grid.samples(model.context.chunk))
        self._load = Load(chunk_s, max_batch, max_load)
        decoding = Load(chunk_s * max(1, decode_workers), 1, max_load)  # of all processes together
        self._sessions: set[Session] = set()
        self._slots, self._watchers = Slots(max_sessions, self._load, decoding), Watchers()
        self._listening: dict[Session, None] = {}  # between two windows, in order
        self._work, self._idle = asyncio.Event(), asyncio.Event()  # idle: no sessions
        self._idle.set()
        self._handing_s = 0.0  # how long the last answers took to be handed out
        self._tasks = asyncio.TaskGroup()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._searches = model.search is not None and not decode_workers
        self._workers = DecodeWorkers(decode_workers, model.search, self, decoding)

    # --- sessions ---------------------------------------------------------------------------------

    @property
    def open_sessions(self) -> int:
        """Sessions that hold a slot."""
        return len(self._sessions)

    def is_alive(self, step_limit_s: float) -> bool:
        """Whether it serves, and no step has taken longer than that."""
        since = self._meter.step_since
        is_stuck = since is not None and asyncio.get_running_loop().time() - since > step_limit_s
        return self._slots.are_open and not is_stuck

    def measured(self) -> Measured:
        """What it has done so far and does now."""
        waiting = self._scheduler.waiting
        return Measured.of(self._meter, self._sessions, self._slots.count, waiting, self._workers)

    def watch(self) -> asyncio.Queue[Opened]:
        """Every session that is opened from now on, for one reader; see Watchers for its limit."""
        return self._watchers.add()

    def open_session(
        self,
        endpoint: EndpointRules | None = None,
        options: DecodingOptions | None = None,
        *,
        max_events: int = MAX_EVENTS,
        id: str = "",  # noqa: A002 (what it is)
        name: str = "",
        text: TextRules | None = None,
        keywords: Sequence[Phrase] | None = None,
    ) -> Session:
        """A new session in a slot of its own; CapacityError if there is none to be had.

        `options`, `text` and `keywords` stand for the engine's; ValueError for keywords that the
        model cannot spell, or that are redacted. The engine's own are left out where they are.

        Its outboxes hold `max_events`, or MAX_EVENTS if that is more. `id` ("": a new random one)
        and `name` are for watchers.
        """
        self.check_room()
        model, text = self._model, self.text if text is None else text
        geometry = model.context, model.grid, model.labels
        rules, options = endpoint or DEFAULT_RULES, options or self._options
        phrases = self.keywords_for(text, keywords)
        stream = Stream(*geometry, rules, model.search, text, phrases, options, model.detector)
        chunk_samples = model.grid.samples(model.context.chunk)
        session = Session(
            self,
            stream,
            self._slots.take(),
            max_backlog_samples=self._max_backlog_samples,
            max_windows=-(-self._max_backlog_samples // chunk_samples),
            max_events=max(max_events, MAX_EVENTS),
        )
        self._sessions.add(session)
        self._meter.sessions_opened += 1
        self._idle.clear()
        self._watchers.tell(session, id, name)
        return session

    def keywords_for(self, text: TextRules, keywords: Sequence[Phrase] | None) -> Sequence[Phrase]:
        """What a session listens for that asks for these; None: its own, if `text` shows them."""
        return unredacted(self._keywords, text) if keywords is None else keywords

    @property
    def hears_speech(self) -> bool:
        """Whether endpoint rules can have `vad`."""
        return self._model.detector is not None

    def check_room(self, count: int = 1) -> None:
        """CapacityError unless so many could be opened now, ValueError for more than ever can."""
        try:
            self._slots.check(count)
        except CapacityError:
            self._meter.sessions_refused += 1
            raise

    def has_room(self, count: int, *, leaving: int) -> bool:
        """Whether so many sessions could be opened if so many others were over."""
        return self._slots.has(count, leaving)

    def ready(self, session: Session, deadline: float) -> None:
        """Called by a session when a window of it is ready and none is in flight."""
        self._scheduler.add(session, deadline)
        self._work.set()

    def listens(self, session: Session) -> None:
        """Called by a session that wants a verdict before its next window is ready."""
        self._listening[session] = None
        self._work.set()

    def left(self, session: Session) -> None:
        """Called by a session when it is over; its slot waits for the step it is part of."""
        self._scheduler.discard(session)
        if not self._scheduler.is_in_flight(session):
            self._give_back(session)

    def _give_back(self, session: Session) -> None:
        self._sessions.remove(session)
        self._workers.forget(session)
        self._meter.heard(session.received_samples, session.decoded_samples, session.lost_samples)
        self._slots.give_back(session.slot)
        if not self._sessions:
            self._idle.set()

    # --- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._workers.start()
        await self._tasks.__aenter__()
        self._workers.serve(self._tasks)
        self._server = self._tasks.create_task(self._serve(), name="engine")
        self._slots.open()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                await self.close()
        finally:
            self._server.cancel()
            try:
                await self._workers.stop()
                await self._tasks.__aexit__(None, None, None)
            finally:
                self._stop()  # a loop that was cancelled before its first step has not
                await asyncio.to_thread(self._device.shutdown)  # waits for the step in flight

    async def drain(self, deadline_s: float | None = None) -> None:
        """Open no more sessions and wait until those that are open have come to their end.

        After `deadline_s` seconds the remaining ones are finished: they take no more input, but
        what they took is decoded and its finals and `Closed` are queued for their readers.
        """
        if self._slots.are_open:
            self._slots.close("the engine is shutting down")
        try:
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
        except TimeoutError:
            for session in tuple(self._sessions):
                await session.finish()
            await self._idle.wait()

    async def close(self) -> None:
        """Finish every session now; returns when all that was sent is decoded."""
        await self.drain(deadline_s=0)

    # --- the loop ---------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Wait for ready windows, choose, run, hand back: as the next step runs, or in no time."""
        done: tuple[Trip, Outcome] | None = None
        loop, taken_s = asyncio.get_running_loop(), 0.0
        try:
            while True:
                if done is not None and self._handing_s <= HANDING_SHARE * taken_s:
                    self._hand_back(*done)
                    done = None
                trip, running = self._next_trip(), None
                if trip is not None:
                    self._meter.step_begins(loop.time())
                    running = loop.run_in_executor(self._device, trip.run, self._model)
                if done is not None:
                    self._hand_back(*done)
                    done = None
                if trip is not None and running is not None:
                    done = trip, await running
                    taken_s = self._meter.step_ends(loop.time(), trip.windows)
                    self._load.note(trip.windows, taken_s)
                elif not self._work.is_set():
                    await self._work.wait()
                self._work.clear()
        finally:
            self._stop()

    def _next_trip(self) -> Trip | None:
        """What goes to the device next, if anything does; slots of new sessions are reset first."""
        batch, listening, self._listening = self._scheduler.next_batch(), self._listening, {}
        if not batch and not listening:
            return None
        ready = [each.ready_windows for each in batch]
        bounds = len(self._sessions), self._model.most_windows, self._scheduler.max_batch
        counts = windows_each(ready, *bounds, self._load) if batch else []
        return Trip(self._slots.take_resets(), batch, counts, listening, searched=self._searches)

    def _hand_back(self, trip: Trip, outcome: Outcome) -> None:
        begin = asyncio.get_running_loop().time()
        trip.hand_verdicts(outcome)
        if outcome.most < trip.windows:
            _log.warning("memory was short: batches are of %d windows from now", outcome.most)
            self._scheduler.limit(int(outcome.most))
        for session, results in zip(trip.batch, outcome.results, strict=True):
            if not self._workers.take(session, results):
                self.decoded(session, results)
        self._handing_s = asyncio.get_running_loop().time() - begin

    def decoded(self, session: Session, results: Sequence[Result]) -> None:
        """What became of a session's windows in flight; the workers call it too."""
        self._scheduler.done([session])
        if session.is_over:  # left meanwhile
            self._give_back(session)
        else:
            session.accept(results)

    def _stop(self) -> None:
        """The loop has ended: nobody may wait for it any longer. Again: no effect."""
        self._slots.close("the engine has stopped")
        self._scheduler.done(self._sessions)
        for session in tuple(self._sessions):
            if session.is_over:
                self._give_back(session)
            else:
                session.fail(SessionError("engine", "the engine has stopped"))
