"""The networks that benchmarks compare are what they say."""

import pytest
import torch

from models.acoustic import AcousticModel
from models.benchmark import FULL_SIZE, SHARE_OF_BLANKS, flops_per_frame, random_model, reference
from models.features import FeatureConfig
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import Wav2Vec2BertForCTC
from tests.models.networks import acoustic


def test_a_random_network_says_about_as_much_as_speech():
    sizes = ("hidden_size", 64), ("num_hidden_layers", 2), ("intermediate_size", 128)
    small = {"num_attention_heads": 4, **dict(sizes)}
    made = random_model(type(FULL_SIZE)(**small))
    noise = 0.05 * torch.randn(1, 64_000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        log_probs, frames = made(noise, torch.tensor([noise.shape[1]]))
    blanks = (log_probs.argmax(-1)[0, : int(frames)] == 0).float().mean()
    assert float(blanks) == pytest.approx(SHARE_OF_BLANKS, abs=0.25)
    again = random_model(type(FULL_SIZE)(**small)).state_dict()
    assert all(torch.equal(again[key], value) for key, value in made.state_dict().items())


@pytest.mark.parametrize("changes", [{}, {"position_embeddings_type": "rotary"}])
def test_transformers_windows_are_ours(changes):
    """The same samples give the same log-probs, so their speed is all that is compared."""
    own = acoustic(normalization="window", **changes)
    theirs = reference(own)
    generator = torch.Generator().manual_seed(0)
    samples = 0.1 * torch.randn(3, 320 * 40 + 240, generator=generator)
    slots, left = torch.arange(3), torch.tensor([8, 8, 0])
    committed, valid = torch.tensor([16, 16, 10]), torch.tensor([40, 31, 10])
    found = []
    for model in (own, theirs):
        state = model.init_state(3, 8, 16, 16, cached=False)
        with torch.inference_mode():
            log_probs, _ = model.forward_window(samples, slots, left, committed, valid, state)
        found.append(log_probs)
    for row, count in enumerate(valid.tolist()):
        torch.testing.assert_close(found[0][row, :count], found[1][row, :count])


def test_the_reference_keeps_its_precision_when_ours_is_placed():
    own = acoustic(normalization="window")
    theirs = reference(own)
    own.place("cpu", torch.bfloat16)
    assert {each.dtype for each in theirs.model.parameters()} == {torch.float32}


def test_the_cost_of_a_full_size_frame():
    """By hand: 579.7 M weights of matrices, two operations each; attention over 256 frames."""
    with torch.device("meta"):
        network = Wav2Vec2BertForCTC(FULL_SIZE)
    vocabulary = Vocabulary(("<pad>",) * 32, 0, None, frozenset())
    full = AcousticModel("full", network, FeatureConfig(), vocabulary)
    assert flops_per_frame(full, 0) == pytest.approx(1.1595e9, rel=1e-3)
    attention = flops_per_frame(full, 256) - flops_per_frame(full, 0)
    assert attention == 4 * 1024 * 256 * 24
