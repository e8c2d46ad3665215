"""Whether more sessions can be had, and the slots of the model that they get.

Owns the slots that are free, those whose state is a former session's, and why there are none.
Must not know: sessions, tasks, models.
"""

from streamer.engine.errors import CapacityError
from streamer.engine.load import Load


class Slots:
    """`count` slots, of which no more are taken than the load allows, and none while closed."""

    def __init__(self, count: int, load: Load, decoding: Load) -> None:
        self.count, self._load, self._decoding = count, load, decoding
        self._free = list(reversed(range(count)))
        self._to_reset: list[int] = []
        self._closed: str | None = "the engine is not running"

    @property
    def are_open(self) -> bool:
        """Whether slots are given out, as long as there are any."""
        return self._closed is None

    def open(self) -> None:
        """Give out slots from now on."""
        self._closed = None

    def close(self, reason: str) -> None:
        """Give out none from now on."""
        self._closed = reason

    def check(self, count: int = 1, leaving: int = 0) -> None:
        """CapacityError if so many slots are not to be had now, or when so many others are free.

        ValueError for more than there can ever be.
        """
        if count > self.count:
            raise ValueError(f"expected at most {self.count} sessions, got {count}")
        free, taken = len(self._free), self.count - len(self._free)
        if self._closed is not None:
            raise CapacityError(self._closed)
        if not free + leaving:
            raise CapacityError(f"all {self.count} sessions are taken")
        if count > free + leaving:
            raise CapacityError(f"{count} sessions are wanted, {free} of {self.count} are free")
        if self._load.is_full(taken - leaving + count):
            raise CapacityError(f"the device carries no more than {taken} sessions")
        if self._decoding.is_full(taken - leaving + count):
            raise CapacityError(f"the decoding processes carry no more than {taken} sessions")

    def has(self, count: int, leaving: int) -> bool:
        """Whether `check` would let so many in."""
        try:
            self.check(count, leaving)
        except (CapacityError, ValueError):
            return False
        return True

    def take(self) -> int:
        """A slot, to be reset before its first step; there must be one, see `check`."""
        slot = self._free.pop()
        self._to_reset.append(slot)
        return slot

    def take_resets(self) -> list[int]:
        """The slots taken since the last call."""
        resets, self._to_reset = self._to_reset, []
        return resets

    def give_back(self, slot: int) -> None:
        """Nobody uses it any longer."""
        self._free.append(slot)
