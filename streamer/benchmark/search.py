"""The largest number of streams that holds, found with few trials.

Pure: it says which number to try next and is told how that went. Must not know: streams, clocks.
"""

GROWTH = 1.4  # while nothing has failed yet


class Search:
    """Ask `next()`, try, `tell()`; until `next()` is None. `best` is the largest that held.

    Assumes that what holds for a number holds for smaller ones. It ends when `best` and the
    smallest number that failed are at most `resolution` (a share of `best`), or 1, apart.
    """

    def __init__(self, guess: int, limit: int, resolution: float = 0.05) -> None:
        if limit < 1:
            raise ValueError(f"expected limit >= 1, got {limit}")
        self._held: set[int] = set()
        self._failed = limit + 1
        self._limit = limit
        self._guess = min(max(guess, 1), limit)
        self._resolution = resolution

    @property
    def best(self) -> int:
        """The largest number that held, and below which none failed; 0 if there is none."""
        return max((each for each in self._held if each < self._failed), default=0)

    def next(self) -> int | None:
        """The number to try next."""
        best = self.best
        if self._failed - best <= max(1, int(self._resolution * best)):
            return None
        if self._failed <= self._limit:
            return (best + self._failed) // 2
        if not best:
            return self._guess
        return min(self._limit, max(best + 1, round(GROWTH * best)))

    def tell(self, number: int, holds: bool) -> None:
        """`number` was tried; once failed it counts as failed."""
        if holds:
            self._held.add(number)
        else:
            self._failed = min(self._failed, number)
