"""`forward_chunk` equals one pass over everything, whatever the company and the cuts.

Streams of random length with random flushes take turns in the slots of one state, in batches of
random company, and stop when they like; the views reference (views.py) knows nothing of slots.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.ring import Rows
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, acoustic, hugging_face, network
from tests.models.scripts import (
    ADAPTER,
    TOLERANCE,
    TWO_ADAPTERS,
    failing,
    random_script,
    run_in_slots,
    tensors,
)
from tests.models.views import encode

pytestmark = pytest.mark.usefixtures("one_thread")


def deviation(model, script, logits, expected):
    """Largest difference at a valid output frame."""
    assert logits.shape == expected.shape
    stride = model.config.output_stride
    valid = torch.arange(logits.shape[1]) < -(-script.valid[:, None] // stride)
    return (logits - expected)[valid].abs().max().item()


# --- geometry × position type ---


@pytest.mark.parametrize("right", [0, 4, 16])
@pytest.mark.parametrize("left", [32, 64, 256])
@pytest.mark.parametrize("chunk", [4, 8, 16, 32])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_equal_the_reference(position, chunk, left, right):
    model = network(seed=1, position_embeddings_type=position)
    script = random_script(Chunking(left, chunk, right), seed=chunk + left + right)
    logits, _ = run_in_slots(model, script, slots=70, seed=2)
    expected = encode(model, script.features, script.steps, script.chunking)
    assert deviation(model, script, logits, expected) <= TOLERANCE


@pytest.mark.parametrize("adapter", [ADAPTER, TWO_ADAPTERS], ids=["one adapter", "two adapters"])
@pytest.mark.parametrize("right", [0, 4, 16])
@pytest.mark.parametrize(("chunk", "left"), [(4, 32), (8, 256), (16, 64), (32, 32)])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_with_adapters_equal_the_reference(position, chunk, left, right, adapter):
    model = network(seed=3, position_embeddings_type=position, **adapter)
    chunking, stride = Chunking(left, chunk, right), model.config.output_stride
    script = random_script(chunking, seed=chunk + right, streams=100, multiple=stride)
    logits, _ = run_in_slots(model, script, slots=40, seed=4)
    expected = encode(model, script.features, script.steps, script.chunking)
    assert deviation(model, script, logits, expected) <= TOLERANCE


@pytest.mark.parametrize("adapter", [{}, ADAPTER, TWO_ADAPTERS], ids=["no", "one", "two"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_equal_one_offline_pass_under_the_chunk_mask(position, adapter):
    """Without flushes; the last chunk may be partial, and odd behind an adapter."""
    model = network(seed=5, position_embeddings_type=position, **adapter)
    script = random_script(Chunking(32, 8), seed=6, flushes=0)
    logits, _ = run_in_slots(model, script, slots=70, seed=7)
    for features, lengths, streamed in script.whole_streams(logits, model.config.output_stride):
        expected, frames = model(features, lengths, script.chunking)
        assert frames.item() == len(streamed)
        assert (streamed - expected[0]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_what_comes_first_equals_full_attention_over_it(position):
    """With nothing to the left, chunk and lookahead are an utterance for `transformers`."""
    reference = hugging_face(seed=8, position_embeddings_type=position)
    model = network(position_embeddings_type=position)
    model.load_state_dict(reference.state_dict(), strict=False)
    chunking = Chunking(32, 8, 4)
    features = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(9))
    rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([8, 8, 5]), torch.tensor([12, 9, 5]))
    state = model.wav2vec2_bert.init_state(5, chunking)
    logits, _ = model.forward_chunk(features, rows, state, chunking)
    for row, count in enumerate([12, 9, 5]):
        expected = reference(features[row : row + 1, :count]).logits[0]
        assert (logits[row, :count] - expected).abs().max() <= 1e-4


# --- slots ---


def one_call(model, state, slots, seed, chunking):
    generator = torch.Generator().manual_seed(seed)
    width, count = chunking.chunk + chunking.right, len(slots)
    features = torch.randn(count, width, 20, generator=generator)
    frames = torch.full((count,), chunking.chunk)
    rows = Rows(torch.tensor(slots), frames, frames + chunking.right)
    return model.forward_chunk(features, rows, state, chunking)


@torch.inference_mode()
def test_other_slots_stay_as_they_are_bit_for_bit():
    model, chunking = network(seed=14, **TWO_ADAPTERS), Chunking(16, 8, 4)
    state = model.wav2vec2_bert.init_state(6, chunking)
    for seed in range(5):
        one_call(model, state, [0, 1, 2, 3, 4, 5], seed, chunking)
    before = [tensor.clone() for tensor in tensors(state)]
    one_call(model, state, [4, 1], 6, chunking)
    state.reset(torch.tensor([5]))
    for tensor, old in zip(tensors(state), before, strict=True):
        assert torch.equal(tensor[[0, 2, 3]], old[[0, 2, 3]])
        assert not torch.equal(tensor[[1]], old[[1]])


@torch.inference_mode()
def test_a_reset_slot_is_new_even_after_nan():
    model, chunking = network(seed=15, **ADAPTER), Chunking(16, 8, 4)
    state = model.wav2vec2_bert.init_state(2, chunking)
    bad = torch.full((1, 12, 20), torch.nan)
    rows = Rows(torch.tensor([1]), torch.tensor([8]), torch.tensor([12]))
    logits, state = model.forward_chunk(bad, rows, state, chunking)
    assert logits.isnan().all()
    state.reset(torch.tensor([False, True]))
    fresh = model.wav2vec2_bert.init_state(2, chunking)
    for tensor, new in zip(tensors(state), tensors(fresh), strict=True):
        assert torch.equal(tensor, new)
    logits, _ = one_call(model, state, [1], 0, chunking)
    expected, _ = one_call(model, fresh, [0], 0, chunking)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize(
    "place",
    [
        "features",
        "model.wav2vec2_bert.encoder.layers.1.conv_module",
        "model.wav2vec2_bert.encoder.layers.1.final_layer_norm",
        "model.wav2vec2_bert.adapter.layers.1.ffn",
        "model.lm_head",
    ],
)
@torch.inference_mode()
def test_a_call_that_raises_can_be_made_again(place):
    """As if nothing had happened, wherever in the network it stopped."""
    model = acoustic(seed=16, **TWO_ADAPTERS)
    samples = torch.randn(8, 2, 1280 * 3 + 240, generator=torch.Generator().manual_seed(17)) / 9
    slots, committed, valid = torch.tensor([[2, 0], [2, 2], [3, 3]])

    def run(fails_at):
        state = model.init_state(3, left=4, chunk=2, right=1, cached=True)
        for step, batch in enumerate(samples):
            if step == fails_at:
                name = place if place != "features" else "causal_features.log_mel"
                with failing(model.get_submodule(name)), pytest.raises(RuntimeError, match="once"):
                    model.forward_chunk(batch, slots, committed, valid, state)
            log_probs, state = model.forward_chunk(batch, slots, committed, valid, state)
            yield log_probs

    for faultless, repeated in zip(run(None), run(5), strict=True):
        assert torch.equal(faultless, repeated)


# --- what it costs ---


class Recorder(TorchDispatchMode):
    """Counts operations, and the elements of the largest tensor that one of them makes."""

    def __init__(self):
        super().__init__()
        self.operations, self.largest = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        tensors = [x for x in torch.utils._pytree.tree_leaves(result) if hasattr(x, "numel")]
        self.largest = max([self.largest, *(tensor.numel() for tensor in tensors)])
        return result


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_nothing_is_as_large_as_queries_times_keys_times_channels(position):
    frames, heads, size = 400, 2, 16
    features, lengths = torch.randn(1, frames, 20), torch.tensor([frames])
    with Recorder() as textbook:
        hugging_face(position_embeddings_type="relative_key")(features)
    assert textbook.largest >= frames * frames * size  # the recorder sees it where it is
    model = network(position_embeddings_type=position)
    with Recorder() as offline:
        model(features, lengths)
    assert offline.largest <= heads * frames * 2 * frames  # relative: 2 T - 1 distances
    chunking = Chunking(left=frames, chunk=100)
    state = model.wav2vec2_bert.init_state(1, chunking)
    rows = Rows(torch.tensor([0]), torch.tensor([100]), torch.tensor([100]))
    with Recorder() as streamed:
        model.forward_chunk(features[:, :100], rows, state, chunking)
    assert streamed.largest <= heads * 100 * 2 * (frames + 100)


@pytest.mark.parametrize("adapter", [{}, TWO_ADAPTERS], ids=["no adapter", "two adapters"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_a_step_has_as_many_operations_for_few_streams_as_for_many(position, adapter):
    model = acoustic(position_embeddings_type=position, **adapter)
    hop = model.hop_samples
    counts = {}
    for cached in (True, False):
        for streams in (2, 3, 50):  # one stream alone saves torch some reshaping
            state = model.init_state(60, 8, 4, 4, cached)
            slots, frames = torch.arange(streams), torch.full((streams,), 4)
            samples = torch.randn(streams, hop * (8 if cached else 16) + 240)
            with Recorder() as step:
                if cached:
                    model.forward_chunk(samples, slots, frames, 2 * frames, state)
                else:
                    model.forward_window(samples, slots, frames, frames, 3 * frames, state)
            counts[cached, streams] = step.operations
    assert counts[True, 2] == counts[True, 3] == counts[True, 50] > 0
    assert counts[False, 2] == counts[False, 3] == counts[False, 50] > 0


# --- what cannot be ---


@pytest.mark.parametrize("geometry", [(-1, 4, 0), (8, 0, 0), (8, 4, -1)])
def test_an_impossible_geometry_is_refused(geometry):
    with pytest.raises(ValueError, match="expected left >= 0, chunk >= 1, right >= 0"):
        Chunking(*geometry)


@pytest.mark.parametrize("geometry", [(8, 3, 0), (7, 4, 0), (8, 4, 1)])
def test_a_geometry_that_an_adapter_splits_is_refused(geometry):
    with pytest.raises(ValueError, match="divisible by the adapter stride 2"):
        network(**ADAPTER).wav2vec2_bert.init_state(1, Chunking(*geometry))


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (2, 2), (1, 2), (3, 1)])
def test_an_adapter_that_needs_other_frames_cannot_stream(kernel, stride):
    model = network(add_adapter=True, adapter_kernel_size=kernel, adapter_stride=stride)
    with pytest.raises(ValueError, match="cannot stream"):
        model.wav2vec2_bert.init_state(1, Chunking(8, 4))
