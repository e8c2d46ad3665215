"""A short number format: which parts are in it, and what it may change."""

from functools import cache

import pytest
import soundfile
import torch
from torch import nn

from clients.demo import CLIP
from models import checkpoint
from models.ring import Rows
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, network
from tests.models.scripts import ADAPTER, TWO_ADAPTERS, random_script, run_in_slots

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [({}, 1), (ADAPTER, 2), (TWO_ADAPTERS, 4)]


def shortened(**changes):
    model = network(**changes)
    model.wav2vec2_bert.shorten(torch.bfloat16)
    return model


def test_factors_are_short_and_what_is_carried_normalised_or_filtered_is_not():
    model = shortened(seed=1, position_embeddings_type="relative", **TWO_ADAPTERS)
    long = {name for name, each in model.named_parameters() if each.dtype == torch.float32}
    assert long == {
        name
        for name, _ in model.named_parameters()
        if "layer_norm" in name
        or "depthwise_conv" in name
        or name.startswith(("lm_head", "wav2vec2_bert.feature_projection"))
    }
    state = model.wav2vec2_bert.init_state(1, Chunking(8, 4))
    assert {state.ring.keys.dtype, state.convolution.dtype} == {torch.bfloat16}
    carried = []
    for layer in model.wav2vec2_bert.encoder.layers:
        layer.register_forward_hook(lambda _, __, out: carried.append(out[0].dtype))
    rows = Rows(*torch.tensor([[0], [4], [4]]))
    logits, _ = model.forward_chunk(torch.randn(1, 4, 20), rows, state, Chunking(8, 4))
    assert {*carried, logits.dtype} == {torch.float32}


@pytest.mark.parametrize(("adapter", "stride"), SHAPES, ids=["no adapter", "one", "two"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_streams_in_a_short_format_have_the_logits_of_one_pass_in_it(position, adapter, stride):
    """Up to the order of sums; and both err against float32 by no more than the format does."""
    changes = {"seed": 5, "position_embeddings_type": position, **adapter}
    model, exact = shortened(**changes), network(**changes)
    script = random_script(Chunking(32, 8), seed=6, streams=30, flushes=0)
    logits, _ = run_in_slots(model, script, slots=12, seed=7)
    apart, off = [], []
    for features, lengths, streamed in script.whole_streams(logits, stride):
        expected, _ = model(features, lengths, script.chunking)
        right, _ = exact(features, lengths, script.chunking)
        apart.append((streamed - expected[0]).abs().mean())
        off.append((expected - right).abs().mean())
    assert 1e-4 < torch.stack(off).mean() <= 0.02
    assert torch.stack(apart).mean() <= 0.8 * torch.stack(off).mean()


@pytest.mark.parametrize("adapter", [{}, TWO_ADAPTERS], ids=["no adapter", "two"])
@torch.inference_mode()
def test_company_changes_no_word_of_a_stream_in_a_short_format(adapter):
    model = shortened(seed=8, **adapter)
    script = random_script(Chunking(32, 8, 4), seed=9, streams=40, multiple=4)
    some, _ = run_in_slots(model, script, slots=3, seed=10)
    many, _ = run_in_slots(model, script, slots=40, seed=11)
    step = script.valid[:, None] // model.config.output_stride
    valid = torch.arange(some.shape[1]) < step
    gap = some.topk(2, dim=-1).values
    clear = valid & (gap[..., 0] - gap[..., 1] > 0.1)
    assert clear.float().mean() > 0.3
    assert torch.equal(some.argmax(-1)[clear], many.argmax(-1)[clear])


@cache
def heard(how):
    """Log-probs (T, V) of the demo clip by the shipped model, in chunks, `how` it computes."""
    model = checkpoint.load("tiny-en")
    if how == "mixed":
        model.place("cpu", torch.bfloat16)
    elif how == "short throughout":
        model.model.to(torch.bfloat16)
    samples = torch.from_numpy(soundfile.read(CLIP, dtype="float32")[0])[None]
    with torch.inference_mode():
        log_probs, _ = model(samples, torch.tensor([samples.shape[1]]), Chunking(80, 8))
    return log_probs[0]


def errors(how):
    """Of the log-probs of all labels that are not hopeless."""
    exact = heard("exact")
    return (heard(how) - exact).abs()[exact > -8]


def test_no_label_changes_in_bfloat16_that_is_not_almost_as_likely_as_another():
    exact, mixed = heard("exact"), heard("mixed")
    best = exact.topk(2, dim=-1).values
    changed = exact.argmax(-1) != mixed.argmax(-1)
    clear = best[:, 0] - best[:, 1] > 0.1
    assert clear.float().mean() > 0.9
    assert not (changed & clear).any()
    assert 0 < errors("mixed").mean() <= 0.012


def test_bfloat16_errs_by_far_less_than_a_network_that_is_short_throughout():
    assert errors("mixed").mean() <= 0.75 * errors("short throughout").mean()


def test_a_network_in_one_format_stays_in_it():
    """As training has it: nothing is cast."""
    model = network(seed=3).to(torch.bfloat16)
    kinds = set()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.LayerNorm):
            module.register_forward_hook(
                lambda _, args, out: kinds.update({args[0].dtype, out.dtype})
            )
    features = torch.randn(1, 8, 20, dtype=torch.bfloat16)
    model(features, torch.tensor([8]), Chunking(8, 4))
    assert kinds == {torch.bfloat16}
