"""The geometry of time: samples, frames and seconds, and the window the encoder sees.

Owns every conversion between the three units; nobody else multiplies by a hop or divides by a
sample rate. Must not know: audio, labels, decoding.
"""

from dataclasses import dataclass

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the house."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The frame grid of a model: frame t of a segment needs samples [hop*t, hop*(t+1) + tail).

    A frame is one *output* frame of the model: 320 samples, 640 with the stride-2 adapter. The
    tail is what the feature windows of a frame need beyond its hop (two mel frames of 25 ms every
    10 ms need 560 samples, hence 240).
    """

    hop_samples: int = 320
    tail_samples: int = 240

    def __post_init__(self) -> None:
        if self.hop_samples < 1 or self.tail_samples < 0:
            raise ValueError(
                "expected hop_samples >= 1 and tail_samples >= 0, "
                f"got {self.hop_samples} and {self.tail_samples}"
            )

    def samples(self, frames: int) -> int:
        """Samples from the start of a frame to the start of the frame `frames` later."""
        return self.hop_samples * frames

    def span_samples(self, frames: int) -> int:
        """Samples that `frames` frames in a row need: their hops and the last one's tail."""
        return self.hop_samples * frames + self.tail_samples

    def whole_frames(self, samples: int) -> int:
        """Frames that fit into `samples` without the tail: floor(samples / hop)."""
        return samples // self.hop_samples

    def covering_frames(self, samples: int) -> int:
        """Frames it takes to cover `samples`, the last one perhaps partly: ceil(samples / hop)."""
        return -(-samples // self.hop_samples)

    @staticmethod
    def seconds(samples: int) -> float:
        """Duration of `samples` in seconds."""
        return samples / SAMPLE_RATE

    @staticmethod
    def samples_in(seconds: float) -> int:
        """Samples in `seconds`, to the nearest one."""
        return round(seconds * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Context:
    """The geometry of a window, in frames: left context, chunk, right context (lookahead).

    Only the chunk is committed. In `cache` mode the encoder keeps the left context itself, and
    `left` is 0 here.
    """

    left: int
    chunk: int
    right: int

    def __post_init__(self) -> None:
        if self.left < 0 or self.chunk < 1 or self.right < 0:
            raise ValueError(
                "expected left >= 0, chunk >= 1 and right >= 0 frames, "
                f"got {self.left}, {self.chunk} and {self.right}"
            )

    @property
    def total(self) -> int:
        """Frames in a full window."""
        return self.left + self.chunk + self.right

    def latency_s(self, grid: Grid) -> float:
        """Algorithmic latency in seconds: chunk + right context + the tail of the last frame."""
        return grid.seconds(grid.span_samples(self.chunk + self.right))
