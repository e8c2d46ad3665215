"""Percentiles and slopes, by their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.benchmark.statistics import medians, slope, spread

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


@given(values)
def test_percentiles_are_values_with_enough_others_below(found):
    figures = spread(found)
    assert figures.count == len(found)
    assert figures.max == max(found)
    for share, figure in ((0.5, figures.p50), (0.95, figures.p95), (0.99, figures.p99)):
        assert figure in found
        assert sum(each <= figure for each in found) >= share * len(found)
        assert sum(each < figure for each in found) <= share * len(found)


def test_nothing_has_no_percentiles():
    assert spread([]) is None


@given(
    st.floats(-5, 5),
    st.floats(-100, 100),
    st.lists(st.floats(0, 60), min_size=2, max_size=40, unique_by=lambda time: round(time, 3)),
)
def test_the_slope_of_a_line_is_its_own(rate, start, times):
    found = slope(times, [start + rate * time for time in times])
    assert found.estimate == pytest.approx(rate, abs=1e-3)
    assert found.low <= found.estimate <= found.high


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_the_interval_mostly_holds_the_true_slope_and_wild_values_do_not_move_it(seed, rate):
    generator = np.random.default_rng(seed)
    times = np.arange(60) / 2
    noisy = rate * times + generator.normal(0, 0.1, 60)
    calm = slope(times, noisy)
    noisy[generator.integers(60)] += 1e6
    wild = slope(times, noisy)
    assert abs(calm.estimate - rate) < 0.02
    assert abs(wild.estimate - rate) < 0.02
    assert calm.low < calm.high


def test_a_steady_backlog_is_not_taken_for_a_growing_one():
    generator = np.random.default_rng(0)
    times = np.arange(20) / 2
    level = [slope(times, 0.2 + generator.normal(0, 0.02, 20)).low > 0 for _ in range(400)]
    growing = [
        slope(times, 0.2 + 0.01 * times + generator.normal(0, 0.02, 20)).low > 0 for _ in range(100)
    ]
    assert sum(level) <= 400 * 0.05
    assert sum(growing) >= 95


def test_one_moment_has_no_slope():
    assert slope([1.0], [2.0]) is None
    assert slope([1.0, 1.0], [2.0, 3.0]) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-10, 10)), min_size=1, max_size=60))
def test_medians_have_one_value_for_each_interval(pairs):
    times, heights = zip(*pairs, strict=True)
    middles, found = medians(times, heights, 0.5)
    assert middles == sorted(set(middles))
    assert {int(middle // 0.5) for middle in middles} == {int(time // 0.5) for time in times}
    assert min(heights) <= min(found)
    assert max(found) <= max(heights)
