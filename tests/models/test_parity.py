"""The encoder against `transformers.Wav2Vec2BertForCTC`, through checkpoints saved by it."""

import itertools

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig
from transformers import Wav2Vec2BertForCTC as HuggingFaceModel

from models import checkpoint
from models.wav2vec2_bert import Chunking, EncoderConfig, Wav2Vec2BertForCTC
from tests.models.networks import POSITIONS, hugging_face, save_with_transformers

pytestmark = pytest.mark.usefixtures("one_thread")

ADAPTERS = [
    {},
    *(
        {
            "add_adapter": True,
            "num_adapter_layers": layers,
            "use_intermediate_ffn_before_adapter": ffn,
            "output_hidden_size": size,
        }
        for layers, ffn, size in itertools.product([1, 2], [False, True], [None, 24])
    ),
]


def load_network(folder, reference, **options):
    return checkpoint.load(save_with_transformers(folder, reference, **options)).model


def random_batch(lengths, size, seed=0):
    """Features (B, T, F), with garbage where they are padded, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), max(lengths), size, generator=generator), torch.tensor(lengths)


def alone(reference, features, length):
    """What `transformers` says of one row without padding."""
    return reference(features[:length][None]).logits[0]


def deviation(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: "-".join(map(str, a.values())) or "no")
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_logits_of_a_padded_batch_equal_those_of_each_row_alone(tmp_path, position, adapter):
    reference = hugging_face(seed=1, position_embeddings_type=position, **adapter)
    ours = load_network(tmp_path, reference)
    features, lengths = random_batch([37, 36, 24, 13, 2, 1], 20)
    logits, frames = ours(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = alone(reference, features[row], length)
        assert frames[row] == len(expected)
        assert deviation(logits[row, : frames[row]], expected) <= 1e-4


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_logits_of_a_padded_batch_equal_those_of_the_same_batch(tmp_path, position):
    """Without adapter: with one, `transformers` mixes the padding into the valid frames."""
    reference = hugging_face(seed=2, position_embeddings_type=position)
    ours = load_network(tmp_path, reference)
    features, lengths = random_batch([41, 28, 13, 1], 20)
    valid = torch.arange(features.shape[1]) < lengths[:, None]
    expected = reference(features, attention_mask=valid.long()).logits
    logits, frames = ours(features, lengths)
    assert torch.equal(frames, lengths)
    assert deviation(logits[valid], expected[valid]) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_norm_eps": 0.1},
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_new"},
        {"add_adapter": True, "adapter_act": "swish"},
        {"conv_depthwise_kernel_size": 31},
        {"num_attention_heads": 4},
        {"left_max_position_embeddings": 64, "right_max_position_embeddings": 8},
        {"position_embeddings_type": "rotary", "rotary_embedding_base": 50},
        {"num_hidden_layers": 1},
        {"intermediate_size": 16},
    ],
    ids=str,
)
@torch.inference_mode()
def test_every_field_of_the_configuration_is_heeded(tmp_path, changes):
    reference = hugging_face(seed=3, **changes)
    ours = load_network(tmp_path, reference)
    features, lengths = random_batch([50], 20)
    assert deviation(ours(features, lengths)[0], reference(features).logits) <= 1e-4


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("chunk", "left"), [(1, 0), (4, 8), (8, 0), (16, 40), (100, 0)])
@torch.inference_mode()
def test_a_chunk_mask_equals_its_layers_under_the_same_mask(position, chunk, left):
    reference = hugging_face(seed=4, position_embeddings_type=position)
    ours = Wav2Vec2BertForCTC(EncoderConfig.from_json(reference.config.to_dict()))
    ours.load_state_dict(reference.state_dict(), strict=False)
    features, lengths = random_batch([61], 20)
    query = torch.arange(61)[:, None]
    begin = query // chunk * chunk
    visible = (begin - left <= query.T) & (begin + chunk > query.T)
    mask = torch.zeros(1, 1, 61, 61).masked_fill(~visible, torch.finfo(torch.float32).min)
    body = reference.wav2vec2_bert
    hidden, _ = body.feature_projection(features)
    embed = body.encoder.embed_positions
    embedded = None if embed is None else embed(hidden)
    for layer in body.encoder.layers:
        hidden = layer(hidden, attention_mask=mask, relative_position_embeddings=embedded)
    logits, _ = ours(features, lengths, Chunking(left, chunk))
    assert deviation(logits, reference.lm_head(hidden)) <= 1e-4


@torch.inference_mode()
def test_sharded_weights_equal_single_ones(tmp_path):
    reference = hugging_face(seed=5)
    single = load_network(tmp_path / "single", reference).state_dict()
    sharded = load_network(tmp_path / "sharded", reference, max_shard_size="20KB").state_dict()
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    assert single.keys() == sharded.keys()
    assert all(torch.equal(single[name], sharded[name]) for name in single)


@pytest.mark.parametrize("adapter", [{}, {"add_adapter": True}], ids=["no adapter", "adapter"])
@torch.inference_mode()
def test_waveforms_to_probabilities_equal_its_whole_pipeline(tmp_path, adapter):
    reference = hugging_face(seed=6, **adapter)
    ours = checkpoint.load(save_with_transformers(tmp_path, reference))
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(tmp_path)
    lengths = [16_000, 15_999, 16_080, 9_300, 800]
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, (len(lengths), max(lengths))).astype(np.float32)
    log_probs, frames = ours(torch.from_numpy(samples), torch.tensor(lengths))
    for row, length in enumerate(lengths):
        inputs = extractor(samples[row, :length], sampling_rate=16_000, return_tensors="pt")
        valid = int(inputs.attention_mask.sum())  # an odd mel frame makes a row that is not
        expected = reference(inputs.input_features[:, :valid]).logits[0].log_softmax(dim=-1)
        assert frames[row] == len(expected)
        assert deviation(log_probs[row, : frames[row]], expected) <= 1e-3


@torch.inference_mode()
def test_full_size_logits_are_equal():
    """580 million parameters, as views of one pool of random numbers: both copies cost little."""
    with torch.device("meta"):
        ours = Wav2Vec2BertForCTC(EncoderConfig())
        reference = HuggingFaceModel(Wav2Vec2BertConfig(vocab_size=32, apply_spec_augment=False))
    assert sum(parameter.numel() for parameter in ours.parameters()) > 580e6
    weights = full_size_weights(ours)
    ours.load_state_dict(weights, assign=True)
    missing = reference.load_state_dict(weights, assign=True, strict=False)
    assert set(missing.missing_keys) <= {"wav2vec2_bert.masked_spec_embed"}
    assert not missing.unexpected_keys
    features, lengths = random_batch([49], 160)
    logits, _ = ours.eval()(features, lengths)
    assert logits.std() > 0.1
    assert deviation(logits, reference.eval()(features).logits) <= 1e-4


def full_size_weights(model):
    """Every tensor begins elsewhere in the pool; norms are near 1, matrices keep the scale."""
    pool = torch.randn(2**23, generator=torch.Generator().manual_seed(7)) / 32
    weights, offset = {}, 0
    for name, tensor in model.state_dict().items():
        offset = (offset + 999_983) % (len(pool) - tensor.numel())
        view = pool[offset : offset + tensor.numel()].view(tensor.shape)
        is_norm = "layer_norm" in name and name.endswith("weight")
        weights[name] = 1 + view if is_norm else view
    return weights
