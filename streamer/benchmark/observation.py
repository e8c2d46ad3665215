"""What is noted while streams run, and what it amounts to.

Owns the attribution of steps and events to chunks: a chunk's latency counts from the moment at
which its last sample is due. Must not know: how streams are carried, how results are shown.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from streamer.benchmark.schedule import Schedule
from streamer.core.chunker import Window
from streamer.core.context import SAMPLE_RATE, Context, Grid
from streamer.core.frames import Frames
from streamer.core.recognizer import Model

SEEN_LAST = 20  # partials that tell how far behind a run is

Kind = Literal["partial", "final", "closed"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Samples of a chunk, and those behind it that it waits for."""

    chunk_samples: int
    wait_samples: int  # lookahead and the tail of the last frame
    lookahead_samples: int

    @staticmethod
    def of(context: Context, grid: Grid) -> "Geometry":
        """The geometry of a model."""
        wait = grid.span_samples(context.right)
        return Geometry(grid.samples(context.chunk), wait, grid.samples(context.right))

    @property
    def chunk_s(self) -> float:
        """Seconds of a chunk."""
        return self.chunk_samples / SAMPLE_RATE

    def complete_samples(self, chunk: int) -> int:
        """How much of a stream must be there for its chunk with this number, from 0."""
        return (chunk + 1) * self.chunk_samples + self.wait_samples

    def chunks(self, samples: int) -> int:
        """Chunks that are complete in a stream of so many samples."""
        return max((samples - self.wait_samples) // self.chunk_samples, 0)

    def first_chunk_with(self, end_s: float) -> int:
        """The first chunk in which, lookahead included, audio up to `end_s` can be heard."""
        samples = round(end_s * SAMPLE_RATE) - self.lookahead_samples
        return max(-(-samples // self.chunk_samples) - 1, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One batch through the model: when, and for each window its slot and its last sample.

    `stops` is empty where it is not known which streams they are of.
    """

    begin_s: float
    end_s: float
    slots: tuple[int, ...]
    stops: tuple[int, ...]


class TimedModel:
    """A model that notes its steps; `core.recognizer.Model` in all else. One thread calls it."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: list[Step] = []
        self._model = model
        self._clock = clock
        self._span_samples = model.grid.span_samples

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        """As the model's own."""
        begin_s = self._clock()
        frames = self._model.run(slots, windows)
        stops = tuple(w.start_sample + self._span_samples(w.chunk + w.right) for w in windows)
        self.steps.append(Step(begin_s, self._clock(), tuple(slots), stops))
        return frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of a stream, when it came, and where in the stream its last word ends."""

    stream: int
    at_s: float
    kind: Kind
    end_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Meters:
    """Processor seconds so far: of the thread with the event loop, and of its whole process."""

    host_s: float
    process_s: float


@dataclass(slots=True)
class Observation:
    """Everything noted in one run; times on the clock of the run, which begins at `begin_s`."""

    schedule: Schedule
    geometry: Geometry
    begin_s: float
    warm_up_s: float
    heard: list[Heard] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # of sessions that ended before their time
    late_s: list[float] = field(default_factory=list)  # of each packet, when it was sent
    steps: list[Step] = field(default_factory=list)  # empty where nobody could note them
    stream_of_slot: dict[int, int] = field(default_factory=dict)
    meters: list[Meters] = field(default_factory=list)  # at the ends of the measured time
    generator_s: list[float] = field(default_factory=list)  # processor time, likewise
    stopped_s: float | None = None  # when it was given up as hopeless

    @property
    def measured_s(self) -> tuple[float, float]:
        """From the end of the warm-up to the end of the first stream, or of the run."""
        begin_s = self.begin_s + self.warm_up_s
        end_s = self.begin_s + self.schedule.samples / SAMPLE_RATE
        if self.stopped_s is not None:
            end_s = max(begin_s, min(end_s, self.stopped_s))
        return begin_s, end_s

    def step_latencies(self) -> list[tuple[float, float, float]]:
        """For each chunk in the measured time: when it was due, its wait, its computing."""
        low, high = self.measured_s
        found = []
        for step in self.steps:
            for slot, stop in zip(step.slots, step.stops, strict=False):
                due_s = self._due_s(self.stream_of_slot[slot], stop)
                if low <= due_s < high:
                    found.append((due_s, step.begin_s - due_s, step.end_s - step.begin_s))
        return found

    def partial_latencies(self) -> list[tuple[float, float]]:
        """For each chunk whose words were seen: when it was due, and how much later they were.

        The first event that reaches into a chunk counts: what a stream says of older chunks later
        on is no longer about them.
        """
        low, high = self.measured_s
        newest: dict[int, int] = {}
        found = []
        for each in self.heard:
            chunk = self.geometry.first_chunk_with(each.end_s)
            if each.kind == "closed" or chunk <= newest.get(each.stream, -1):
                continue
            newest[each.stream] = chunk
            due_s = self._complete_s(each)
            if each.kind == "partial" and low <= due_s < high:
                found.append((due_s, each.at_s - due_s))
        return found

    def final_latencies(self) -> list[float]:
        """From a last word's end to its final, of utterances that a pause ended."""
        low, high = self.measured_s
        finals = [each for each in self.heard if each.kind == "final" and each.reason == "endpoint"]
        ends = [(self._due_s(each.stream, each.end_s * SAMPLE_RATE), each.at_s) for each in finals]
        return [at_s - due_s for due_s, at_s in ends if low <= due_s < high]

    def closing_latencies(self) -> list[float]:
        """From a stream's last sample to its `Closed`."""
        return [
            each.at_s - self._due_s(each.stream, self.schedule.samples)
            for each in self.heard
            if each.kind == "closed"
        ]

    def behind_s(self) -> float:
        """How late the newest partials were at least; 0 while there are only a few."""
        newest = [each for each in self.heard[-4 * SEEN_LAST :] if each.kind == "partial"]
        if len(newest) < SEEN_LAST:
            return 0.0
        return min(each.at_s - self._complete_s(each) for each in newest[-SEEN_LAST:])

    def _complete_s(self, heard: Heard) -> float:
        """When the first chunk that has an event's last word was complete."""
        chunk = self.geometry.first_chunk_with(heard.end_s)
        return self._due_s(heard.stream, self.geometry.complete_samples(chunk))

    def _due_s(self, stream: int, samples: float) -> float:
        return self.begin_s + self.schedule.due_s(stream, samples)
