"""What a session holds: as much in later minutes as in the first, and nothing once closed."""

import asyncio
import gc
import tracemalloc
import weakref

import numpy as np

from streamer.core.context import Context
from streamer.engine.engine import Engine
from tests.engine.harness import SlotModel, assert_nothing_leaks, run
from tests.fakes import silence, speak

MINUTE = np.concatenate([*[speak("some words to say "), silence(1.2)] * 30, silence(60)])[:960_000]
CONTEXT = Context(0, 32, 0)


def held_bytes():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def hear(session, minutes):
    """Send so many minutes, and take all events up to the flush behind them."""

    async def send():
        for _ in range(minutes):
            await session.send(MINUTE)
        await session.flush("heard")

    sending = asyncio.create_task(send())
    finals = 0
    async for event in session:
        finals += type(event).__name__ == "Final"
        if type(event).__name__ == "Flushed":
            break
    await sending
    return finals


def test_later_minutes_hold_no_more_than_the_first():
    async def main():
        async with Engine(SlotModel(CONTEXT), max_sessions=1, max_batch=1) as engine:
            engine._model.batches = Forgetful()
            session = engine.open_session()
            tracemalloc.start()
            try:
                assert await hear(session, 4) >= 4
                before = held_bytes()
                await hear(session, 4)
                assert held_bytes() - before < 20_000  # the audio alone is 15 MB
            finally:
                tracemalloc.stop()
            session.abort()
        assert_nothing_leaks(engine)

    run(main())


class Forgetful(list):
    def append(self, _):
        pass


def test_a_closed_session_is_forgotten_whole():
    async def main():
        async with Engine(SlotModel(CONTEXT), max_sessions=2, max_batch=2) as engine:
            gone = []
            for _ in range(2):
                session = engine.open_session()
                await hear(session, 1)
                gone += [weakref.ref(session), weakref.ref(session._stream)]
                session.abort()
                del session
            await asyncio.sleep(0)
            gc.collect()
            assert [ref() for ref in gone] == [None] * 4
            assert sorted(engine._slots._free) == [0, 1]

    run(main())
