"""A server in a process of its own, which tells what it measures through a pipe.

Owns the process from the benchmark's side. Must not know: what it serves.
"""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Literal

from streamer.benchmark.observation import Geometry, Meters, Step
from streamer.schema import ConfigError

STOP_TIMEOUT_S = 10.0

Question = Literal["meters", "steps"]
"""What the server is asked; None ends it."""


class Remote:
    """The pipe to a running server; one question at a time."""

    def __init__(self, pipe: "Connection[Any, Any]", port: int, geometry: Geometry) -> None:
        self.port, self.geometry = port, geometry
        self._pipe = pipe
        self._turn = asyncio.Lock()

    async def meters(self) -> Meters:
        """Its processor time so far."""
        answer: Meters = await self._ask("meters")
        return answer

    async def steps(self) -> list[Step]:
        """Its steps since the last call."""
        answer: list[Step] = await self._ask("steps")
        return answer

    async def _ask(self, question: Question) -> Any:
        async with self._turn:
            return await asyncio.to_thread(_answer, self._pipe, question)


def _answer(pipe: "Connection[Any, Any]", question: Question) -> Any:
    pipe.send(question)
    return pipe.recv()


@asynccontextmanager
async def started(
    serve: Callable[["Connection[Any, Any]", Any], None], plan: object
) -> AsyncIterator[Remote]:
    """`serve(pipe, plan)` in a new process, for the length of the block.

    Its first word is (port, geometry), or a sentence that says why it cannot serve, raised as
    ConfigError.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, plan), name="bench server", daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for us: the pipe ends it
    process.start()
    signal.signal(signal.SIGINT, before)
    theirs.close()
    try:
        try:
            first = await asyncio.to_thread(ours.recv)
        except EOFError as error:
            raise ConfigError("the server of the benchmark ended before it served") from error
        if isinstance(first, str):
            raise ConfigError(first)
        yield Remote(ours, *first)
    finally:
        with suppress(OSError):  # it may have ended
            ours.send(None)
        await asyncio.to_thread(process.join, STOP_TIMEOUT_S)
        if process.is_alive():
            process.kill()
        ours.close()
