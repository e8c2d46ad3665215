"""Named sets of plans: what one command measures on a kind of machine.

Owns which figures are taken. Must not know how.
"""

from dataclasses import replace

from streamer.benchmark.plan import Plan
from streamer.config import Config, EngineConfig, ModelConfig

GPU_BATCHES = (1, 8, 32, 128, 256, 512)
GPU_STREAMS = 5_000


def plans(name: str, settings: Config) -> list[Plan]:
    """The plans of a suite; `settings` say what is not the suite's own."""
    return _gpu(settings) if name == "gpu" else _cpu(settings)


SUITES = ("cpu", "gpu")


def _gpu(settings: Config) -> list[Plan]:
    """Full size with 256 frames of left context at 320 ms, and the shipped model."""
    full = ModelConfig(left_context_s=5.12, device="cuda")
    engine = EngineConfig(max_sessions=GPU_STREAMS, max_batch=512)
    base = replace(settings, engine=engine)
    carried = Plan(
        "full size, chunks of 320 ms",
        replace(base, model=full),
        random=True,
        side_by_side=True,
        batches=GPU_BATCHES,
        most_streams=GPU_STREAMS,
    )
    shipped = Plan(
        "shipped model, chunks of 320 ms",
        replace(base, model=ModelConfig(device="cuda")),
        batches=GPU_BATCHES,
        most_streams=GPU_STREAMS,
    )
    return [carried, shipped]


def _cpu(settings: Config) -> list[Plan]:
    """Full size at 640 ms, and the shipped model in-process and over websockets."""
    full = Plan(
        "full size, chunks of 640 ms",
        replace(settings, model=ModelConfig(device="cpu")),
        random=True,
        chunk_s=0.64,
        side_by_side=True,
        batches=(1, 8, 16),
        most_streams=24,
        seconds=20.0,
    )
    shipped = Plan(
        "shipped model, in-process",
        replace(settings, model=ModelConfig(device="cpu")),
        batches=(1, 8, 32),
        most_streams=400,
    )
    wired = replace(shipped, name="shipped model, over websockets", batches=(), websocket=True)
    return [full, shipped, wired]
