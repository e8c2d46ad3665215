import random

import numpy as np

from streamer.core.chunker import Chunker
from streamer.core.context import Context, Grid


def numbered(first: int, count: int) -> np.ndarray:
    """Samples that carry their own (one-based) position, exactly below 2**24."""
    return np.arange(first + 1, first + 1 + count, dtype=np.float32)


def random_geometry(rng: random.Random) -> tuple[Context, Grid]:
    grid = Grid(rng.choice([1, 2, 5, 8]), rng.choice([0, 1, 3, 6, 20]))
    return Context(rng.choice([0, 0, 1, 3, 7]), rng.randint(1, 5), rng.choice([0, 0, 1, 4])), grid


def taken(chunker: Chunker) -> list:
    windows = []
    while chunker.is_ready():
        ready = chunker.ready_windows
        windows.append(chunker.next_window())
        assert chunker.ready_windows == ready - 1
    assert chunker.ready_windows == 0
    return windows


def check_window(window, context, grid, segment_end):
    """The samples of the window are the stream's own up to the segment's end, then zeros."""
    assert window.samples.shape == (grid.span_samples(context.total),)
    assert window.samples.dtype == np.float32
    first = window.start_sample - grid.samples(window.left)
    valid = grid.span_samples(window.left + window.chunk + window.right)
    valid = min(valid, segment_end - first)
    np.testing.assert_array_equal(window.samples[:valid], numbered(first, valid))
    assert not window.samples[valid:].any()
    assert window.left == min(context.left, window.start_sample // grid.hop_samples)
    assert window.right == 0 or window.chunk == context.chunk


def test_every_frame_of_every_segment_is_committed_once_and_no_sample_is_lost():
    for seed in range(3000):
        rng = random.Random(seed)
        context, grid = random_geometry(rng)
        chunker = Chunker(context, grid)
        received, segment_start, position = 0, 0, 0
        for _ in range(rng.randint(1, 12)):
            count = rng.choice([0, 1, rng.randint(0, 9), rng.randint(0, 150)])
            chunker.append(numbered(received, count))
            received += count
            if rng.random() < 0.7:
                for window in taken(chunker):
                    assert window.start_sample == position
                    assert (window.chunk, window.right) == (context.chunk, context.right)
                    check_window(window, context, grid, received)
                    position += grid.samples(window.chunk)
                assert received - position < grid.span_samples(context.chunk + context.right)
            if rng.random() < 0.4:
                for _ in range(rng.randint(1, 2)):
                    chunker.flush()
                windows = taken(chunker)
                for window in windows:
                    assert window.start_sample == position
                    check_window(window, context, grid, received)
                    position += grid.samples(window.chunk)
                frames = grid.covering_frames(received - segment_start)
                assert position == segment_start + grid.samples(frames)
                segment_start = position = received


def test_windows_do_not_depend_on_when_they_are_taken():
    """Audio behind a flush never shows up in a window before it, however late that is taken."""
    for seed in range(500):
        rng = random.Random(seed)
        context, grid = random_geometry(rng)
        early, late = Chunker(context, grid), Chunker(context, grid)
        early_windows, received = [], 0
        for _ in range(rng.randint(1, 8)):
            count = rng.randint(0, 60)
            early.append(numbered(received, count))
            early_windows += taken(early)
            late.append(numbered(received, count))
            received += count
            if rng.random() < 0.5:
                early.flush()
                early_windows += taken(early)
                late.flush()
        early.finish()
        late.finish()
        early_windows += taken(early)
        late_windows = taken(late)
        assert len(early_windows) == len(late_windows)
        for one, other in zip(early_windows, late_windows, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)
            for name in ("left", "chunk", "right", "start_sample"):
                assert getattr(one, name) == getattr(other, name)


def test_every_sample_is_once_in_a_new_frame_or_in_the_rest_of_its_segment():
    """However much of it the windows have left behind."""
    for seed in range(500):
        rng = random.Random(seed)
        context, grid = random_geometry(rng)
        chunker, received, given = Chunker(context, grid), 0, 0
        for _ in range(rng.randint(1, 30)):
            count = rng.choice([0, 1, rng.randint(0, 60)])
            chunker.append(numbered(received, count))
            received += count
            if rng.random() < 0.5:
                taken(chunker)
            if rng.random() < 0.5:
                frames = chunker.new_frames()
                assert frames.shape[1] == grid.hop_samples
                np.testing.assert_array_equal(frames.ravel(), numbered(given, frames.size))
                given += frames.size
                assert received - given < grid.hop_samples
            if rng.random() < 0.2:
                given += chunker.new_frames().size
                np.testing.assert_array_equal(chunker.flush(), [numbered(given, received - given)])
                given = received


def test_a_window_stays_what_it_is_whatever_becomes_of_packets_and_later_audio():
    context, grid = Context(2, 4, 3), Grid(8, 6)
    chunker, packet, windows = Chunker(context, grid), np.zeros(11, np.float32), []
    for packets in range(300):
        packet[:] = numbered(packets * len(packet), len(packet))
        chunker.append(packet)
        chunker.new_frames()
        windows += taken(chunker)
    assert len(windows) > 80
    for window in windows:
        check_window(window, context, grid, 300 * len(packet))


def test_lookahead_becomes_chunk_frames_at_the_end():
    chunker = Chunker(Context(2, 4, 3), Grid(10, 5))
    chunker.append(numbered(0, 96))
    chunker.finish()
    shape = [(w.start_sample, w.left, w.chunk, w.right) for w in taken(chunker)]
    assert shape == [(0, 0, 4, 3), (40, 2, 4, 2), (80, 2, 2, 0)]


def test_ten_milliseconds_at_a_time():
    chunker = Chunker(Context(0, 2, 0), Grid())
    ready_at = []
    for packet in range(1, 13):
        chunker.append(np.zeros(160, np.float32))
        ready_at += [160 * packet] * len(taken(chunker))
    assert ready_at == [960, 1600]  # 2 * 320 + 240 samples, then 640 more


def test_memory_is_left_context_and_pending_only():
    context, grid = Context(10, 4, 2), Grid(8, 6)
    chunker = Chunker(context, grid)
    bound = 4 * grid.span_samples(context.total)
    chunker.append(np.zeros(100_000, np.float32))  # a burst, worked off
    chunker.new_frames()
    taken(chunker)
    assert chunker._buffer.size <= bound
    for _ in range(2000):
        chunker.append(np.zeros(7, np.float32))
        taken(chunker)
        chunker.new_frames()
        assert chunker._buffer.size <= bound
