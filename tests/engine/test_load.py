"""Admission by measure: what the steps cost, and the session that would be one too many."""

import asyncio
import itertools
import random

import pytest

from streamer.core.decoder import BeamSearch
from streamer.core.scoring import NoScorer
from streamer.engine import decode_worker
from streamer.engine.engine import Engine
from streamer.engine.errors import CapacityError
from streamer.engine.load import ENOUGH_STEPS, Load
from tests.engine.harness import CHUNK, SlotModel, assert_nothing_leaks, play, run
from tests.fakes import SearchedModel, silence, speak


def noted(load, fixed, each, batches):
    for windows in batches:
        load.note(windows, fixed + each * windows)
    return load


def random_batches(most, seed=1, steps=400):
    rng = random.Random(seed)
    return [rng.randint(1, most) for _ in range(steps)]


@pytest.mark.parametrize(("fixed", "each"), [(0.02, 0.001), (0.0, 0.004), (0.05, 0.0)])
def test_the_cost_of_a_step_and_of_a_window_are_told_apart(fixed, each):
    load = noted(Load(0.32, 16, 0.9), fixed, each, random_batches(8))
    for sessions in (1, 16, 17, 100):
        batches = -(-sessions // 16)
        assert load.share(sessions) == pytest.approx((fixed * batches + each * sessions) / 0.32)


def test_without_different_batches_every_window_counts_as_one_step():
    load = noted(Load(0.32, 16, 0.9), 0.008, 0.002, [1] * 300)
    assert load.share(16) == pytest.approx(16 * 0.010 / 0.32)


def test_the_first_session_too_many_is_known():
    load = noted(Load(0.32, 32, 0.5), 0.02, 0.01, random_batches(6))
    assert [load.is_full(sessions) for sessions in (1, 13, 15)] == [False, False, True]
    assert not noted(Load(0.32, 32, 0.0), 0.02, 0.01, random_batches(6)).is_full(1000)
    assert not noted(Load(0.32, 1, 0.5), 9.0, 0.0, [1] * 300).is_full(1)


def test_nothing_is_judged_by_few_steps():
    load = noted(Load(0.32, 8, 0.5), 5.0, 5.0, random_batches(8, steps=ENOUGH_STEPS - 1))
    assert not load.is_full(8)
    load.note(1, 10.0)
    assert load.is_full(8)


def test_one_stall_is_no_load_but_a_slower_device_is():
    load = noted(Load(0.32, 8, 0.9), 0.01, 0.005, random_batches(8))
    before = load.share(8)
    load.note(4, 60.0)
    assert load.share(8) < 1.1 * before
    noted(load, 0.03, 0.015, random_batches(8, seed=2, steps=1500))
    assert load.share(8) == pytest.approx(3 * before, rel=0.02)


def test_a_session_too_many_is_refused_and_those_that_are_open_go_on(monkeypatch):
    """On a clock that the model moves: each window takes it a fifth of a chunk's 80 ms."""

    class SlowModel(SlotModel):
        def run(self, slots, windows):
            clock[0] += 0.016 * len(windows)
            return super().run(slots, windows)

    clock = [0.0]

    async def main():
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
        limits = {"max_sessions": 8, "max_batch": 8, "max_load": 0.9}
        async with Engine(SlowModel(slots=8), **limits) as engine:
            sessions = [engine.open_session() for _ in range(4)]
            playing = [play(s, [speak("abc"), silence(12.0)]) for s in sessions[:3]]
            ends = await asyncio.gather(*playing)
            assert ends[0] == ends[1] == ends[2] != []
            sessions += [engine.open_session() for _ in range(3)]
            with pytest.raises(CapacityError, match="no more than 4 sessions") as caught:
                engine.open_session()
            assert caught.value.retry_after_s > 0
            sessions[-1].abort()
            assert await play(engine.open_session(), [speak("abc"), silence(12.0)]) == ends[0]
            for session in sessions:
                session.abort()
        assert_nothing_leaks(engine)

    run(main())


class Dawdling(NoScorer):
    """In the process that uses it, every request takes a second by the clock."""

    def __init__(self, _):
        ticks = itertools.count(decode_worker.perf_counter())
        decode_worker.perf_counter = lambda: next(ticks)


def test_a_session_too_many_for_the_decoding_processes_is_refused():
    async def main(max_load):
        search = BeamSearch(2, Dawdling, takes_hotwords=False)
        model = SearchedModel(CHUNK, slots=3, search=search)
        limits = {"max_sessions": 3, "max_batch": 1, "max_load": max_load, "decode_workers": 1}
        async with Engine(model, **limits) as engine:
            assert await play(engine.open_session(), [speak("abc"), silence(ENOUGH_STEPS * 0.08)])
            async with engine.open_session():
                return engine.has_room(1, leaving=0), engine.has_room(1, leaving=1)

    assert run(main(0.9)) == (False, True)
    assert run(main(0.0)) == (True, True)


class SmallModel(SlotModel):
    """Has memory for so many windows at once."""

    def __init__(self, room, **model):
        super().__init__(**model)
        self.room = room

    def run(self, slots, windows):
        if len(slots) > self.room:
            self.batches.append(list(slots))
            raise MemoryError(f"no memory for {len(slots)} windows")
        return super().run(slots, windows)


@pytest.mark.parametrize("room", [1, 3, 4])
def test_without_memory_for_a_batch_smaller_ones_go_on(room, caplog):
    async def main():
        model = SmallModel(room)
        async with Engine(model, max_sessions=8, max_batch=8) as engine:
            sessions = [engine.open_session() for _ in range(8)]
            script = [speak("abc def"), silence(1.0)]
            ends = await asyncio.gather(*(play(session, script) for session in sessions))
        assert all(end == ends[0] != [] for end in ends)
        sizes = [len(batch) for batch in model.batches]
        assert sizes[0] == 8
        assert max(sizes[len(sizes) // 2 :]) <= room  # it is not tried again and again
        assert_nothing_leaks(engine)

    run(main())
    assert "memory was short" in caplog.text


def test_a_window_for_which_there_is_no_memory_ends_its_session():
    async def main():
        async with Engine(SmallModel(0), max_sessions=1, max_batch=1) as engine:
            with pytest.raises(ExceptionGroup) as caught:
                await play(engine.open_session(), [speak("abc")])
            assert isinstance(caught.value.exceptions[0].__cause__, MemoryError)
        assert_nothing_leaks(engine)

    run(main())
