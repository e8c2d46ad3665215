"""Many streams by turns in the slots of one state, and what such a state holds."""

import dataclasses

import numpy as np
import torch

from models.ring import Rows
from models.wav2vec2_bert import Chunking
from tests.models.views import random_plan

TOLERANCE = 2e-5
ADAPTER = {"add_adapter": True}
TWO_ADAPTERS = {
    "add_adapter": True,
    "num_adapter_layers": 2,
    "use_intermediate_ffn_before_adapter": True,
    "output_hidden_size": 24,
}


@dataclasses.dataclass
class Script:
    """What many streams encode: their steps, and the features that each step is given."""

    steps: list
    features: torch.Tensor  # (N, W, F), with garbage behind the valid frames
    chunking: Chunking

    def __post_init__(self):
        self.committed = torch.tensor([step.committed for step in self.steps])
        self.valid = torch.tensor([step.valid for step in self.steps])

    def streams(self):
        """For each stream the numbers of its steps, in order."""
        numbers = {}
        for number, step in enumerate(self.steps):
            numbers.setdefault(step.stream, []).append(number)
        return list(numbers.values())

    def whole_streams(self, logits, stride):
        """For each stream its features (1, T, F), their number (1,), and its steps' logits."""
        for numbers in self.streams():
            counts = [(number, self.steps[number].valid) for number in numbers]
            features = torch.cat([self.features[number][:count] for number, count in counts])
            streamed = torch.cat(
                [logits[number][: -(-count // stride)] for number, count in counts]
            )
            yield features[None], torch.tensor([len(features)]), streamed


def random_script(chunking, seed, streams=200, multiple=1, flushes=2):
    """The first eight streams outlive the ring; the others are short, and some are broken off."""
    rng = np.random.default_rng(seed)
    reach = chunking.left + 2 * (chunking.chunk + chunking.right)
    long = reach + rng.integers(1, chunking.chunk + 1, 8)
    short = 1 + rng.exponential(2.5 * chunking.chunk, streams - 8).astype(int)
    steps = []
    for stream, length in enumerate([*long, *short]):
        count = rng.integers(0, flushes + 1) if stream else 0
        frames = -(-int(length) // multiple) * multiple
        plan = random_plan(stream, frames, chunking.chunk, chunking.right, rng, count, multiple)
        steps += plan[: rng.integers(1, len(plan) + 1)] if stream % 4 == 3 else plan
    return Script(steps, random_features(steps, chunking, seed), chunking)


def random_features(steps, chunking, seed, size=20):
    generator = torch.Generator().manual_seed(seed)
    width = chunking.chunk + chunking.right
    stream, begin, valid = torch.tensor([[s.stream, s.begin, s.valid] for s in steps]).T[..., None]
    shape = (int(stream.max()) + 1, int(begin.max()) + width, size)
    audio = torch.randn(shape, generator=generator)
    index = torch.arange(width)
    garbage = 100 * torch.randn(len(steps), width, size, generator=generator)
    return torch.where((index < valid)[..., None], audio[stream, begin + index], garbage)


def run_in_slots(model, script, slots, seed):
    """All steps through `slots` slots: logits (N, U, V) and the state at the end."""
    rng = np.random.default_rng(seed)
    waiting, seats = script.streams(), [[] for _ in range(slots)]
    state = model.wav2vec2_bert.init_state(slots, script.chunking)
    answers = {}
    while waiting or any(seats):
        free = [slot for slot in range(slots) if not seats[slot]][: len(waiting)]
        for slot in free:
            seats[slot] = waiting.pop(0)
        state.reset(torch.tensor(free, dtype=torch.int64))
        taken = rng.permutation([slot for slot in range(slots) if seats[slot]])
        taken = taken[: rng.integers(1 + len(taken) // 2, len(taken) + 1)]
        numbers = [seats[slot].pop(0) for slot in taken]
        rows = Rows(torch.from_numpy(taken), script.committed[numbers], script.valid[numbers])
        logits, state = model.forward_chunk(script.features[numbers], rows, state, script.chunking)
        answers.update(zip(numbers, logits, strict=True))
    return torch.stack([answers[number] for number in range(len(script.steps))]), state


def tensors(state):
    """All tensors of a state; the first axis is the slot."""
    if isinstance(state, torch.Tensor):
        return [state]
    if state is None or isinstance(state, str):
        return []
    parts = state if isinstance(state, tuple) else vars_of(state)
    return [tensor for part in parts for tensor in tensors(part)]


def vars_of(state):
    return [getattr(state, field.name) for field in dataclasses.fields(state)]


def failing(module):
    """While entered, a call of the module raises."""

    def fail(*_):
        raise RuntimeError("fails once")

    return module.register_forward_hook(fail)
