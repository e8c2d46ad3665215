"""Streams as sessions of an engine in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from streamer.benchmark.clips import Audio
from streamer.benchmark.load import Line, LineError, RefusedError
from streamer.benchmark.observation import Geometry, Heard, Meters, Step, TimedModel
from streamer.config import EngineConfig
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Final, Partial
from streamer.core.recognizer import Model
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from streamer.engine.session import Session


class SessionLine:
    """A session as a `Line`."""

    def __init__(self, session: Session, audio: Audio, stream: int) -> None:
        self.slot = session.slot
        self._session, self._audio, self._stream = session, audio, stream

    async def send(self, first: int, stop: int) -> None:
        """As `Line`; a session that is over takes nothing, and its listener says why."""
        try:
            await self._session.send(self._audio.samples(self._stream, first, stop))
        except SessionError:
            return

    async def finish(self) -> None:
        """As `Line`."""
        await self._session.finish()

    async def listen(self, note: Callable[[Heard], None]) -> None:
        """As `Line`."""
        try:
            async for event in self._session:
                match event:
                    case Partial(end=end_s):
                        note(Heard(self._stream, time.monotonic(), "partial", end_s))
                    case Final(end=end_s, reason=reason):
                        note(Heard(self._stream, time.monotonic(), "final", end_s, reason))
                    case Closed():
                        note(Heard(self._stream, time.monotonic(), "closed"))
        except SessionError as error:
            raise LineError(f"a session failed: {error}") from error


class EngineTarget:
    """An engine for each run, around one model; the host's time includes the load generator's."""

    def __init__(
        self, model: Model, config: EngineConfig, endpoint: EndpointRules, audio: Audio
    ) -> None:
        self.geometry = Geometry.of(model.context, model.grid)
        self._model = TimedModel(model)
        self._config, self._endpoint, self._audio = config, endpoint, audio

    @asynccontextmanager
    async def opened(self, streams: int) -> AsyncIterator[list[Line]]:
        """As `Target`."""
        engine = Engine(
            cast("Model", self._model),
            max_sessions=streams,
            max_batch=self._config.max_batch,
            max_backlog_s=self._config.max_backlog_s,
        )
        async with engine:
            try:
                sessions = [engine.open_session(self._endpoint) for _ in range(streams)]
            except CapacityError as error:
                raise RefusedError(str(error)) from error
            try:
                yield [SessionLine(each, self._audio, n) for n, each in enumerate(sessions)]
            finally:
                for session in sessions:
                    session.abort()
                await asyncio.sleep(0)

    async def meters(self) -> Meters:
        """As `Target`."""
        return Meters(time.thread_time(), time.process_time())

    async def steps(self) -> list[Step]:
        """As `Target`."""
        noted, self._model.steps = self._model.steps, []
        return noted
