"""The search for the largest number that holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.benchmark.search import Search


def searched(capacity, guess, limit, resolution=0.05):
    """Search a machine that carries `capacity` streams: the best found, and what was tried."""
    search, tried = Search(guess, limit, resolution), []
    while (number := search.next()) is not None:
        tried.append(number)
        search.tell(number, number <= capacity)
        assert len(tried) < 60, tried
    return search.best, tried


@given(st.integers(0, 6_000), st.integers(-5, 9_000), st.integers(1, 5_000), st.floats(0, 0.2))
def test_it_finds_the_capacity_to_the_resolution(capacity, guess, limit, resolution):
    best, tried = searched(capacity, guess, limit, resolution)
    possible = min(capacity, limit)
    assert best <= possible
    assert possible - best <= max(1, resolution * best)
    assert best == 0 or best in tried
    assert len(tried) == len(set(tried))
    assert all(1 <= number <= limit for number in tried)


@given(st.integers(0, 300), st.integers(1, 300))
def test_without_a_resolution_it_is_exact(capacity, guess):
    best, _ = searched(capacity, guess, 300, 0.0)
    assert best == capacity


def test_a_good_guess_saves_trials():
    _, near = searched(1_000, 950, 5_000)
    _, far = searched(1_000, 1, 5_000)
    assert len(near) < 8 < len(far)


def test_a_number_that_fails_when_it_is_tried_again_has_failed():
    search = Search(10, 20)
    for number, holds in ((10, True), (14, True), (20, False), (17, False), (15, True)):
        search.tell(number, holds)
    assert search.best == 15
    search.tell(15, False)
    assert search.best == 14
    assert search.next() is None


def test_there_must_be_something_to_search():
    with pytest.raises(ValueError, match="limit"):
        Search(1, 0)
