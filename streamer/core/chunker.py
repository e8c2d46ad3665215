"""Samples in, overlapping windows out.

Owns the received samples that some window still needs, or whoever measures them, and forgets the
others. Must not know: what a window is for, labels, decoding.
"""

import math
from collections import deque
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.core.context import Context, Grid

Waveform: TypeAlias = npt.NDArray[np.float32]


class Window(NamedTuple):
    """One step's worth of audio for the encoder, valid frames first.

    `samples` is float32 (S,) with S = hop * (left + chunk + right) + tail of the *full* context,
    the same for every window, padded with zeros on the right. `left`, `chunk` and `right` count
    the valid frames, in that order from the first sample on: fewer left frames at the start of
    the stream, fewer chunk or right frames at a flush or at the end; right > 0 only behind a full
    chunk. `start_sample` is the stream's sample at which the first chunk frame begins.
    `wants_all`: its frames need the log-probabilities of all labels, searched or not. `samples`
    are not to be written to: a full window is a part of the chunker's buffer.
    """

    samples: Waveform
    left: int
    chunk: int
    right: int
    start_sample: int
    wants_all: bool = False


class Chunker:
    """Cuts one stream of samples into windows on the frame grid.

    A segment is what lies between two flushes; its grid starts at its first sample. A window is
    ready as soon as all its samples are there, tail included, or as soon as its segment is over:
    then the segment's last frames are completed with zeros, so that every sample is covered by
    ceil(samples / hop) frames. Nothing is ever padded in the middle of a segment.

    Memory: the left context and whatever is pending, in one buffer of at most four times that.
    What was received is never written to again, so windows and frames need no copy of their own.
    """

    def __init__(self, context: Context, grid: Grid) -> None:
        self._context = context
        self._grid = grid
        self._window_samples = grid.span_samples(context.total)
        self._ready_samples = grid.span_samples(context.chunk + context.right)
        self._buffer: Waveform = np.empty(2 * self._window_samples, np.float32)
        self._first = 0  # the stream's sample at buffer[0]
        self._received = 0  # the stream's sample behind the last one received
        self._next = 0  # the stream's sample at which the next chunk begins
        self._unmeasured = 0  # the stream's sample at which the next of `new_frames` begins
        self._ends: deque[int] = deque()  # ends of the segments that are over but not yet consumed
        self._closed_windows = 0  # windows these segments will still give

    @property
    def ready_windows(self) -> int:
        """Windows that can be taken now."""
        open_samples = self._received - self._open_start
        if open_samples < self._ready_samples:
            return self._closed_windows
        step = self._grid.samples(self._context.chunk)
        return self._closed_windows + (open_samples - self._ready_samples) // step + 1

    @property
    def _open_start(self) -> int:
        """The first sample of the open segment that is in no chunk yet."""
        return self._ends[-1] if self._ends else self._next

    def append(self, samples: Waveform) -> None:
        """Take float32 (S,) samples, any S >= 0."""
        begin = self._received - self._first
        end = begin + len(samples)
        if end > len(self._buffer):
            self._move(extra_samples=len(samples))
            begin = self._received - self._first
            end = begin + len(samples)
        self._buffer[begin:end] = samples
        self._received += len(samples)

    def new_frames(self) -> Waveform:
        """The open segment's whole frames that were not given yet, (T, hop) samples."""
        frames = self._grid.whole_frames(self._received - self._unmeasured)
        samples = self._take(self._grid.samples(frames))
        return samples.reshape(frames, self._grid.hop_samples)

    def _take(self, count: int) -> Waveform:
        begin = self._unmeasured - self._first
        self._unmeasured += count
        return self._buffer[begin : begin + count]

    def flush(self) -> Waveform:
        """End the segment: its remainder becomes ready, the next sample starts a new grid.

        Returns what no `new_frames` will give any more: one frame, cut short, (1, samples).
        """
        remaining = self._received - self._open_start
        if remaining:
            frames = self._grid.covering_frames(remaining)
            self._closed_windows += -(-frames // self._context.chunk)
            self._ends.append(self._received)
        return self._take(self._received - self._unmeasured)[np.newaxis]

    finish = flush  # to the samples, the end of the stream is a flush like any other

    def is_ready(self) -> bool:
        """Whether `next_window` has one to give."""
        return self._closed_windows > 0 or self._received - self._next >= self._ready_samples

    def next_window(self) -> Window:
        """The next window; every frame of a segment is a chunk frame of exactly one window."""
        assert self.is_ready(), (self._received, self._next)
        grid, full = self._grid, self._context
        start = self._next
        left = min(full.left, grid.whole_frames(start))
        chunk, right, end = full.chunk, full.right, self._received
        if self._ends:
            end = self._ends[0]
            frames = grid.covering_frames(end - start)
            chunk = min(full.chunk, frames)
            right = min(full.right, frames - chunk)
            self._closed_windows -= 1
        first = start - grid.samples(left)
        stop = min(end, first + grid.span_samples(left + chunk + right))
        samples = self._padded(first, stop)
        self._next = start + grid.samples(chunk)
        if self._ends and self._next >= end:
            self._next = self._ends.popleft()
        size = len(self._buffer)
        if size > 4 * self._window_samples and size > 4 * (self._received - self._kept_from):
            self._move(extra_samples=0)
        return Window(samples, left, chunk, right, start)

    def next_windows(self, most: int) -> list[Window]:
        """The next window, and up to `most` in all that follow each other in its segment."""
        segments, windows = len(self._ends), [self.next_window()]
        while len(windows) < most and len(self._ends) == segments and self.is_ready():
            windows.append(self.next_window())
        return windows

    def _padded(self, first: int, stop: int) -> Waveform:
        """The stream's samples [first, stop), then zeros up to the size of a window."""
        samples = self._buffer[first - self._first : stop - self._first]
        if len(samples) == self._window_samples:
            return samples
        padded = np.zeros(self._window_samples, np.float32)
        padded[: len(samples)] = samples
        return padded

    @property
    def _kept_from(self) -> int:
        """The first sample that is unmeasured, or left context of a window to come."""
        left_samples = self._grid.samples(self._context.left)
        return min(self._unmeasured, max(self._first, self._next - left_samples))

    def _move(self, extra_samples: int) -> None:
        """Copy what is still needed into a new buffer with room for `extra_samples` more."""
        kept_from = self._kept_from
        kept = self._buffer[kept_from - self._first : self._received - self._first]
        size = max(self._window_samples, len(kept) + extra_samples)
        self._buffer = np.empty(2 * size, np.float32)
        self._buffer[: len(kept)] = kept
        self._first = kept_from


def check_waveform(samples: Waveform) -> None:
    """ValueError for anything but finite float32 (S,)."""
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"expected a float32 array, got {type(samples).__name__}")
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise ValueError(f"expected float32 (S,), got {samples.dtype} {samples.shape}")
    if not math.isfinite(samples.dot(samples)):  # it is, unless one is not or they are huge
        strange = np.count_nonzero(~np.isfinite(samples))
        if strange:
            raise ValueError(f"expected finite samples, got {strange} that are not")
