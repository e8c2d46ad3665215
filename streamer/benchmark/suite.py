"""Named sets of plans: what one command measures on a kind of machine.

Owns which figures are taken. Must not know how.
"""

from dataclasses import replace
from importlib.util import find_spec

from streamer.benchmark.plan import Plan
from streamer.config import NO_LM, Config, EngineConfig, ModelConfig

GPU_BATCHES = (1, 8, 32, 128, 256, 512)
GPU_STREAMS = 5_000
REHEARSED = 2  # streams, and windows of a batch, where the suite only shows that it runs


def plans(name: str, settings: Config) -> list[Plan]:
    """The plans of a suite; `settings` say what is not the suite's own."""
    return _gpu(settings) if name == "gpu" else _cpu(settings)


SUITES = ("cpu", "gpu")


def _gpu(settings: Config) -> list[Plan]:
    """Full size with 256 frames of left context at 320 ms, and the shipped model.

    With `--device cpu` a rehearsal of two streams: it runs every line but CUDA's.
    """
    is_rehearsal = settings.model.device == "cpu"
    shipped_model = ModelConfig(device="cpu" if is_rehearsal else "cuda", lm=NO_LM)
    full = replace(shipped_model, left_context_s=5.12)
    streams = REHEARSED if is_rehearsal else GPU_STREAMS
    batches = (1, REHEARSED) if is_rehearsal else GPU_BATCHES
    engine = EngineConfig(max_sessions=streams, max_batch=batches[-1])
    base = replace(settings, engine=engine)
    carried = Plan(
        "full size, chunks of 320 ms",
        replace(base, model=full),
        random=True,
        side_by_side=find_spec("transformers") is not None,
        formats=("float32",),
        batches=batches,
        most_streams=streams,
        seconds=1.0 if is_rehearsal else 10.0,
        warm_up_s=1.0 if is_rehearsal else 3.0,
    )
    shipped = replace(
        carried,
        name="shipped model, chunks of 320 ms",
        settings=replace(base, model=shipped_model),
        random=False,
        side_by_side=False,
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
