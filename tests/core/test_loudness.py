import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.chunker import Chunker
from streamer.core.context import SAMPLE_RATE, Context, Grid
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


def metered(*parts: np.ndarray, rest: bool = False) -> LoudnessMeter:
    """What was heard of these parts: of whole frames, or of the rest too."""
    meter, chunker = LoudnessMeter(GRID), Chunker(Context(0, 1, 0), GRID)
    chunker.append(np.concatenate([np.zeros(0, np.float32), *parts]))
    meter.measure(chunker.new_frames())
    if rest:
        meter.measure(chunker.flush())
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
    once, chunker = Chunker(Context(0, 1, 0), GRID), Chunker(Context(0, 1, 0), GRID)
    clock = 0
    for what, count in [*plan, ("flush", 0)]:
        if what == "send":
            level = rng.choice([0.0, 1e-4, 1e-3, 1e-2, 0.3])
            packet = rng.normal(0, level, 300 * count).astype(np.float32)
            chunker.append(packet)
            once.append(packet)
            clock += len(packet)
        elif what == "measure":
            assert cut.measure(chunker.new_frames()) <= clock
        else:
            for meter, source in ((whole, once), (cut, chunker)):
                meter.measure(source.new_frames())
                assert meter.measure(source.flush()) == clock
                if what == "gap":
                    meter.skip(count)
            clock += count
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
    meter = metered(np.zeros(1000, np.float32), rest=True)
    meter.skip(500)
    assert meter.quiet_end(0, 1000) == 1000
    assert meter.quiet_end(0, 1001) == 1500 + 1001


def test_a_sound_counts_to_the_end_of_its_frame_or_segment():
    sound = tone(-10, 0.1)[: HOP + 7]
    assert loud_end(metered(sound)) == HOP
    assert loud_end(metered(sound, rest=True)) == HOP + 7


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
