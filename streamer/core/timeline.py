"""Where a stream is: in samples received and decoded, and on its clock, which gaps move on.

Owns the marks that wait for the samples before them to be decoded, and the conversion of a
decoder's frames to the stream's clock, and to where their sound lies on it: a model says what it
has heard with a delay. Must not know: tokens, words, events.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from streamer.core.context import Grid


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happens when all samples before `at` are decoded."""

    at: int
    what: Literal["gap", "flush", "end"]
    id: str = ""
    lost_samples: int = 0


@dataclass(slots=True)
class Timeline:
    """Counts of one stream, in samples. A segment is what lies between two marks."""

    grid: Grid
    start_delay: int = 0  # of the model, where a word begins; at least the other one
    end_delay: int = 0  # and where it ends
    received: int = 0
    decoded: int = 0  # in a committed chunk
    lost: int = 0  # in the gaps before the segment being decoded
    origin: int = 0  # of the stream's clock, at which the decoder's frame 0 begins
    marks: deque[Mark] = field(default_factory=deque)

    @property
    def now(self) -> int:
        """How far the stream's clock has come: what is decoded, and what was lost before it."""
        return self.decoded + self.lost

    @property
    def clock_received(self) -> int:
        """Where on the stream's clock the next sample received will be."""
        return self.received + self.lost + sum(mark.lost_samples for mark in self.marks)

    @property
    def known_end(self) -> int:
        """The last sample received that belongs to the segment being decoded."""
        return self.marks[0].at if self.marks else self.received

    def ahead(self, chunk_samples: int) -> int:
        """The end of the next chunk on the stream's clock, or of the segment."""
        return min(self.decoded + chunk_samples, self.known_end) + self.lost

    def passed_mark(self) -> Mark | None:
        """The next mark, if all samples before it are decoded."""
        return self.marks[0] if self.marks and self.marks[0].at <= self.decoded else None

    def span(self, start_frame: int, end_frame: int) -> tuple[int, int]:
        """Frames of the decoder on the stream's clock; the last one may be padded beyond a mark."""
        samples, origin = self.grid.samples, self.origin
        start, end = origin + samples(start_frame), origin + samples(end_frame)
        if self.marks:
            end = min(end, self.marks[0].at + self.lost)
        return start, end

    def placed(self, start_frame: int, end_frame: int) -> tuple[int, int, int, int]:
        """`span`, and behind it where the sound begins and ends that these frames tell of.

        Never before the segment, and later sound is always later: near the segment's beginning
        it is half way to the frames.
        """
        start, end = self.span(start_frame, end_frame)
        if not self.start_delay:
            return start, end, start, end
        sound_start = start - min(self.start_delay, (start - self.origin) // 2)
        return start, end, sound_start, self.sound_end(end)

    def sound_end(self, at: int) -> int:
        """Where the sound ends that frames up to `at` tell of; see `placed`."""
        return at - min(self.end_delay, (at - self.origin) // 2)
