"""Where the audio is loud: the energy of frames against a noise floor that adapts.

Owns the noise floor and the loud stretches that are still of use. Must not know: where frames come
from, labels, words, endpoint rules.
"""

from math import log10

import numpy as np

from streamer.core.chunker import Waveform
from streamer.core.context import Grid
from streamer.core.stretches import Stretches

MARGIN_DB = 6.0
"""A frame is loud if it is this far above the noise floor."""

RISE_DB_PER_S = 3.0
"""The floor falls at once to the quietest frame and rises no faster than this."""

FIRST_FLOOR_DB = -50.0
"""The floor before anything was heard, dB relative to full scale."""

INAUDIBLE_DB = -90.0
"""Digital silence, as of a muted microphone: quiet, and says nothing about the room's noise."""

_INAUDIBLE_POWER = 10 ** (INAUDIBLE_DB / 10)
_MARGIN = 10 ** (MARGIN_DB / 10)


class LoudnessMeter:
    """Frames in, loud stretches out.

    What a gap has lost counts as loud, for nobody knows what it was. Counts samples on the
    stream's clock.
    """

    def __init__(self, grid: Grid) -> None:
        self._measured = 0  # sample of the clock behind the last frame measured
        self._rise: float = 10 ** (RISE_DB_PER_S * grid.seconds(grid.samples(1)) / 10)  # in a frame
        self._floor: float = 10 ** (FIRST_FLOOR_DB / 10)  # a power
        self._loud = Stretches()

    @property
    def floor_db(self) -> float:
        """The noise floor behind the last frame measured, dB relative to full scale."""
        return 10 * log10(self._floor)

    def measure(self, frames: Waveform) -> int:
        """Take frames, (T, samples), that follow those before; returns the sample behind them."""
        if not frames.size:
            return self._measured
        samples, floor, rise, end = frames.shape[1], self._floor, self._rise, self._measured
        energies: list[float] = np.einsum("ts,ts->t", frames, frames).tolist()
        for energy in energies:  # they are few: faster than array by array
            start, end = end, end + samples
            power = energy / samples
            if power <= _INAUDIBLE_POWER:
                continue
            floor *= rise
            if power < floor:
                floor = power
            elif power > floor * _MARGIN:
                self._loud.add(start, end)
        self._measured, self._floor = end, floor
        return end

    def skip(self, lost_samples: int) -> None:
        """Samples were lost behind the end of a segment."""
        self._loud.add(self._measured, self._measured + lost_samples)
        self._measured += lost_samples

    def quiet_end(self, since: int, duration: int) -> int:
        """Where the first quiet of `duration` samples from `since` on ends; unmeasured is quiet."""
        return self._loud.quiet_end(since, duration)

    def forget(self, before: int) -> None:
        """Nobody will ask for anything before this sample again."""
        self._loud.forget(before)
