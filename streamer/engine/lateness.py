"""How many windows of a late session go into one step.

Owns the rule that nobody else waits long for it. Pure. Must not know: sessions, windows, models.
"""

from collections.abc import Sequence

from streamer.engine.load import Load

BUSY_SHARE = 0.5
"""Of a chunk's duration that a step may take for a late session's sake while others are open."""

HANDING_SHARE = 0.05
"""Of a step's time, how long the device may wait until the last answers are handed out: the late
sessions among them are in the next batch then, instead of every other one."""


def windows_each(
    ready: Sequence[int], sessions: int, most: int, max_batch: int, load: Load
) -> list[int]:
    """For each session of a batch, of whose windows so many are `ready`: how many it may send.

    One, or all late ones the same power of two: so many that the step has up to `most` windows, for
    a batch that has as many already gains nothing, and no more than `max_batch`. With other open
    `sessions` the step may be no longer than BUSY_SHARE allows, and as long as the load is not
    known, each sends one.
    """
    width = min(max(ready), min(most, max_batch) // len(ready))
    if width > 1 and sessions > 1:
        width = min(width, load.windows_within(BUSY_SHARE) // len(ready))
    if width <= 1:
        return [1] * len(ready)
    width = 1 << (width.bit_length() - 1)
    return [width if each >= width else 1 for each in ready]
