"""From a plan to models: a composition root, which needs nothing but torch and what that brings.

Owns how the contenders of a comparison are built.
"""

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from models import benchmark as networks
from streamer import assembly
from streamer.benchmark.agreement import STREAMS, Way
from streamer.benchmark.plan import Plan
from streamer.benchmark.throughput import Candidate
from streamer.config import NO_LM, ConfigError, Dtype, ModelConfig
from streamer.core.context import Context, Grid
from streamer.engine.device import choose_device, choose_dtype
from streamer.engine.runner import ModelRunner

if TYPE_CHECKING:
    from models.acoustic import AcousticModel

SHRINKING, FEWEST_SLOTS = 0.85, 64
MOST_BESIDE = 128  # slots of our own model in another number format
ROOM_SHARE = 0.15
FULL_PRECISION: Dtype = "float32"  # what `transformers` computes in unless told otherwise


def place(model: ModelConfig) -> tuple[str, Dtype]:
    """The device and the number format that the settings come to; raises ConfigError."""
    try:
        device = choose_device(model.device)
        dtype = str(choose_dtype(model.dtype, device)).removeprefix("torch.")
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    return device, cast("Dtype", dtype)


def network(plan: Plan) -> "AcousticModel":
    """The network of a plan, in float32; raises ConfigError."""
    return networks.random_model() if plan.random else assembly.load_acoustic(plan.settings.model)


def context(plan: Plan, grid: Grid) -> Context:
    """The geometry of a plan in the model's frames."""
    preset = assembly.geometry(plan.settings.model, grid)

    def frames(seconds: float | None, otherwise: int) -> int:
        return otherwise if seconds is None else grid.covering_frames(Grid.samples_in(seconds))

    return Context(
        preset.left, frames(plan.chunk_s, preset.chunk), frames(plan.lookahead_s, preset.right)
    )


def runner(acoustic: "AcousticModel", plan: Plan) -> ModelRunner:
    """The model that carries the streams, with fewer slots than wanted where memory ends.

    Raises ConfigError.
    """
    grid = Grid(acoustic.hop_samples, acoustic.tail_samples)
    slots = max((plan.most_streams, *plan.batches))
    while True:
        try:
            made = assembly.build_runner(acoustic, plan.settings.model, slots, context(plan, grid))
        except ConfigError as error:
            if slots < FEWEST_SLOTS or "no memory" not in str(error):
                raise
        else:
            if made.device == "cpu" or _has_room(made.device):
                made.prepare(plan.settings.engine.max_batch)
                return made
            del made
        slots = int(SHRINKING * slots)


def _has_room(device: str) -> bool:
    """Whether memory is left on a CUDA device for what a step needs beside the slots."""
    free, total = torch.cuda.mem_get_info(device)
    return free >= ROOM_SHARE * total


def candidates(acoustic: "AcousticModel", plan: Plan) -> list[Candidate]:
    """Every way to run the network that the plan compares, the one that carries streams last.

    Call it before the network is placed: `transformers` gets its float32 weights.
    """
    grid = Grid(acoustic.hop_samples, acoustic.tail_samples)
    own, model = context(plan, grid), plan.settings.model
    device, dtype = place(model)
    shown = assembly.number_formats(model, dtype)
    flops = networks.flops_per_frame(acoustic, own.left + own.chunk) * acoustic.stride
    others = [(each, deepcopy(acoustic)) for each in plan.formats if each != dtype]
    found = _windows(acoustic, plan, own, grid, dtype) if plan.side_by_side else []
    fill = -(-own.left // own.chunk) if model.mode == "cache" else 0
    kind = f"own {model.mode}{_lookahead(own, grid)}"

    def candidate(name: str, runner: ModelRunner) -> Candidate:
        return Candidate(name, runner, fill, device == "cpu", flops)

    for other, network in others:
        slots = min(max(plan.batches, default=1), MOST_BESIDE)
        made = assembly.build_runner(network, replace(model, dtype=other), slots, own)
        found.append(candidate(f"{kind}, {other}", made))
    carrying = runner(acoustic, plan)
    if carrying.records:
        found.append(candidate(f"{kind}, {shown}, without graphs", carrying.unrecorded()))
    found.append(candidate(f"{kind}, {shown}", carrying))
    return found


def ways(settings: ModelConfig) -> tuple[Way, list[tuple[Way, Way | None]]]:
    """The model on the CPU in float32; and on the device without graphs, each with its twin.

    Decoded greedily. Raises ConfigError.
    """
    device, dtype = place(settings)

    def built(config: ModelConfig, number: Dtype) -> ModelRunner:
        config = replace(config, dtype=number, lm=NO_LM, beam=0)
        return assembly.build_model(config, STREAMS, STREAMS)

    pairs: list[tuple[Way, Way | None]] = []
    for number in dict.fromkeys((FULL_PRECISION, dtype)):
        made, name = built(settings, number), f"{device} in {number}"
        twin = Way(f"{name} with graphs", made) if made.records else None
        pairs.append((Way(name, made.unrecorded()), twin))
    here = replace(settings, device="cpu")
    return Way("cpu in float32", built(here, FULL_PRECISION)), pairs


def _windows(
    acoustic: "AcousticModel", plan: Plan, own: Context, grid: Grid, dtype: Dtype
) -> list[Candidate]:
    """`transformers` in float32 and in `dtype`, and our windows, all on the same geometry.

    On a CPU they have all of torch's threads unless a number is given: none is tried here.
    """
    right = own.right
    if plan.window_lookahead_s is not None:
        right = grid.covering_frames(Grid.samples_in(plan.window_lookahead_s))
    window = Context(own.left, own.chunk, right)
    slots = max(plan.batches, default=1)
    ahead = _lookahead(window, grid)

    def candidate(name: str, network: "AcousticModel", number: Dtype) -> Candidate:
        threads = plan.settings.model.threads or torch.get_num_threads()
        config: ModelConfig = replace(
            plan.settings.model, mode="window", dtype=number, threads=threads
        )
        made = assembly.build_runner(network, config, slots, window)
        return Candidate(name, made, 0, made.device == "cpu")

    try:
        found = [
            candidate(
                f"transformers windows{ahead}, {number}", networks.reference(acoustic), number
            )
            for number in dict.fromkeys((FULL_PRECISION, dtype))
        ]
    except networks.ReferenceMissingError as error:
        raise ConfigError(str(error)) from error
    if plan.settings.model.mode != "window":
        number = plan.settings.model.dtype
        shown = assembly.number_formats(replace(plan.settings.model, mode="window"), dtype)
        found.append(candidate(f"own window{ahead}, {shown}", acoustic, number))
    return found


def _lookahead(context: Context, grid: Grid) -> str:
    if not context.right:
        return ""
    return f" + {grid.seconds(grid.samples(context.right)):g} s lookahead"
