"""From 20 to 40 ms frames: what a doubled frame gives, and which weights stay."""

from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.training.export import write
from models.training.network import config_of, encoder_config, initialize, read_weights
from models.training.recipe import Geometry, TrainingError
from models.training.restride import restride
from models.wav2vec2_bert import Wav2Vec2BertForCTC

CONFIG = encoder_config(Geometry(2, 2, 16, 2, 24, 5))


@pytest.fixture
def network() -> Wav2Vec2BertForCTC:
    torch.manual_seed(0)
    model = Wav2Vec2BertForCTC(CONFIG)
    initialize(model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter) if parameter.ndim == 1 else None
    return model


def restrided(network: Wav2Vec2BertForCTC) -> Wav2Vec2BertForCTC:
    weights = restride(network.state_dict())
    model = Wav2Vec2BertForCTC(config_of(weights))
    model.load_state_dict(weights)
    return model


def test_a_frame_said_twice_gives_what_it_gave_once(network: Wav2Vec2BertForCTC) -> None:
    frames = torch.randn(2, 7, 160)
    twice = torch.cat([frames, frames], dim=-1)
    once = network.wav2vec2_bert.feature_projection(frames)
    new = restrided(network).wav2vec2_bert.feature_projection(twice)
    torch.testing.assert_close(new, once)


def test_taps_and_distances_fold_in_two(network: Wav2Vec2BertForCTC) -> None:
    old, new = network.wav2vec2_bert.encoder.layers[1], None
    new = restrided(network).wav2vec2_bert.encoder.layers[1]
    a, b, c, d, e = old.conv_module.depthwise_conv.weight[:, 0].unbind(-1)  # e is the newest
    zero = torch.zeros_like(a)
    expected = 0.75 * torch.stack([zero, zero, a, b + c, d + e], dim=-1)
    torch.testing.assert_close(new.conv_module.depthwise_conv.weight[:, 0], expected)
    before, after = (x.self_attn.distance_embedding.weight for x in (old, new))
    for distance in range(-64, 9):
        assert torch.equal(after[distance + 64], before[max(-64, min(8, 2 * distance)) + 64])


def test_all_else_stays_and_the_result_is_a_checkpoint(
    network: Wav2Vec2BertForCTC, tmp_path: Path
) -> None:
    weights = network.state_dict()
    made = restride(weights)
    changed = {name for name in weights if not torch.equal(made[name], weights[name])
               } if made.keys() == weights.keys() else None  # fmt: skip
    assert changed is not None
    parts = ("feature_projection.", "depthwise_conv.", "distance_embedding.")
    assert changed == {name for name in weights if any(part in name for part in parts)} - {
        "wav2vec2_bert.feature_projection.projection.bias"
    }
    write(made, tmp_path, torch.float32)
    loaded = checkpoint.load(str(tmp_path))
    assert loaded.hop_samples == 640
    for name, weight in read_weights(str(tmp_path)).items():
        assert torch.equal(weight, made[name]), name


def test_weights_of_another_family_are_refused() -> None:
    with pytest.raises(TrainingError, match="no network of the scratch recipe"):
        restride({"lm_head.weight": torch.zeros(30, 4)})
