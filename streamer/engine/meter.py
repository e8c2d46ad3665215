"""What an engine has done so far, as plain counts: the engine writes, whoever shows them reads.

Owns the bounds of the histograms. Must not know: engines, sessions, who shows what.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

STEP_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Counted(Protocol):
    """A session, as far as it counts."""

    lost_samples: int

    @property
    def received_samples(self) -> int:
        """Samples that it has received."""

    @property
    def decoded_samples(self) -> int:
        """Of these, the ones that were decoded."""


class Decoders(Protocol):
    """The processes that decode, as far as they count."""

    @property
    def ready(self) -> int:
        """Processes that are there."""

    @property
    def deaths(self) -> int:
        """Processes so far that have died."""


class Histogram:
    """How many values fell up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last: above all bounds
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Meter:
    """Totals since the engine was made; samples are those of sessions that are over."""

    def __init__(self) -> None:
        self.sessions_opened = self.sessions_refused = 0
        self.received_samples = self.decoded_samples = self.lost_samples = 0
        self.step_s, self.batch = Histogram(STEP_S), Histogram(BATCH)
        self.step_since: float | None = None  # loop time at which the step in flight began

    def heard(self, received_samples: int, decoded_samples: int, lost_samples: int) -> None:
        """A session is over, of so many samples."""
        self.received_samples += received_samples
        self.decoded_samples += decoded_samples
        self.lost_samples += lost_samples

    def step_begins(self, now: float) -> None:
        """A batch goes to the device."""
        self.step_since = now

    def step_ends(self, now: float, batch: int) -> float:
        """It has come back, after so many seconds; one without windows counts as none."""
        assert self.step_since is not None, "a step begins before it ends"
        taken_s, self.step_since = now - self.step_since, None
        if batch:
            self.step_s.observe(taken_s)
            self.batch.observe(batch)
        return taken_s


@dataclass(frozen=True, slots=True)
class Measured:
    """An engine at a moment: its totals, those of open sessions among them, and what it holds."""

    meter: Meter
    sessions: int
    slots: int
    waiting: int  # sessions with a window that is ready and not in a batch
    received_samples: int
    decoded_samples: int
    lost_samples: int
    decoders: int
    decoder_deaths: int

    @classmethod
    def of(
        cls,
        meter: Meter,
        sessions: Collection[Counted],
        slots: int,
        waiting: int,
        decoders: Decoders,
    ) -> "Measured":
        """The totals of sessions that are over, and of these."""
        return cls(
            meter=meter,
            sessions=len(sessions),
            slots=slots,
            waiting=waiting,
            received_samples=meter.received_samples + sum(s.received_samples for s in sessions),
            decoded_samples=meter.decoded_samples + sum(s.decoded_samples for s in sessions),
            lost_samples=meter.lost_samples + sum(s.lost_samples for s in sessions),
            decoders=decoders.ready,
            decoder_deaths=decoders.deaths,
        )
