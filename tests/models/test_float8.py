"""Layers that multiply floats of eight bits. On a CPU it is the kernel's arithmetic, slowly."""

import pytest
import torch
from torch import nn

from models.float8 import Float8Linear
from models.packing import pack
from streamer.engine import device
from tests.models.networks import acoustic

pytestmark = pytest.mark.usefixtures("one_thread")


def linear(bias=True, inputs=48, outputs=80):
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_layer_errs_by_its_steps_and_not_more(bias):
    layer, x = linear(bias), torch.randn(3, 7, 48) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    coarse = Float8Linear(layer.weight.detach(), layer.bias.detach() if bias else None)
    found, expected = coarse(x), layer(x)
    assert found.dtype == torch.bfloat16
    error = (found - expected).abs().amax(dim=(1, 2)) / expected.abs().amax(dim=(1, 2))
    assert 1e-4 < error.max() <= 0.1  # 48 products of numbers rounded to 1 in 16


@torch.inference_mode()
def test_the_product_is_that_of_the_rounded_numbers():
    layer, x = linear(bias=False), torch.randn(9, 48)
    coarse = Float8Linear(layer.weight.detach(), None)
    scale = x.abs().amax(-1, keepdim=True) / 448
    rounded = (x / scale).to(torch.float8_e4m3fn).double() * scale
    expected = rounded @ (coarse.weight.double() * coarse.scale.T).T
    assert ((coarse(x) - expected).abs() <= 2.0**-8 * expected.abs() + 1e-6).all()


@torch.inference_mode()
def test_the_neighbours_of_a_row_change_nothing():
    coarse, x = Float8Linear(linear().weight.detach(), None), torch.randn(5, 48)
    together = coarse(torch.cat([x, 1e4 * x]))[:5]
    assert torch.equal(together, coarse(x))


@torch.inference_mode()
def test_all_layers_of_an_encoder_are_replaced_and_it_says_much_the_same():
    sizes = {"intermediate_size": 48, "add_adapter": True}
    plain = acoustic(seed=2, **sizes)
    placed = acoustic(seed=2, **sizes).place("cpu", torch.bfloat16, products="float8")
    kinds = [type(module) for module in placed.model.modules()]
    assert kinds.count(Float8Linear) == 2 * 10 + 6
    samples, lengths = torch.randn(2, 16_000) / 9, torch.tensor([16_000, 9_000])
    expected, _ = plain(samples, lengths)
    found, frames = placed(samples, lengths)
    error = [(found[row] - expected[row])[:n].abs().mean() for row, n in enumerate(frames)]
    assert 1e-3 < max(error) <= 0.2


def test_widths_that_kernels_cannot_have_are_refused():
    with pytest.raises(
        ValueError, match=r"float8: expected widths divisible by 16, got \(81, 48\)"
    ):
        pack(nn.Sequential(linear(outputs=81)), "float8")


@pytest.mark.parametrize(("capability", "has_it"), [((8, 9), False), ((9, 0), True)])
def test_gpus_before_hopper_are_refused(monkeypatch, capability, has_it):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    if has_it:
        assert device.choose_dtype("float8", "cuda:0") is torch.bfloat16
        return
    with pytest.raises(ValueError, match=r"capability 9\.0 or more, got 8\.9"):
        device.choose_dtype("float8", "cuda:0")
