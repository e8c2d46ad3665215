"""The engine against the synchronous recognizer, and every way a session can end."""

import asyncio
import random
import threading

import numpy as np
import pytest

from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Final, Flushed, Partial
from streamer.core.recognizer import Recognizer
from streamer.engine.engine import CapacityError, Engine
from streamer.engine.session import SessionError
from tests.fakes import FakeModel, audio, silence, speak

CHUNK = Context(0, 4, 0)
POISON = 40  # a token on which `FragileModel` fails


class SlotModel(FakeModel):
    """Knows which stream position each slot is at, and fails on windows out of order."""

    def __init__(self, context=CHUNK, slots=8):
        super().__init__(context=context, slots=slots)
        self.next_sample = [-1] * slots  # -1: never reset
        self.batches = []

    def run(self, slots, windows):
        self.batches.append(list(slots))
        frames = super().run(slots, windows)
        for slot, window in zip(slots, windows, strict=True):
            last = self.next_sample[slot]
            assert last - self.grid.hop_samples < window.start_sample <= last, (slot, last)
        for slot, window in zip(slots, windows, strict=True):
            self.next_sample[slot] = window.start_sample + self.grid.samples(window.chunk)
        return frames

    def reset(self, slots):
        for slot in slots:
            self.next_sample[slot] = 0


class GatedModel(SlotModel):
    """Every step waits until the test lets it go."""

    def __init__(self, **model):
        super().__init__(**model)
        self.entered, self.gate = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, slots, windows):
        self.entered.release()
        self.gate.acquire()
        return super().run(slots, windows)

    def open_for_good(self):
        self.gate.release(1_000_000)

    async def is_running(self):
        await asyncio.to_thread(self.entered.acquire)


class FragileModel(SlotModel):
    """Raises on a poisoned window, or answers it with NaN."""

    def __init__(self, answer, **model):
        super().__init__(**model)
        self.answer = answer

    def run(self, slots, windows):
        bad = [(w.samples == np.float32(POISON / 64)).any() for w in windows]
        if any(bad) and self.answer == "raise":
            raise RuntimeError("cannot digest this")
        frames = super().run(slots, windows)
        for answer, is_bad in zip(frames, bad, strict=True):
            if is_bad:
                answer.log_probs[:] = np.nan
        return frames


def run(coroutine):
    """Run to the end; a deadlock fails instead of hanging."""

    async def limited():
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(limited())


def random_script(rng):
    """What a client does: samples, flush ids, gaps."""
    script = []
    for _ in range(rng.randint(1, 12)):
        text = "".join(rng.choice("abc d") for _ in range(rng.randint(0, 12)))
        samples = np.concatenate([speak(text, rng.randint(1, 3)), silence(rng.random() * 1.5)])
        while len(samples):
            size = rng.choice([1, 160, 320, 5000, len(samples)])
            script.append(samples[:size])
            samples = samples[size:]
            if size == 1:
                break
        script += rng.choice([[], [], ["x"], [rng.randint(1, 20_000)]])
    return script


def reference(script, context=CHUNK, rules=EndpointRules()):  # noqa: B008
    recognizer = Recognizer(FakeModel(context=context), rules)
    for item in script:
        if isinstance(item, str):
            recognizer.stream.flush(item)
        elif isinstance(item, int):
            recognizer.stream.report_gap(item)
        else:
            recognizer.stream.accept_waveform(item)
    recognizer.stream.input_finished()
    return without_partials(recognizer.decode())


def without_partials(events):
    return [event for event in events if not isinstance(event, Partial)]


async def play(session, script, rng=None):
    """Send a script and read all events meanwhile."""

    async def send():
        for item in script:
            if isinstance(item, str):
                await session.flush(item)
            elif isinstance(item, int):
                session.report_gap(item)
            else:
                await session.send(item)
            for _ in range(rng.randint(0, 3) if rng else 0):
                await asyncio.sleep(0)
        await session.finish()

    async with session, asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        events = [event async for event in session]
    revisions = [event.revision for event in events if isinstance(event, Partial)]
    assert revisions == sorted(set(revisions))
    return without_partials(events)


def assert_nothing_leaks(engine):
    assert engine.open_sessions == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [t for t in threading.enumerate() if t.name.startswith("device")]


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
