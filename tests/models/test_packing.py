"""Packed and 8-bit layers against the plain ones."""

import pytest
import torch
from torch import nn

from models import checkpoint
from models.packing import Int8Linear, PackedLinear, pack
from streamer.engine.device import choose_dtype
from tests.models.networks import acoustic

pytestmark = pytest.mark.usefixtures("one_thread")


def int8_is_there():
    try:
        choose_dtype("int8", "cpu")
    except ValueError:
        return False
    return True


needs_int8 = pytest.mark.skipif(not int8_is_there(), reason="a processor without VNNI")


def linear(bias=True):
    torch.manual_seed(1)
    return nn.Linear(48, 80, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_is_the_same_function(bias):
    layer, x = linear(bias), torch.randn(3, 7, 48)
    packed = PackedLinear(layer.weight.detach(), layer.bias.detach() if bias else None)
    assert (packed(x) - layer(x)).abs().max() <= 1e-5


@needs_int8
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_an_8_bit_layer_errs_by_its_steps_and_not_more(bias):
    layer, x = linear(bias), torch.randn(3, 7, 48) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    coarse = Int8Linear(layer.weight.detach(), layer.bias.detach() if bias else None)
    error = (coarse(x) - layer(x)).abs().amax(dim=(1, 2)) / x.abs().amax(dim=(1, 2))
    assert 1e-6 < error.max() <= 0.02  # 48 products of numbers rounded to 1 in 127


@needs_int8
@torch.inference_mode()
def test_the_neighbours_of_an_8_bit_row_change_nothing():
    coarse, x = Int8Linear(linear().weight.detach(), None), torch.randn(5, 48)
    together = coarse(torch.cat([x, 1e4 * x]))[:5]
    assert torch.equal(together, coarse(x))


def layers(model):
    return [type(module) for module in model.modules()]


@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=needs_int8)])
@torch.inference_mode()
def test_all_layers_of_an_encoder_are_packed_and_it_says_much_the_same(int8):
    plain = acoustic(seed=2, add_adapter=True)
    placed = acoustic(seed=2, add_adapter=True).place(
        "cpu", torch.float32, products="int8" if int8 else None
    )
    kind = Int8Linear if int8 else PackedLinear
    # each layer: two networks of 2, attention of 4, convolution of 2; the adapter: 4 and 2
    assert layers(placed.model).count(kind) == 2 * 10 + 6
    samples, lengths = torch.randn(2, 16_000) / 9, torch.tensor([16_000, 9_000])
    expected, _ = plain(samples, lengths)
    found, frames = placed(samples, lengths)
    error = max((found[row] - expected[row])[:n].abs().max() for row, n in enumerate(frames))
    assert error <= (0.5 if int8 else 1e-4)
    assert (error > 1e-3) == int8


def test_what_is_placed_stays_so():
    model = acoustic(seed=3).place("cpu", torch.float32)
    assert model.place("cpu", torch.float32) is model
    with pytest.raises(ValueError, match="placed as"):
        model.place("cpu", torch.bfloat16)


def test_what_cannot_be_packed_stays_as_it_is(monkeypatch):
    def refuse(*_):
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(PackedLinear, "forward", refuse)
    monkeypatch.setattr(Int8Linear, "forward", refuse)
    holder = nn.Sequential(linear())
    pack(holder)
    assert layers(holder) == [nn.Sequential, nn.Linear]
    with pytest.raises(ValueError, match="no kernels"):
        pack(holder, "int8")


@needs_int8
@torch.inference_mode()
def test_8_bit_chunks_in_one_call_are_the_same_bits_as_one_by_one():
    """What a stream remembers is rounded in a call as it is between two."""
    chunks, chunk = 6, 8
    model = checkpoint.load("tiny-en").place("cpu", torch.bfloat16, products="int8")
    step, audio = chunk * model.hop_samples, torch.Generator().manual_seed(3)
    samples = 0.1 * torch.randn(1, chunks * step + model.tail_samples, generator=audio)

    def log_probs(each):
        state, found = model.init_state(1, 32, chunk, 0, cached=True), []
        for at in range(0, chunks, each):
            part = samples[:, at * step : (at + each) * step + model.tail_samples]
            slot, frames = torch.tensor([0]), torch.tensor([each * chunk])
            found.append(model.forward_chunk(part, slot, frames, frames, state)[0])
        return torch.cat(found, dim=1)

    one_by_one = log_probs(1)
    assert one_by_one.shape[1] == chunks * chunk
    assert torch.equal(log_probs(2), one_by_one)
    assert torch.equal(log_probs(chunks), one_by_one)
