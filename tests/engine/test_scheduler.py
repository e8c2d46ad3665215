import random

import pytest

from streamer.engine.scheduler import Scheduler


def test_oldest_deadline_first_then_first_come():
    scheduler = Scheduler(max_batch=2)
    for stream, deadline in [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 1.0)]:
        scheduler.add(stream, deadline)
    assert scheduler.next_batch() == ["b", "d"]
    assert scheduler.next_batch() == ["c", "a"]
    assert scheduler.next_batch() == []


def test_a_queued_stream_keeps_its_place():
    scheduler = Scheduler(max_batch=1)
    scheduler.add("a", 1.0)
    scheduler.add("b", 2.0)
    scheduler.add("a", 3.0)
    assert [scheduler.next_batch() for _ in range(3)] == [["a"], ["b"], []]


def test_at_most_one_window_in_flight_per_stream():
    scheduler = Scheduler(max_batch=4)
    scheduler.add("a", 1.0)
    batch = scheduler.next_batch()
    assert scheduler.is_in_flight("a")
    with pytest.raises(AssertionError):
        scheduler.add("a", 2.0)
    scheduler.done(batch)
    assert not scheduler.is_in_flight("a")
    scheduler.add("a", 2.0)
    assert scheduler.next_batch() == ["a"]


def test_a_discarded_stream_is_never_chosen_unless_added_again():
    scheduler = Scheduler(max_batch=4)
    scheduler.add("a", 1.0)
    scheduler.add("b", 2.0)
    scheduler.discard("a")
    scheduler.discard("never seen")
    scheduler.add("a", 3.0)
    assert scheduler.next_batch() == ["b", "a"]


def test_none_starves():
    """However the load is mixed, a window waits only for windows that were ready before it."""
    for seed in range(300):
        rng = random.Random(seed)
        scheduler, now, deadlines, in_flight = Scheduler(rng.randint(1, 4)), 0.0, {}, []
        for _ in range(100):
            now += rng.random()
            idle = [s for s in range(12) if s not in deadlines and s not in in_flight]
            for stream in rng.sample(idle, rng.randint(0, len(idle))):
                deadlines[stream] = now
                scheduler.add(stream, now)
            scheduler.done(in_flight)
            in_flight = scheduler.next_batch()
            chosen = [deadlines.pop(stream) for stream in in_flight]
            assert chosen == sorted(chosen)
            assert not deadlines or max(chosen) <= min(deadlines.values())


def test_a_batch_needs_room():
    with pytest.raises(ValueError, match="got 0"):
        Scheduler(max_batch=0)
