"""Host CPU per stream-step of the engine, with a model that costs nothing: one table.

    python -m tests.bench.host [STEPS]

A stream-step is one chunk of one stream: its packets sent, a window cut, frames folded in, events
read. The CPU time is that of the whole process, the client's tasks included. "silence" has blank
frames only; "speech" has 12 letters and 3 words per second. Every stream sends a chunk, and the
next one when all are decoded: as in real time, none waits for room. The first line of each is the
core alone, one stream without engine, tasks and threads.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import numpy as np

from streamer.collector import collect_rarely
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from streamer.core.stream import Stream
from streamer.engine.engine import Engine
from streamer.engine.session import Session
from tests.fakes import CONTEXT, GRID, LABELS, FakeModel, read_frames, silence, speak

CHUNK_SAMPLES = GRID.samples(CONTEXT.chunk)
TAIL = silence(GRID.seconds(GRID.tail_samples))
WARM_UP_ROUNDS = 2


class FreeModel(FakeModel):
    """Answers every window with the same frames."""

    def __init__(self, slots: int, frames: Frames) -> None:
        super().__init__(slots=slots)
        self.frames = frames
        self.steps = 0

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        self.steps += 1
        return [self.frames if w.chunk == self.context.chunk else self.read(w) for w in windows]


async def speak_in_rounds(sessions: list[Session], packets: list[np.ndarray], rounds: int) -> None:
    last = sessions[-1]  # its window is the last one of the last batch
    for _ in range(rounds):
        for session in sessions:
            for packet in packets:
                await session.send(packet)
        while last.received_samples - last.decoded_samples > len(TAIL):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def read(session: Session) -> None:
    async for _ in session:
        pass


async def measure(streams: int, chunk: np.ndarray, packet_samples: int, steps: int) -> None:
    model = FreeModel(streams, read_frames(chunk, GRID.hop_samples))
    packets = np.split(chunk, range(packet_samples, len(chunk), packet_samples))
    rounds = max(steps // streams, 5)
    limits = {"max_sessions": streams, "max_batch": 256}
    async with Engine(model, **limits, max_backlog_s=1.0) as engine:
        sessions = [engine.open_session() for _ in range(streams)]
        for session in sessions:
            await session.send(TAIL)
        async with asyncio.TaskGroup() as tasks:
            for session in sessions:
                tasks.create_task(read(session))
            await speak_in_rounds(sessions, packets, WARM_UP_ROUNDS)
            model.steps, start_s = 0, time.process_time()
            await speak_in_rounds(sessions, packets, rounds)
            cpu_us = (time.process_time() - start_s) * 1e6 / (streams * rounds)
            batch = streams * rounds / model.steps
            for session in sessions:
                await session.finish()
    print(f"{streams:8d} {1000 * packet_samples // 16_000:10d} {batch:10.1f} {cpu_us:13.1f}")


def measure_core(chunk: np.ndarray, steps: int) -> None:
    stream, frames = Stream(CONTEXT, GRID, LABELS), read_frames(chunk, GRID.hop_samples)
    stream.accept_waveform(TAIL)
    start_s = time.process_time()
    for _ in range(steps):
        stream.accept_waveform(chunk)
        stream.next_window()
        stream.accept_frames(frames)
        stream.take_events()
    cpu_us = (time.process_time() - start_s) * 1e6 / steps
    print(f"{'core':>8} {1000 * len(chunk) // 16_000:10d} {1:10.1f} {cpu_us:13.1f}")


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    collect_rarely()  # as commands do
    speech = speak("abc e", 2, 1)[:CHUNK_SAMPLES]
    speech = np.concatenate([speech, np.zeros(CHUNK_SAMPLES - len(speech), np.float32)])
    for name, chunk in {"silence": np.zeros_like(speech), "speech": speech}.items():
        print(f"{name:8}  packet ms mean batch  CPU µs/step")
        measure_core(chunk, steps)
        for packet_samples in (CHUNK_SAMPLES, 320):
            for streams in (1, 100, 1000):
                asyncio.run(measure(streams, chunk, packet_samples, steps))


if __name__ == "__main__":
    main()
