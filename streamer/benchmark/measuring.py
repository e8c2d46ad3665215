"""A plan carried out: runs of growing numbers of streams, until the largest that holds is known.

Owns the order of the runs and the time limit. Must not know: how a target is built or shown.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from streamer.benchmark import load
from streamer.benchmark.load import LineError, Load, RefusedError, Target
from streamer.benchmark.plan import Plan
from streamer.benchmark.results import Run, summarize
from streamer.benchmark.search import Search
from streamer.core.context import Grid

OPENING_S = 3.0  # of a run beyond its audio: opening, the last events


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the command should be done, on the clock of `time.monotonic`."""

    at_s: float

    @staticmethod
    def after(minutes: float | None) -> "Deadline":
        """So many minutes from now; None: never."""
        return Deadline(float("inf") if minutes is None else time.monotonic() + 60 * minutes)

    def part(self, of: int) -> "Deadline":
        """That of the next of so many pieces of work which share what is left."""
        now_s = time.monotonic()
        return Deadline(now_s + (self.at_s - now_s) / of)

    def allows(self, seconds: float) -> bool:
        """Whether there is so much time left."""
        return time.monotonic() + seconds <= self.at_s


@dataclass(frozen=True, slots=True)
class Found:
    """The runs of a plan, in their order, and the largest number of streams that held."""

    runs: tuple[Run, ...]
    sustained: int | None
    notes: tuple[str, ...]


class Measuring:
    """Runs on one target; `progress` takes a sentence for each."""

    def __init__(
        self, target: Target, plan: Plan, deadline: Deadline, progress: Callable[[str], object]
    ) -> None:
        self._target, self._plan, self._deadline = target, plan, deadline
        self._progress = progress
        self._runs: list[Run] = []

    async def fixed(self) -> Found:
        """The numbers of streams that the plan names; raises LineError when there is no room."""
        for streams in self._plan.fixed_streams:
            await self._run(streams)
        return Found(tuple(self._runs), None, ())

    async def search(self, guess: int) -> Found:
        """The largest number that holds, confirmed by further runs of it."""
        plan, notes = self._plan, []
        search, confirmed = Search(guess, plan.most_streams), 0
        run_s = plan.warm_up_s + plan.seconds + OPENING_S
        while (streams := search.next() or (search.best or None)) is not None:
            is_confirmation = search.next() is None
            if is_confirmation and confirmed == plan.confirmations:
                break
            if not self._deadline.allows(run_s):
                notes.append("the time limit ended the search")
                break
            holds = (await self._run(streams)).holds
            search.tell(streams, holds)
            confirmed = confirmed + 1 if is_confirmation and holds else 0
        if search.best == plan.most_streams:
            notes.append(f"{plan.most_streams} was the largest number allowed (--max-streams)")
        return Found(tuple(self._runs), search.best, tuple(notes))

    async def _run(self, streams: int) -> Run:
        plan = self._plan
        packet_samples = Grid.samples_in(plan.packet_ms / 1000)
        wanted = Load(streams, plan.seconds, plan.warm_up_s, packet_samples)
        self._progress(f"{plan.name}: {streams} streams for {plan.seconds:g} s")
        try:
            seen = await load.run(self._target, wanted)
            run = summarize(seen, generator_apart=plan.websocket)
        except RefusedError as refusal:
            run = Run(streams, failures=(str(refusal),))
        self._runs.append(run)
        self._progress(f"  {'holds' if run.holds else '; '.join(run.failures)}")
        return run


__all__ = ["Deadline", "Found", "LineError", "Measuring"]
