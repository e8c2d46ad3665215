"""The engine against the synchronous recognizer: equality, isolation, order, limits."""

import asyncio
import random

import numpy as np
import pytest

from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Final, Flushed
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError, SessionError
from tests.engine.harness import (
    POISON,
    FragileModel,
    GatedModel,
    SlotModel,
    assert_nothing_leaks,
    play,
    random_script,
    reference,
    run,
)
from tests.fakes import audio, silence, speak


def test_concurrent_sessions_equal_the_recognizer():
    async def main(seed):
        rng = random.Random(seed)
        context = Context(rng.choice([0, 5]), rng.randint(1, 20), rng.choice([0, 3]))
        rules = EndpointRules(silence_s=0.6, max_utterance_s=3.0)
        scripts = [random_script(rng) for _ in range(40)]
        model = SlotModel(context, slots=40)
        limits = {"max_sessions": 40, "max_batch": rng.choice([1, 7, 64])}
        async with Engine(model, **limits, max_backlog_s=2.0) as engine, asyncio.TaskGroup() as tg:
            players = [
                tg.create_task(play(engine.open_session(rules), script, random.Random(i)))
                for i, script in enumerate(scripts)
            ]
        for script, player in zip(scripts, players, strict=True):
            assert player.result() == reference(script, context, rules)
        assert_nothing_leaks(engine)
        assert max(map(len, model.batches)) <= limits["max_batch"]
        return len(model.batches), sum(map(len, model.batches))

    totals = np.sum([run(main(seed)) for seed in range(6)], axis=0)
    assert totals[1] > 2 * totals[0]  # it does batch


def test_slots_are_reused_and_reset():
    async def main():
        rng = random.Random(1)
        async with Engine(SlotModel(slots=2), max_sessions=2, max_batch=2) as engine:
            for _ in range(20):
                script = random_script(rng)
                assert await play(engine.open_session(), script) == reference(script)
        assert_nothing_leaks(engine)

    run(main())


@pytest.mark.parametrize("answer", ["raise", "nan"])
@pytest.mark.parametrize("sick", [{0}, {3}, {1, 4, 5}, set(range(7))])
def test_a_session_the_model_fails_on_is_closed_alone(answer, sick, caplog):
    async def main():
        rng = random.Random(2)
        scripts = [random_script(rng) for _ in range(7)]
        for index in sick:
            scripts[index].insert(len(scripts[index]) // 2, audio([POISON] * 3))
        async with Engine(FragileModel(answer), max_sessions=7, max_batch=7) as engine:
            sessions = [engine.open_session() for _ in scripts]
            played = [play(s, script) for s, script in zip(sessions, scripts, strict=True)]
            results = await asyncio.gather(*played, return_exceptions=True)
            assert engine.open_sessions == 0
            healthy = await play(engine.open_session(), scripts[2] if sick == {0} else [speak("a")])
            assert healthy
        for index, (script, result) in enumerate(zip(scripts, results, strict=True)):
            if index not in sick:
                assert result == reference(script)
                continue
            assert isinstance(result, ExceptionGroup)
            error = result.exceptions[0]
            assert (type(error), error.code) == (SessionError, "engine")
            cause = {"raise": RuntimeError, "nan": FloatingPointError}[answer]
            assert isinstance(error.__cause__, cause)
        assert len(caplog.records) == len(sick)
        assert_nothing_leaks(engine)

    run(main())


def test_sending_waits_for_room_and_for_nothing_else():
    async def main():
        model = GatedModel()
        async with Engine(model, max_sessions=1, max_batch=1, max_backlog_s=1.0) as engine:
            session = engine.open_session()
            await session.send(silence(1.0))  # fits: returns though the device is held
            sender = asyncio.create_task(session.send(silence(5.0)))
            await model.is_running()
            assert not sender.done()
            assert session.received_samples == 16_000
            model.open_for_good()
            await sender
            assert session.received_samples == 96_000
            assert await play(session, []) == [Closed(96_000, 0)]

    run(main())


def test_flushes_that_each_close_a_little_audio_wait_for_room_too():
    async def main():
        model = GatedModel()
        async with Engine(model, max_sessions=1, max_batch=1, max_backlog_s=1.0) as engine:
            session = engine.open_session()

            async def flush_often():
                for number in range(200):
                    await session.send(silence(0.001))
                    await session.flush(str(number))

            flushing = asyncio.create_task(flush_often())
            await model.is_running()
            assert not flushing.done()
            assert session.received_samples // 16 <= 1 + 13 + 1  # in flight, 1 s of 80 ms, one more
            model.open_for_good()
            await flushing
            flushed = [Flushed(str(number)) for number in range(200)]
            assert await play(session, []) == [*flushed, Closed(3_200, 0)]

    run(main())


def test_sessions_are_served_in_the_order_in_which_they_became_ready():
    async def main():
        model = GatedModel()
        async with Engine(model, max_sessions=4, max_batch=1) as engine:
            sessions = [engine.open_session() for _ in range(4)]
            for index in (2, 0, 3, 1):
                await sessions[index].send(silence(0.1))
            model.open_for_good()
        assert model.batches[:4] == [[2], [0], [3], [1]]

    run(main())


def test_no_more_sessions_than_slots():
    async def main():
        async with Engine(SlotModel(slots=8), max_sessions=2, max_batch=2) as engine:
            first, _ = engine.open_session(), engine.open_session()
            with pytest.raises(CapacityError, match="all 2 sessions are taken") as caught:
                engine.open_session()
            assert caught.value.retry_after_s > 0
            first.abort()
            engine.open_session()
        with pytest.raises(CapacityError, match="has stopped"):
            engine.open_session()

    run(main())


def test_flush_is_answered_and_configure_takes_effect():
    async def main():
        async with Engine(SlotModel(), max_sessions=1, max_batch=1) as engine:
            session = engine.open_session()
            await session.send(speak("one"))
            await session.flush("now")
            events = []
            async for event in session:
                events.append(event)
                if event == Flushed("now"):
                    break
            assert [e.reason for e in events if isinstance(e, Final)] == ["flush"]
            session.configure(EndpointRules(silence_s=0.2))
            after = await play(session, [speak("two"), silence(0.4)])
            assert [e.reason for e in after if isinstance(e, Final)] == ["endpoint"]

    run(main())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_sessions": 9, "max_batch": 1}, "8 slots, got 9"),
        ({"max_sessions": 1, "max_batch": 0}, "got 0"),
        ({"max_sessions": 1, "max_batch": 1, "max_backlog_s": 0.01}, "got 0.01"),
    ],
)
def test_impossible_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Engine(SlotModel(), **limits)


def test_bad_samples_are_the_senders_fault_and_end_nothing():
    async def main():
        async with Engine(SlotModel(), max_sessions=1, max_batch=1) as engine:
            session = engine.open_session()
            with pytest.raises(ValueError, match="float64"):
                await session.send(np.zeros(3))
            assert await play(session, [speak("fine")]) == reference([speak("fine")])
            for late in (session.flush(), session.send(silence(0.1))):
                with pytest.raises(SessionError):
                    await late
            await session.finish()

    run(main())
