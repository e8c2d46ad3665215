"""Sinks that follow sessions which others open and feed.

Owns the tasks of the sinks. Must not know: what a sink does with the events.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from streamer.engine.engine import Engine
from streamer.engine.watchers import Opened

Sink: TypeAlias = Callable[[Opened], Awaitable[None]]


@asynccontextmanager
async def following(engine: Engine, name: str, sink: Sink) -> AsyncIterator[None]:
    """Run `sink` for every session opened in the block, each in a task of its own.

    The end of the block waits for them; an exception in it, or in a sink, cancels them.
    """
    opened = engine.watch()

    async def run(each: Opened) -> None:
        await sink(each)

    async def take() -> None:
        while True:
            each = await opened.get()
            tasks.create_task(run(each), name=f"{name} {each.id}")

    try:
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(take(), name=name)
            yield
            taking.cancel()
            while not opened.empty():
                each = opened.get_nowait()
                tasks.create_task(run(each), name=f"{name} {each.id}")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
