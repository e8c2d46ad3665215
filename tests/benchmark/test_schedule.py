"""The schedule: every packet once, in the order of its time, and nothing depends on being late."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.benchmark.load import BURST_PACKETS, pace
from streamer.benchmark.schedule import Schedule
from streamer.core.context import SAMPLE_RATE

schedules = st.builds(
    Schedule,
    streams=st.integers(1, 40),
    seconds=st.floats(0.01, 3.0),
    packet_samples=st.integers(160, 8_000),
    stagger_s=st.floats(0.0, 2.0),
)


@given(schedules)
def test_every_packet_of_every_stream_comes_once_in_order_of_time(schedule):
    packets = list(schedule)
    assert len(packets) == schedule.streams * schedule.packets
    due = [packet.due_s for packet in packets]
    assert all(before <= after + 1e-9 for before, after in pairwise(due))
    for stream in range(schedule.streams):
        own = [packet for packet in packets if packet.stream == stream]
        assert [packet.first for packet in own] == [
            number * schedule.packet_samples for number in range(schedule.packets)
        ]
        assert [packet.is_last for packet in own] == [False] * (schedule.packets - 1) + [True]
        assert own[-1].stop == schedule.samples


@given(schedules)
def test_a_packet_is_due_when_its_last_sample_is(schedule):
    for packet in schedule:
        spoken_s = packet.due_s - schedule.begins_s[packet.stream]
        assert spoken_s == pytest.approx(packet.stop / SAMPLE_RATE)


@given(schedules)
def test_beginnings_differ_and_stay_within_the_stagger(schedule):
    begins = schedule.begins_s
    assert begins.min() >= 0
    if begins.max() > 0:
        assert len(set(begins.tolist())) == schedule.streams


@pytest.mark.parametrize("wrong", [{"streams": 0}, {"seconds": 0}, {"packet_samples": 0}])
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Schedule(**{"streams": 1, "seconds": 1, "packet_samples": 320, "stagger_s": 0} | wrong)


class Clock:
    """A clock that only moves when someone sleeps, or when a test says so."""

    def __init__(self):
        self.time_s = 100.0
        self.sleeps = 0

    def now(self):
        return self.time_s

    async def sleep(self, seconds):
        self.sleeps += 1
        self.time_s += seconds


def paced(schedule, cost_s, is_hopeless=lambda: False):
    """Play a schedule to someone who takes `cost_s` for each packet: sent at, late, all sent."""
    clock, sent = Clock(), []

    async def send(packet):
        sent.append((packet, clock.time_s))
        clock.time_s += cost_s

    late_s, complete = asyncio.run(pace(schedule, 100.0, send, clock, is_hopeless))
    return sent, late_s, complete, clock


@given(schedules)
def test_what_can_be_sent_in_time_is_sent_at_its_time(schedule):
    sent, late_s, complete, _ = paced(schedule, 0.0)
    assert complete
    assert [packet for packet, _ in sent] == list(schedule)
    assert all(at_s == pytest.approx(100.0 + packet.due_s) for packet, at_s in sent)
    assert max(late_s) == pytest.approx(0.0, abs=1e-9)


def test_lateness_counts_from_the_schedule_and_moves_nothing():
    schedule = Schedule(1, 1.0, 1_600, 0.0)  # a packet each 100 ms, each takes 150 ms to send
    _, late_s, complete, _ = paced(schedule, 0.15)
    assert complete
    assert late_s == pytest.approx([0.05 * number for number in range(10)])


def test_others_get_turns_while_the_generator_is_behind():
    schedule = Schedule(4, 8.0, 320, 0.0)
    *_, clock = paced(schedule, 1.0)
    assert clock.sleeps >= schedule.streams * schedule.packets // BURST_PACKETS


def test_a_hopeless_run_is_given_up():
    schedule = Schedule(1, 1.0, 1_600, 0.0)
    asked = iter([False, False, True])
    sent, _, complete, _ = paced(schedule, 0.0, lambda: next(asked))
    assert not complete
    assert len(sent) == 2
