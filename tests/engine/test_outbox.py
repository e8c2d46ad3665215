import asyncio

import pytest

from streamer.core.hypothesis import Closed, Final, Flushed, Partial
from streamer.engine.errors import SessionError
from streamer.engine.outbox import Outbox


def partial(revision: int) -> Partial:
    return Partial(0, revision, "", str(revision), (), 0.0, 0.0)


FINAL = Final(0, "a", (), 0.0, 1.0, 1.0, "end")


async def rest_of(outbox: Outbox) -> list:
    return [event async for event in outbox]


def test_a_newer_partial_replaces_one_that_was_not_taken():
    async def main():
        outbox = Outbox()
        for event in (partial(1), partial(2), Flushed("x"), partial(3), FINAL):
            outbox.put(event)
        outbox.close()
        assert await rest_of(outbox) == [Flushed("x"), partial(3), FINAL]

    asyncio.run(main())


def test_a_partial_that_was_taken_is_not_replaced():
    async def main():
        outbox = Outbox()
        outbox.put(partial(1))
        assert await anext(outbox) == partial(1)
        outbox.put(partial(2))
        assert await anext(outbox) == partial(2)

    asyncio.run(main())


def test_partials_never_fill_an_outbox_and_everything_else_does():
    async def main():
        outbox = Outbox(max_events=3)
        for revision in range(100):
            outbox.put(partial(revision))
        outbox.put(FINAL)
        outbox.put(FINAL)
        assert outbox.error is None
        outbox.put(FINAL)
        assert outbox.error.code == "too_slow"
        with pytest.raises(SessionError, match="3 events"):
            await anext(outbox)  # at once: what it held is dropped

    asyncio.run(main())


def test_a_reader_that_waits_is_woken_by_an_event_by_the_end_and_by_an_error():
    async def main():
        for end in ("event", "close", "fail"):
            outbox = Outbox()
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(rest_of(outbox) if end != "fail" else failing(outbox))
                await asyncio.sleep(0)
                if end == "event":
                    outbox.put(FINAL)
                    await asyncio.sleep(0)
                if end == "fail":
                    outbox.fail(SessionError("engine", "it broke"))
                outbox.close()
            assert reader.result() == {"event": [FINAL], "close": [], "fail": "it broke"}[end]

    async def failing(outbox):
        with pytest.raises(SessionError) as caught:
            await anext(outbox)
        return str(caught.value)

    asyncio.run(main())


def test_queued_events_come_before_an_error_and_nothing_after_it():
    async def main():
        outbox = Outbox()
        outbox.put(FINAL)
        outbox.fail(SessionError("engine", "it broke"))
        outbox.put(Closed(0, 0))
        assert await anext(outbox) == FINAL
        with pytest.raises(SessionError):
            await anext(outbox)

    asyncio.run(main())
