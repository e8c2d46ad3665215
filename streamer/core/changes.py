"""Settings that were changed in mid-stream, until the frames from which they hold.

Must not know: what the settings do, time on the stream's clock.
"""

from collections import deque
from dataclasses import dataclass, field

from streamer.core.chunker import Window
from streamer.core.context import Grid
from streamer.core.decoder import Change
from streamer.core.settings import Settings

MAX_CHANGES = 64  # whose samples are not decoded


@dataclass(slots=True)
class Changes:
    """Changes by the sample at which they were made, in order; at most MAX_CHANGES.

    Each holds from the first frame that begins at its sample or behind it.
    """

    _waiting: deque[tuple[int, Settings]] = field(default_factory=deque)

    def check_room(self, at: int) -> None:
        """Raise ValueError if no change can be made at the sample `at` now."""
        is_other = not (self._waiting and self._waiting[-1][0] == at)
        if is_other and len(self._waiting) >= MAX_CHANGES:
            raise ValueError(f"expected at most {MAX_CHANGES} changes ahead of the decoding")

    def add(self, at: int, settings: Settings) -> None:
        """A change at the sample `at`; one that waits for the same sample is forgotten."""
        if self._waiting and self._waiting[-1][0] == at:
            self._waiting.pop()
        self._waiting.append((at, settings))

    def due(self, window: Window, grid: Grid) -> list[Change]:
        """Take the changes that are due within the window's chunk, the last one of each frame."""
        due: list[Change] = []
        while self._waiting:
            at, settings = self._waiting[0]
            frame = grid.covering_frames(max(0, at - window.start_sample))
            if frame >= window.chunk:
                break
            self._waiting.popleft()
            if due and due[-1].frame == frame:
                due.pop()  # nothing is decoded by it: it would cost a scorer
            due.append(Change(frame, settings.endpoint, settings.options, settings.keywords))
        return due
