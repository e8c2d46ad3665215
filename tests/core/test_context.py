import pytest

from streamer.core.context import SAMPLE_RATE, Context, Grid


def test_grid_converts_between_samples_frames_and_seconds():
    grid = Grid()
    assert grid.samples(50) == SAMPLE_RATE
    assert grid.span_samples(1) == 560
    assert [grid.whole_frames(n) for n in (0, 319, 320, 640)] == [0, 0, 1, 2]
    assert [grid.covering_frames(n) for n in (0, 1, 320, 321)] == [0, 1, 1, 2]
    assert grid.seconds(6720) == 0.42
    assert grid.samples_in(0.4) == 6400


@pytest.mark.parametrize(
    ("frames", "latency_s"), [((0, 8, 0), 0.175), ((0, 16, 0), 0.335), ((250, 32, 16), 0.975)]
)
def test_latency_is_chunk_and_right_context_and_15_ms(frames, latency_s):
    assert Context(*frames).latency_s(Grid()) == pytest.approx(latency_s)
    assert Context(*frames).total == sum(frames)


def test_bad_geometry_is_refused_with_its_values():
    with pytest.raises(ValueError, match="got -1, 0 and 2"):
        Context(-1, 0, 2)
    with pytest.raises(ValueError, match="got 0 and 240"):
        Grid(hop_samples=0)
