"""Steps that bring several chunks, or whose slots are neighbours: the same as any other step.

Also what a device needs of every step: nothing in it waits for a value.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.ring import Ring, Rows, open_ring, progress
from models.state import AttentionState, Update
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, acoustic, network
from tests.models.scripts import (
    ADAPTER,
    TOLERANCE,
    TWO_ADAPTERS,
    failing,
    random_script,
    run_in_slots,
    tensors,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("adapter", [{}, TWO_ADAPTERS], ids=["no adapter", "two adapters"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_several_chunks_in_one_call_equal_one_call_each(position, adapter):
    """Also more of them than the ring holds, by turns with single ones, each row as it likes."""
    model = network(seed=10, position_embeddings_type=position, **adapter)
    chunking, rng, streams = Chunking(16, 4), np.random.default_rng(11), 40
    script = random_script(chunking, seed=12, streams=streams, multiple=4, flushes=0)
    logits, _ = run_in_slots(model, script, slots=streams, seed=13)
    waiting, widths = script.streams(), itertools.cycle([1, 9, 2, 3])
    state = model.wav2vec2_bert.init_state(streams, chunking)
    while any(waiting):
        slots = [slot for slot in rng.permutation(streams) if waiting[slot]]
        most = next(widths)
        taken = [waiting[slot][: rng.integers(1, most + 1)] for slot in slots]
        frames = torch.tensor([sum(script.steps[n].valid for n in numbers) for numbers in taken])
        features = torch.full((len(slots), 4 * most, 20), 1e3)
        for row, numbers in zip(features, taken, strict=True):
            row[: 4 * len(numbers)] = script.features[numbers].flatten(0, 1)
        rows = Rows(torch.tensor(slots), frames, frames)
        y, state = model.forward_chunk(features, rows, state, chunking)
        size = 4 // model.config.output_stride
        for slot, row, numbers in zip(slots, y, taken, strict=True):
            waiting[slot] = waiting[slot][len(numbers) :]
            parts = row.split(size)[: len(numbers)]
            assert (torch.stack(parts) - logits[numbers]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("chunks", [2, 3, 9])
def test_each_of_several_chunks_finds_the_ring_as_it_would_alone(chunks):
    """Cell for cell, so that attention adds up the same numbers in the same order."""
    generator = torch.Generator().manual_seed(3)
    like, geometry, slots = torch.zeros(()), (8, 4, 0), torch.tensor([1, 3])
    together, alone = (AttentionState.init(4, 1, 12, 1, 2, like) for _ in range(2))
    for count in (1, chunks, 1, chunks, chunks):
        new = torch.randn(2, 4 * count, 1, 2, generator=generator)
        found, expected = [], []
        for state, width, answers in ((together, count, found), (alone, 1, expected)):
            for piece in new.split(4 * width, dim=1):
                rows, update = Rows(slots, *[torch.full((2,), 4 * width)] * 2), Update([])
                sight = open_ring(state, rows, 4 * width, geometry, update)
                keys, _ = Ring(state.keys[:, 0], state.values[:, 0], rows, update).extend(
                    piece, piece, sight
                )
                parts = (
                    sight.visible,
                    sight.distance,
                    torch.where(sight.visible[:, 0, :1].mT[..., None], keys, 0.0),
                )
                answers.append([part.unflatten(0, (2, width)) for part in parts])
                update.writes.append(progress(state, rows))
                update.commit()
        ours, theirs = (
            [torch.cat(each, dim=1) for each in zip(*a, strict=True)] for a in (found, expected)
        )
        assert all(map(torch.equal, ours, theirs))
    assert torch.equal(together.keys, alone.keys)
    assert torch.equal(together.positions, alone.positions)


@pytest.mark.parametrize(("right", "frames"), [(0, 6), (2, 12), (2, 8)])
@torch.inference_mode()
def test_parts_of_chunks_and_several_with_lookahead_are_refused(right, frames):
    model, chunking = network(), Chunking(8, 4, right)
    state = model.wav2vec2_bert.init_state(1, chunking)
    rows = Rows(torch.tensor([0]), torch.tensor([frames]), torch.tensor([frames]))
    with pytest.raises(AssertionError):
        model.forward_chunk(torch.zeros(1, frames, 20), rows, state, chunking)


def sounds(count, chunks, streams, hop, seed=17):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, streams, 2 * chunks * hop + 240, generator=generator) / 9


@pytest.mark.parametrize("chunks", [1, 3])
@torch.inference_mode()
def test_neighbours_and_any_other_slots_are_the_same_bit_for_bit(chunks):
    model = acoustic(seed=16, **TWO_ADAPTERS)
    views, copies = (model.init_state(7, 8, 2, 0, cached=True) for _ in range(2))
    committed = torch.full((3,), 2 * chunks)
    for number, samples in enumerate(sounds(9, chunks, 3, model.hop_samples)):
        first = number % 3
        slots = torch.arange(first, first + 3)
        ours, _ = model.forward_chunk(
            samples, slots, committed, committed, views, slice(first, first + 3)
        )
        theirs, _ = model.forward_chunk(samples, slots, committed, committed, copies)
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(tensors(views.encoder), tensors(copies.encoder), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(views.stats.first, copies.stats.first)


@pytest.mark.parametrize(
    "place",
    [
        "model.wav2vec2_bert.encoder.layers.1.conv_module",
        "model.wav2vec2_bert.adapter.layers.1.ffn",
        "model.lm_head",
    ],
)
@pytest.mark.parametrize("again", [3, 1])
@torch.inference_mode()
def test_several_chunks_that_raise_can_be_made_again_at_once_or_one_by_one(place, again):
    model = acoustic(seed=16, **TWO_ADAPTERS)
    hop, slots = model.hop_samples, torch.tensor([2, 0])

    def run(fails):
        state = model.init_state(3, left=4, chunk=2, right=0, cached=True)
        for samples in sounds(6, 3, 2, hop):
            if fails:
                with failing(model.get_submodule(place)), pytest.raises(RuntimeError, match="once"):
                    model.forward_chunk(samples, slots, *[torch.full((2,), 6)] * 2, state)
            parts, width = [], again if fails else 3
            for at in range(0, 6, 2 * width):
                piece = samples[:, at * hop : (at + 2 * width) * hop + 240]
                frames = torch.full((2,), 2 * width)
                log_probs, state = model.forward_chunk(piece, slots, frames, frames, state)
                parts.append(log_probs)
            yield torch.cat(parts, dim=1)

    for faultless, repeated in zip(run(fails=False), run(fails=True), strict=True):
        assert (faultless - repeated).abs().max() <= (0.0 if again == 3 else TOLERANCE)


# --- for a device that works while the host goes on ---


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_no_step_waits_for_a_value(position, adapter):
    """A device without values raises where one is asked for, and nothing comes from the host."""
    model = acoustic(position_embeddings_type=position, **adapter).to("meta")
    slots, frames = torch.tensor([2, 0], device="meta"), torch.tensor([4, 4], device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        int(frames.max())
    for left, chunks, ahead in ((0, 1, 2), (0, 3, 0), (8, 1, 2)):
        state = model.init_state(3, 8, 4, ahead, cached=not left)
        count = left + 4 * chunks + ahead
        samples = torch.randn(2, model.hop_samples * count + 240, device="meta")
        counts = chunks * frames, left + chunks * frames + ahead
        with Apart():
            if left:
                log_probs, _ = model.forward_window(samples, slots, 2 * frames, *counts, state)
            else:
                log_probs, _ = model.forward_chunk(samples, slots, *counts, state)
        assert log_probs.shape[1] == count


class Apart(TorchDispatchMode):
    """While entered, no operation may see a tensor of the host."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        assert {x.device.type for x in given} <= {"meta"}, function
        return result
