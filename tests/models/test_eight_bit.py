"""Keys and values of eight bits: what the rounding loses, and that nothing else changes."""

import dataclasses

import pytest
import torch

from models.eight_bit import decode, encode
from models.ring import Rows
from models.state import state_bytes
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, network
from tests.models.scripts import ADAPTER, TOLERANCE, random_script, run_in_slots, tensors

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ["int8", "float8"]
STEP = {"int8": 0.5 / 127, "float8": 2.0**-4}  # of the row's largest, of the number itself


def remembering(kind, dtype=torch.float32, **changes):
    model = network(**changes)
    model.wav2vec2_bert.shorten(dtype, kind)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_comes_back_rounded_by_half_a_step_whatever_its_size(kind):
    x = torch.randn(50, 7, 64) * torch.logspace(-6, 6, 50)[:, None, None]
    found = decode(encode(x, kind), kind, torch.float32)
    unit = x.abs().amax(-1, keepdim=True) if kind == "int8" else x.abs()
    error = (found - x).abs()
    assert (error <= 1.001 * STEP[kind] * unit + 1e-3 * x.abs().amax(-1, keepdim=True)).all()
    assert error.max() > 0
    again = decode(encode(found, kind), kind, torch.float32)
    torch.testing.assert_close(again, found, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_nothing_and_what_is_no_number_stays_none(kind):
    zeros = torch.zeros(2, 6)
    assert torch.equal(decode(encode(zeros, kind), kind, torch.float32), zeros)
    empty = torch.zeros(2, 10, dtype=torch.uint8)
    assert torch.equal(decode(empty, kind, torch.float32), zeros)
    broken = torch.tensor([[1.0, float("nan")], [1.0, 2.0]])
    found = decode(encode(broken, kind), kind, torch.float32)
    assert found[0].isnan().any()
    assert found[1].isfinite().all()


def rounding(model, kind):
    """From now on the offline pass attends to rounded keys and values."""

    def hook(layer, _, y):
        heads = y.unflatten(-1, (model.config.num_attention_heads, -1))
        return decode(encode(heads, kind), kind, y.dtype).flatten(-2)

    for name, module in model.named_modules():
        if name.endswith(("linear_k", "linear_v")):
            module.register_forward_hook(hook)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_streams_equal_one_pass_with_the_same_rounding(position, changes, kind):
    """But where a value lies on the border of two steps, which the order of sums decides."""
    changes = {"seed": 5, "position_embeddings_type": position, **changes}
    streaming, offline, plain = remembering(kind, **changes), network(**changes), network(**changes)
    rounding(offline, kind)
    script = random_script(Chunking(32, 8), seed=6, streams=30, flushes=0)
    logits, _ = run_in_slots(streaming, script, slots=12, seed=7)
    apart, off = [], []
    for features, lengths, streamed in script.whole_streams(logits, streaming.config.output_stride):
        expected, _ = offline(features, lengths, script.chunking)
        exact, _ = plain(features, lengths, script.chunking)
        apart.append((streamed - expected[0]).abs().flatten())
        off.append((expected - exact).abs().flatten())
    apart, off = torch.cat(apart), torch.cat(off)
    assert apart.quantile(0.9) <= TOLERANCE
    assert apart.mean() <= 0.05 * off.mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [0, 4])
@torch.inference_mode()
def test_slots_and_company_change_nothing(right, kind):
    model = remembering(kind, seed=8)
    script = random_script(Chunking(32, 8, right), seed=9, streams=40)
    some, _ = run_in_slots(model, script, slots=3, seed=10)
    many, _ = run_in_slots(model, script, slots=40, seed=11)
    valid = torch.arange(some.shape[1]) < script.valid[:, None]
    assert (some - many)[valid].abs().quantile(0.99) <= TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_several_chunks_in_a_call_are_several_calls(kind):
    model, chunking = remembering(kind, seed=12), Chunking(16, 4)
    features = torch.randn(2, 32, 20, generator=torch.Generator().manual_seed(13))

    def streamed(frames):
        state, found = model.wav2vec2_bert.init_state(3, chunking), []
        for part in features.split(frames, dim=1):
            counts = torch.tensor([frames, frames])
            rows = Rows(torch.tensor([2, 0]), counts, counts)
            logits, state = model.forward_chunk(part, rows, state, chunking)
            found.append(logits)
        return torch.cat(found, dim=1), state

    one, after_one = streamed(4)
    four, after_four = streamed(16)
    assert (one - four).abs().max() <= TOLERANCE
    for a, b in zip(tensors(after_one.ring), tensors(after_four.ring), strict=True):
        assert a.dtype == b.dtype
        assert (a[[0, 2]] != b[[0, 2]]).float().mean() <= 0.01  # a last bit of a scale


def test_a_session_takes_half_the_memory():
    """Of bfloat16; a quarter of float32. Scales are 4 bytes for the 64 values of a head."""
    sizes = {}
    for kind in (None, *KINDS):
        model = remembering(kind, torch.bfloat16, hidden_size=128)
        ring = model.wav2vec2_bert.init_state(1, Chunking(160, 16)).ring
        sizes[kind] = state_bytes(dataclasses.replace(ring, positions=ring.position))
    assert sizes["int8"] == sizes["float8"] == pytest.approx(68 / 128 * sizes[None], rel=1e-3)
    model.wav2vec2_bert.init_state(1, Chunking(8, 4)).reset(torch.tensor([0]))
