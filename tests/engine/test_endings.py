"""Every way in which a session, or the engine, can come to its end."""

import asyncio

import pytest

from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Partial
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from tests.engine.harness import (
    GatedModel,
    SlotModel,
    assert_nothing_leaks,
    play,
    reference,
    run,
    without_partials,
)
from tests.fakes import silence, speak


def test_leaving_mid_step_disturbs_nobody_and_frees_the_slot_only_afterwards():
    async def main():
        model = GatedModel(slots=2)
        async with Engine(model, max_sessions=2, max_batch=2) as engine:
            leaver, stayer = engine.open_session(), engine.open_session()
            await leaver.send(speak("never heard"))
            await stayer.send(speak("heard"))
            await model.is_running()
            assert model.batches == []
            leaver.abort()
            with pytest.raises(CapacityError):
                engine.open_session()
            model.open_for_good()
            assert await play(stayer, []) == reference([speak("heard")])
            assert model.batches[0] == [0, 1]
            newcomer = engine.open_session()
            assert newcomer.slot in (0, 1)
            assert await play(newcomer, [speak("new")]) == reference([speak("new")])
        with pytest.raises(SessionError) as caught:
            await anext(leaver.events())
        assert caught.value.code == "closed"
        assert_nothing_leaks(engine)

    run(main())


def test_a_slow_reader_delays_nobody_and_loses_partials_only():
    async def main():
        script = [speak("one two three "), silence(1.5)] * 20
        async with Engine(SlotModel(), max_sessions=2, max_batch=2) as engine:
            slow, fast = engine.open_session(), engine.open_session()
            for item in script:
                await slow.send(item)
            await slow.finish()
            assert await play(fast, script) == reference(script)
        events = [event async for event in slow.events()]
        assert without_partials(events) == reference(script)
        assert sum(isinstance(event, Partial) for event in events) <= 1

    run(main())


def test_a_session_nobody_reads_is_closed_as_too_slow():
    async def main():
        rules = EndpointRules(silence_s=0.04)
        samples = speak("a" * 4000, 1, 3)
        async with Engine(SlotModel(), max_sessions=1, max_batch=1) as engine:
            session = engine.open_session(rules)
            with pytest.raises(SessionError) as caught:
                await session.send(samples)
            assert caught.value.code == "too_slow"
            with pytest.raises(SessionError):
                await anext(session.events())
            assert await play(engine.open_session(), [speak("next")]) == reference([speak("next")])

    run(main())


def test_one_sink_that_is_too_slow_is_dropped_and_the_session_goes_on():
    async def main():
        rules = EndpointRules(silence_s=0.04)
        script = [speak("a" * 100, 1, 3)] * 6
        async with Engine(SlotModel(), max_sessions=1, max_batch=1) as engine:
            session = engine.open_session(rules)
            neglected = session.add_outbox()
            assert await play(session, script) == reference(script, rules=rules)
        assert neglected.error.code == "too_slow"

    run(main())


def test_every_sink_gets_every_event():
    async def main():
        script = [speak("one two"), "x", speak("three")]
        async with Engine(SlotModel(), max_sessions=1, max_batch=1) as engine:
            session = engine.open_session()
            other = session.add_outbox()
            events = await play(session, script)
            assert without_partials([event async for event in other]) == events

    run(main())


def test_draining_refuses_newcomers_and_lets_the_others_finish():
    async def main():
        model = GatedModel()
        async with Engine(model, max_sessions=3, max_batch=3) as engine:
            sessions = [engine.open_session() for _ in range(2)]
            scripts = [[speak("one two"), "x"], [speak("three"), silence(2.0)]]
            async with asyncio.TaskGroup() as tasks:
                await sessions[0].send(speak("zero "))
                drained = tasks.create_task(engine.drain())
                await model.is_running()
                with pytest.raises(CapacityError, match="shutting down"):
                    engine.open_session()
                assert not drained.done()
                model.open_for_good()
                results = [await play(*pair) for pair in zip(sessions, scripts, strict=True)]
            assert results[0] == reference([speak("zero "), *scripts[0]])
            assert results[1] == reference(scripts[1])
        assert_nothing_leaks(engine)

    run(main())


def test_closing_loses_nothing_that_was_sent():
    async def main():
        async with Engine(SlotModel(), max_sessions=2, max_batch=2) as engine:
            sessions = [engine.open_session() for _ in range(2)]
            for session in sessions:
                await session.send(speak("still going"))
        for session in sessions:
            events = [event async for event in session]
            assert without_partials(events) == reference([speak("still going")])
            with pytest.raises(SessionError, match="come to its end"):
                await session.send(silence(0.1))
        assert_nothing_leaks(engine)

    run(main())


def test_a_sender_that_waits_while_the_engine_closes_is_told():
    async def main():
        model = GatedModel()
        async with Engine(model, max_sessions=1, max_batch=1, max_backlog_s=1.0) as engine:
            session = engine.open_session()
            sender = asyncio.create_task(session.send(silence(5.0)))
            await model.is_running()
            closing = asyncio.create_task(engine.close())
            with pytest.raises(SessionError, match="finished"):
                await sender
            model.open_for_good()
            await closing
            assert [event async for event in session] == [Closed(16_000, 0)]

    run(main())


def test_leaving_the_block_early_gives_the_slot_back():
    async def main():
        async with Engine(SlotModel(slots=2), max_sessions=2, max_batch=2) as engine:
            for _ in range(5):
                async with engine.open_session() as session:
                    await session.send(speak("gone before the end"))
                    await anext(session.events())
                script = [speak("whoever comes next")]  # by its end, any older step has returned
                assert await play(engine.open_session(), script) == reference(script)
        assert_nothing_leaks(engine)

    run(main())


def test_cancellation_passes_through_and_ends_the_sessions():
    async def main():
        model, opened = GatedModel(), asyncio.Event()

        async def serve():
            async with Engine(model, max_sessions=1, max_batch=1) as engine:
                sessions.append(engine.open_session())
                await sessions[0].send(speak("cut off"))
                opened.set()
                await asyncio.Event().wait()

        sessions = []
        server = asyncio.create_task(serve())
        await opened.wait()
        await model.is_running()
        server.cancel()
        model.open_for_good()
        with pytest.raises(asyncio.CancelledError):
            await server
        with pytest.raises(SessionError, match="stopped"):
            await anext(sessions[0].events())

    run(main())


def test_an_exception_in_the_block_is_raised_as_it_is():
    async def main():
        engine = Engine(SlotModel(), max_sessions=1, max_batch=1)

        async def serve():
            async with engine:
                engine.open_session()
                raise KeyError

        with pytest.raises(KeyError):
            await serve()
        assert_nothing_leaks(engine)

    run(main())


def test_a_model_that_cannot_even_reset_stops_the_engine_and_tells_everyone():
    class Broken(SlotModel):
        def reset(self, slots):
            raise RuntimeError("device lost")

    async def main():
        engine = Engine(Broken(), max_sessions=1, max_batch=1)
        told = []

        async def serve():
            async with engine, engine.open_session() as session:
                await session.send(speak("hello"))
                told.append(session)
                await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup) as caught:
            await serve()
        assert "device lost" in str(caught.value.exceptions)
        with pytest.raises(SessionError, match="stopped"):
            await anext(told[0].events())
        with pytest.raises(CapacityError, match="has stopped"):
            engine.open_session()
        assert_nothing_leaks(engine)

    run(main())
