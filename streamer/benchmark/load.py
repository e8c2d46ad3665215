"""The load generator: every packet at its time, everything that comes back noted.

Owns the pace and the order of a run. Must not know: what carries the streams.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from streamer.benchmark.observation import Geometry, Heard, Meters, Observation, Step
from streamer.benchmark.schedule import Packet, Schedule

BURST_PACKETS = 64  # sent in a row when behind; then everyone else gets a turn
HEAD_START_S = 0.2  # between the opening of the streams and their first packet
HOPELESS_S = 2.0  # and a chunk behind: a run that cannot hold any more
PATIENCE_S = 10.0  # for the last events


class LineError(Exception):
    """A stream ended before its time; the message is one sentence."""


class RefusedError(LineError):
    """There is no room for so many streams."""


class Line(Protocol):
    """One open stream."""

    @property
    def slot(self) -> int:
        """The number by which steps name it, -1 if they do not."""

    async def send(self, first: int, stop: int) -> None:
        """Send samples [first, stop) of its audio."""

    async def finish(self) -> None:
        """No more audio will come."""

    async def listen(self, note: Callable[[Heard], None]) -> None:
        """Note every event, until the stream is closed; raises LineError if it ends otherwise."""


class Target(Protocol):
    """What carries the streams."""

    geometry: Geometry

    def opened(self, streams: int) -> AbstractAsyncContextManager[list[Line]]:
        """So many open streams; raises RefusedError when there is no room, or LineError.

        What is still open at the end of the block is aborted.
        """

    async def meters(self) -> Meters | None:
        """Processor time so far, if it can be known."""

    async def steps(self) -> list[Step]:
        """The steps since the last call, if they can be known."""


class Clock(Protocol):
    """The time of a run."""

    def now(self) -> float:
        """Seconds; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Let others work for so long, at least for a turn."""


class RealClock:
    """The event loop's."""

    def now(self) -> float:
        """As `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As `Clock`."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Load:
    """One run: so many streams, measured for `seconds` behind `warm_up_s`."""

    streams: int
    seconds: float
    warm_up_s: float
    packet_samples: int


async def pace(
    packets: Iterable[Packet],
    begin_s: float,
    send: Callable[[Packet], Awaitable[None]],
    clock: Clock,
    is_hopeless: Callable[[], bool],
) -> tuple[list[float], bool]:
    """Send every packet when it is due; returns how late each was, and whether all were sent.

    What is late is sent at once: the schedule never moves.
    """
    late_s: list[float] = []
    burst = 0
    for packet in packets:
        wait_s = begin_s + packet.due_s - clock.now()
        burst += 1
        if wait_s > 0 or burst >= BURST_PACKETS:
            burst = 0
            await clock.sleep(max(wait_s, 0.0))
            if is_hopeless():
                return late_s, False
        late_s.append(clock.now() - begin_s - packet.due_s)
        await send(packet)
    return late_s, True


async def run(target: Target, load: Load) -> Observation:
    """One run from opening the streams to their end."""
    geometry, clock = target.geometry, RealClock()
    total_s = load.warm_up_s + load.seconds
    schedule = Schedule(load.streams, total_s, load.packet_samples, geometry.chunk_s)
    async with target.opened(load.streams) as lines:
        await target.steps()  # those of a run before
        begin_s = clock.now() + HEAD_START_S
        seen = Observation(schedule, geometry, begin_s, load.warm_up_s)
        seen.stream_of_slot = {line.slot: number for number, line in enumerate(lines)}
        async with asyncio.TaskGroup() as tasks:
            metering = tasks.create_task(_meter(target, seen), name="meter")
            listening = [
                tasks.create_task(_listen(line, seen), name=f"listen {number}")
                for number, line in enumerate(lines)
            ]
            await _send_all(target, lines, seen, clock)
            if seen.stopped_s is None:
                await asyncio.wait(listening, timeout=PATIENCE_S + geometry.chunk_s)
                silent = sum(not task.done() for task in listening)
                if silent:
                    seen.faults.append(f"{silent} streams were not closed in {PATIENCE_S:g} s")
            for task in (metering, *listening):
                task.cancel()
        seen.steps += await target.steps()
    return seen


async def _send_all(target: Target, lines: list[Line], seen: Observation, clock: Clock) -> None:
    hopeless_s = HOPELESS_S + seen.geometry.chunk_s

    async def send(packet: Packet) -> None:
        line = lines[packet.stream]
        await line.send(packet.first, packet.stop)
        if packet.is_last:
            await line.finish()

    def is_hopeless() -> bool:
        return seen.behind_s() > hopeless_s

    seen.late_s, sent = await pace(seen.schedule, seen.begin_s, send, clock, is_hopeless)
    seen.stopped_s = None if sent else clock.now()


async def _meter(target: Target, seen: Observation) -> None:
    """Read the meters at both ends of the measured time."""
    for moment_s in seen.measured_s:
        await asyncio.sleep(max(moment_s - time.monotonic(), 0.0))
        seen.generator_s.append(time.process_time())
        meters = await target.meters()
        if meters is not None:
            seen.meters.append(meters)


async def _listen(line: Line, seen: Observation) -> None:
    try:
        await line.listen(seen.heard.append)
    except LineError as fault:
        seen.faults.append(str(fault))
