"""When each packet of each stream is due: an open loop, fixed before the first packet is sent.

Owns the arithmetic of due times. Pure: no clock, no tasks. All times are seconds after the begin of
a run; a packet is due when its last sample is, as a microphone would have it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamer.core.context import SAMPLE_RATE

GOLDEN = (5**0.5 - 1) / 2  # its multiples fill [0, 1) evenly, however many there are


@dataclass(frozen=True, slots=True)
class Packet:
    """Samples [first, stop) of a stream, due at `due_s`; the last one ends its stream."""

    due_s: float
    stream: int
    first: int
    stop: int
    is_last: bool


class Schedule:
    """`streams` streams of `seconds` each, cut into packets, begun at different moments.

    The beginnings spread over `stagger_s`: chunks of different streams are complete at different
    times, as in life. Being late changes nothing in it, so lateness cannot hide (no coordinated
    omission).
    """

    def __init__(self, streams: int, seconds: float, packet_samples: int, stagger_s: float) -> None:
        if streams < 1 or packet_samples < 1:
            raise ValueError(
                f"expected streams and packet_samples >= 1, got {streams} and {packet_samples}"
            )
        if not (seconds > 0 and stagger_s >= 0):
            raise ValueError(
                f"expected seconds > 0 and stagger_s >= 0, got {seconds} and {stagger_s}"
            )
        self.streams = streams
        self.packet_samples = packet_samples
        self.packets = -(-round(seconds * SAMPLE_RATE) // packet_samples)  # of each stream
        self.samples = self.packets * packet_samples  # of each stream
        self.begins_s: npt.NDArray[np.float64] = stagger_s * (np.arange(streams) * GOLDEN % 1)
        self.end_s = float(self.begins_s.max()) + self.samples / SAMPLE_RATE

    def due_s(self, stream: int, samples: float) -> float:
        """When `samples` samples of a stream have been spoken."""
        return float(self.begins_s[stream]) + samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[Packet]:
        """Every packet, in the order in which they are due."""
        order = np.argsort(self.begins_s, kind="stable")
        packet_s = self.packet_samples / SAMPLE_RATE
        rounds = self.begins_s[order] // packet_s  # a stream that begins later is rounds behind
        lanes = sorted(
            (
                (float(self.begins_s[i] - late * packet_s), int(late), int(i))
                for i, late in zip(order, rounds, strict=True)
            )
        )
        for turn in range(self.packets + int(rounds.max())):
            for _, late, stream in lanes:
                number = turn - late
                if 0 <= number < self.packets:
                    yield self._packet(stream, number)

    def _packet(self, stream: int, number: int) -> Packet:
        first, stop = number * self.packet_samples, (number + 1) * self.packet_samples
        last = number == self.packets - 1
        return Packet(self.due_s(stream, stop), stream, first, stop, last)
