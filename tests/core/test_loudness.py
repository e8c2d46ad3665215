import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.context import SAMPLE_RATE, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.loudness import FIRST_FLOOR_DB, MARGIN_DB, RISE_DB_PER_S, LoudnessMeter
from streamer.core.utterance import Utterance

HOP = 640
GRID = Grid(HOP)
FOREVER = 1 << 40


def tone(level_db: float, seconds: float) -> np.ndarray:
    """A square wave: its level is the same over any samples."""
    samples = np.full(Grid.samples_in(seconds), 10 ** (level_db / 20), np.float32)
    samples[::2] *= -1
    return samples


def metered(*parts: np.ndarray) -> LoudnessMeter:
    meter = LoudnessMeter(GRID)
    meter.accept(np.concatenate(parts))
    meter.measure()
    return meter


def loud_end(meter: LoudnessMeter) -> int:
    """The end of the last loud stretch that was measured."""
    return meter.quiet_end(0, FOREVER) - FOREVER


@given(st.data())
def test_packets_and_moments_of_measuring_change_nothing(data):
    steps = [("flush", 0), ("gap", 700), ("measure", 0), *[("send", size) for size in range(1, 6)]]
    plan = data.draw(st.lists(st.sampled_from(steps), max_size=30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    whole, cut = LoudnessMeter(GRID), LoudnessMeter(GRID)
    clock, segment = 0, []
    for what, count in plan:
        if what == "send":
            level = rng.choice([0.0, 1e-4, 1e-3, 1e-2, 0.3])
            packet = rng.normal(0, level, 300 * count).astype(np.float32)
            cut.accept(packet)
            segment.append(packet)
            clock += len(packet)
        elif what == "measure":
            assert cut.measure() <= clock
        else:
            assert cut.end_segment() == clock
            whole.accept(np.concatenate([np.zeros(0, np.float32), *segment]))
            whole.end_segment()
            segment = []
            for meter in (whole, cut) if what == "gap" else ():
                meter.skip(count)
            clock += count
    whole.accept(np.concatenate([np.zeros(0, np.float32), *segment]))
    assert whole.measure() == cut.measure()
    assert whole.floor_db == cut.floor_db
    for duration in (1, 300, HOP, 5 * HOP):
        for since in range(0, clock, 211):
            assert whole.quiet_end(since, duration) == cut.quiet_end(since, duration)


@pytest.mark.parametrize("gain_db", [-40.0, -20.0, 0.0])
def test_any_microphone_will_do(gain_db):
    """Speech and noise 25 dB below it: the noise is quiet, however much the microphone gives."""
    noise, speech = tone(gain_db - 35, 0.48), tone(gain_db - 10, 0.48)
    meter = metered(*[noise, speech] * 5, noise, noise)
    assert loud_end(meter) == 10 * len(noise)
    assert meter.quiet_end(9 * len(noise), 10) == 10 * len(noise) + 10


def test_the_floor_falls_at_once_and_rises_slowly():
    assert metered(tone(-75, 0.04)).floor_db == pytest.approx(-75, abs=0.01)
    after = metered(tone(-75, 0.04), tone(-20, 1.0))
    assert after.floor_db == pytest.approx(-72, abs=0.01)


def test_noise_that_stays_becomes_the_floor():
    """A fan is switched on: loud at first, and quiet once the floor has risen."""
    meter = metered(tone(-65, 1.0), tone(-45, 10.0))
    rising_s = (20.0 - MARGIN_DB) / RISE_DB_PER_S
    assert loud_end(meter) / SAMPLE_RATE == pytest.approx(1.0 + rising_s, abs=0.05)


def test_digital_silence_is_quiet_and_teaches_nothing():
    muted = metered(tone(-60, 1.0), np.zeros(SAMPLE_RATE, np.float32))
    assert muted.floor_db == metered(tone(-60, 1.0)).floor_db
    assert loud_end(muted) == 0
    assert metered(np.zeros(HOP, np.float32)).floor_db == FIRST_FLOOR_DB


def test_what_was_lost_is_not_quiet():
    meter = LoudnessMeter(GRID)
    meter.accept(np.zeros(1000, np.float32))
    assert meter.end_segment() == 1000
    meter.skip(500)
    assert meter.quiet_end(0, 1000) == 1000
    assert meter.quiet_end(0, 1001) == 1500 + 1001


def test_a_sound_counts_to_the_end_of_its_frame_or_segment():
    meter = LoudnessMeter(GRID)
    meter.accept(tone(-10, 0.1)[: HOP + 7])
    meter.measure()
    assert loud_end(meter) == HOP
    meter.end_segment()
    assert loud_end(meter) == HOP + 7


def test_the_senders_buffer_may_be_used_again():
    meter, buffer = LoudnessMeter(GRID), tone(-10, 0.04)
    meter.accept(buffer)
    buffer[:] = 0
    meter.measure()
    assert loud_end(meter) == HOP


def test_huge_samples_are_just_loud():
    assert loud_end(metered(np.full(HOP, 3e38, np.float32))) == HOP


def test_an_utterance_forgets_the_sounds_before_it():
    meter = metered(tone(-10, 10.0))
    Utterance(EndpointRules(), meter).advance(Grid.samples_in(10.0))
    assert meter.quiet_end(0, 1) == 1


def test_forgotten_sounds_are_gone_and_later_ones_stay():
    meter = metered(*[tone(-10, 0.04), tone(-60, 0.04)] * 1000)
    meter.forget(before=1999 * HOP - 1)
    assert meter.quiet_end(0, HOP + 1) == HOP + 1
    assert loud_end(meter) == 1999 * HOP
