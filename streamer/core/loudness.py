"""Where the audio is loud: the energy of frames against a noise floor that adapts.

Owns the samples not yet measured, the noise floor and the loud stretches that are still of use.
Must not know: labels, words, endpoint rules.
"""

from collections import deque

import numpy as np

from streamer.core.chunker import Waveform
from streamer.core.context import Grid

MARGIN_DB = 6.0
"""A frame is loud if it is this far above the noise floor."""

RISE_DB_PER_S = 3.0
"""The floor falls at once to the quietest frame and rises no faster than this."""

FIRST_FLOOR_DB = -50.0
"""The floor before anything was heard, dB relative to full scale."""

INAUDIBLE_DB = -90.0
"""Digital silence, as of a muted microphone: quiet, and says nothing about the room's noise."""


class LoudnessMeter:
    """Samples in, loud stretches out, on the frame grid of the stream's segments.

    Measures only when asked, a few frames at a time, and each frame once: so neither the packets
    nor the moments of asking change a result. What a gap has lost counts as loud, for nobody knows
    what it was. Counts samples on the stream's clock.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._pending: list[Waveform] = []
        self._measured = 0  # sample of the clock behind the last frame measured
        self._frames = 0  # audible ones so far
        # The floor, less what it has risen since the stream began: a running minimum, and
        # therefore the same for every cut of the audio.
        self._risen_db = RISE_DB_PER_S * grid.seconds(grid.samples(1))  # in one frame
        self._flat_floor_db = FIRST_FLOOR_DB
        self._loud: deque[tuple[int, int]] = deque()  # [start, end), in order

    @property
    def floor_db(self) -> float:
        """The noise floor behind the last frame measured, dB relative to full scale."""
        return self._flat_floor_db + self._risen_db * self._frames

    def accept(self, samples: Waveform) -> None:
        """Take float32 (S,) samples, to be measured later."""
        self._pending.append(samples.copy())

    def measure(self) -> int:
        """Measure all whole frames; returns the sample behind the last one measured."""
        if self._pending:
            samples, *more = self._pending
            if more:
                samples = np.concatenate(self._pending)
            frames = self._grid.whole_frames(len(samples))
            used = self._grid.samples(frames)
            self._pending = [samples[used:]] if used < len(samples) else []
            if frames:
                self._note(samples[:used].reshape(frames, -1))
        return self._measured

    def end_segment(self) -> int:
        """Measure the rest, as a frame that is cut short; the next sample starts a new grid."""
        self.measure()
        if self._pending:
            (rest,) = self._pending
            self._pending = []
            self._note(rest[np.newaxis])
        return self._measured

    def skip(self, lost_samples: int) -> None:
        """Samples were lost behind the end of a segment."""
        assert not self._pending, self._measured
        self._loud.append((self._measured, self._measured + lost_samples))
        self._measured += lost_samples

    def quiet_end(self, since: int, duration: int) -> int:
        """Where the first quiet of `duration` samples from `since` on ends; unmeasured is quiet."""
        for start, end in self._loud:
            if start >= since + duration:
                break
            since = max(since, end)
        return since + duration

    def forget(self, before: int) -> None:
        """Nobody will ask for anything before this sample again."""
        while self._loud and self._loud[0][1] <= before:
            self._loud.popleft()

    def _note(self, frames: Waveform) -> None:
        """Measure frames, (T, samples), that follow the last one measured."""
        power = np.square(frames, dtype=np.float64).sum(axis=1) / frames.shape[1]
        levels_db: list[float] = (10 * np.log10(np.maximum(power, 1e-12))).tolist()
        for level_db in levels_db:  # they are few: faster than array by array
            start, self._measured = self._measured, self._measured + frames.shape[1]
            if level_db > INAUDIBLE_DB and self._is_loud(level_db):
                if self._loud and self._loud[-1][1] == start:
                    start = self._loud.pop()[0]
                self._loud.append((start, self._measured))

    def _is_loud(self, level_db: float) -> bool:
        """Whether the next frame is, the noise floor taking note of it."""
        self._frames += 1
        risen_db = self._risen_db * self._frames
        self._flat_floor_db = min(self._flat_floor_db, level_db - risen_db)
        return level_db > self._flat_floor_db + risen_db + MARGIN_DB
