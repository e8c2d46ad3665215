"""What late streams gain by several windows in a call: one table, side by side in one run.

    python -m tests.bench.late [SECONDS]          # the shipped model
    python -m tests.bench.late SECONDS full-size  # random weights, 4 of 24 layers, chunks of 640 ms

So many streams have each sent so many seconds of sound when the engine gets to them: one stream is
a file that is transcribed, several are live ones behind a stall. Their engine takes one window of a
stream in each call, or up to 2, 4 and 8, by turns. Processor time, the least of two; one thread.
"""

import asyncio
import sys
import time
from dataclasses import replace

import numpy as np

from models import checkpoint
from models.benchmark import FULL_SIZE, random_model
from streamer.core.chunker import Waveform
from streamer.core.context import Context, Grid
from streamer.engine.engine import Engine
from streamer.engine.load import ENOUGH_STEPS
from streamer.engine.runner import ModelRunner

STREAMS, WIDTHS, ROUNDS = (1, 2, 4), (1, 2, 4, 8), 2


class Limited(ModelRunner):
    """Takes no more than `width` windows of a stream in a call."""

    width = 1

    @property
    def most_windows(self) -> int:
        return min(self.width, super().most_windows)


def sound(seconds: float) -> Waveform:
    rng = np.random.default_rng(0)
    return (0.05 * rng.normal(size=Grid.samples_in(seconds))).astype(np.float32)


async def hear(engine: Engine, samples: Waveform) -> None:
    async with engine.open_session() as session:
        await session.send(samples)
        await session.finish()
        async for _ in session:
            pass


async def catch_up(engine: Engine, streams: int, samples: Waveform) -> float:
    """Processor seconds until all streams are heard."""
    began = time.process_time()
    await asyncio.gather(*(hear(engine, samples) for _ in range(streams)))
    return time.process_time() - began


async def compare(model: Limited, counts: tuple[int, ...], seconds: float) -> None:
    limits = {"max_sessions": max(counts), "max_batch": 64, "max_backlog_s": 600.0}
    async with Engine(model, **limits) as engine:
        chunk_s = model.grid.seconds(model.grid.samples(model.context.chunk))
        await catch_up(engine, 1, sound(ENOUGH_STEPS * chunk_s))  # from now on it knows its load
        print("streams  windows a call  processor s  x real time  ratio")
        for streams in counts:
            least = dict.fromkeys(WIDTHS, float("inf"))
            for model.width in WIDTHS * ROUNDS:
                taken_s = await catch_up(engine, streams, sound(seconds))
                least[model.width] = min(least[model.width], taken_s)
            for width, taken_s in least.items():
                speed, ratio = streams * seconds / taken_s, least[1] / taken_s
                print(f"{streams:7} {width:15} {taken_s:12.2f} {speed:12.1f} {ratio:6.2f}")


def main(seconds: str = "20", name: str = "tiny-en") -> None:
    small = name != "full-size"
    model = Limited(
        checkpoint.load(name) if small else random_model(replace(FULL_SIZE, num_hidden_layers=4)),
        mode="cache",
        context=Context(left=128, chunk=8, right=0) if small else Context(160, 32, 0),
        slots=max(STREAMS),
        device="cpu",
        threads=1,
    )
    asyncio.run(compare(model, STREAMS if small else (1,), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
