"""Stretches of a stream in which it is not quiet, for whoever asks when it has been.

Must not know: what is heard there.
"""

from collections import deque


class Stretches:
    """[start, end) in samples of one clock, in order; those that touch are one."""

    def __init__(self) -> None:
        self._all: deque[tuple[int, int]] = deque()

    def add(self, start: int, end: int) -> None:
        """One more, not before the last."""
        if self._all and self._all[-1][1] == start:
            start = self._all.pop()[0]
        self._all.append((start, end))

    def quiet_end(self, since: int, duration: int) -> int:
        """Where the first `duration` samples from `since` on end that lie in no stretch."""
        for start, end in self._all:
            if start >= since + duration:
                break
            since = max(since, end)
        return since + duration

    def forget(self, before: int) -> None:
        """Nobody will ask for anything before this sample again."""
        while self._all and self._all[0][1] <= before:
            self._all.popleft()
