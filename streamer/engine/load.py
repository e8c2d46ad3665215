"""How much of the device's time the open sessions take, judged by the steps so far.

Owns the estimate and the rule of admission. Pure: times are handed in. Must not know: sessions,
models, tasks.
"""

import math

MEMORY_STEPS = 200
"""After so many steps, one weighs about a third of what it did."""

ENOUGH_STEPS = 100
"""Before these nothing is judged: first steps are slow and few."""

OUTLIER = 4.0
"""A step that takes longer than so many times what was expected counts as that: a mere stall."""


class Load:
    """A step of n windows is taken to cost `fixed + each * n` seconds, fitted to those measured.

    `share(sessions)` is what one window of every session in as few batches as possible, as they
    pile up while the device works, takes of a chunk's duration. Above `limit` the sessions would
    fall behind together, so no further one is let in.
    """

    def __init__(self, chunk_s: float, max_batch: int, limit: float) -> None:
        self._chunk_s, self._max_batch, self._limit = chunk_s, max_batch, limit
        self._steps = 0
        self._weight = 0.0
        self._windows = self._seconds = 0.0  # weighted means
        self._variance = self._covariance = 0.0  # of the windows; of windows and seconds

    def note(self, windows: int, seconds: float) -> None:
        """A step of so many windows took so long; one without any counts as none."""
        if not windows:
            return
        if self._steps >= ENOUGH_STEPS:
            seconds = min(seconds, OUTLIER * self._expected(windows))
        self._steps += 1
        self._weight = self._weight * (1 - 1 / MEMORY_STEPS) + 1
        gain = 1 / self._weight
        off, late = windows - self._windows, seconds - self._seconds
        self._windows += gain * off
        self._seconds += gain * late
        self._variance += gain * ((1 - gain) * off * off - self._variance)
        self._covariance += gain * ((1 - gain) * off * late - self._covariance)

    def _cost(self) -> tuple[float, float]:
        """Seconds of a step itself, and of each window in it; neither is negative."""
        dearest = self._seconds / self._windows
        each = dearest
        if self._variance > 0.01 * self._windows**2:  # else the windows' number hardly varied
            each = min(max(self._covariance / self._variance, 0.0), dearest)
        return self._seconds - each * self._windows, each

    def _expected(self, windows: int) -> float:
        fixed, each = self._cost()
        return fixed + each * windows

    def share(self, sessions: int) -> float:
        """Of the device's time, what so many sessions that send live would take; 0: not known."""
        if self._steps < ENOUGH_STEPS:
            return 0.0
        fixed, each = self._cost()
        batches = math.ceil(sessions / self._max_batch)
        return (fixed * batches + each * sessions) / self._chunk_s

    def windows_within(self, share: float) -> int:
        """How many windows a step may have to take that share of a chunk's duration; 0: unknown."""
        if self._steps < ENOUGH_STEPS:
            return 0
        fixed, each = self._cost()
        spare_s = share * self._chunk_s - fixed
        return self._max_batch if each <= 0.0 < spare_s else max(int(spare_s / (each or 1.0)), 0)

    def is_full(self, sessions: int) -> bool:
        """Whether so many sessions are too many; one alone never is, nor any without a limit."""
        return sessions > 1 and 0 < self._limit < self.share(sessions)
