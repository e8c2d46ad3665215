"""Small random networks: ours, and the same one as `transformers` has it."""

import dataclasses
import json

import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2CTCTokenizer
from transformers import Wav2Vec2BertForCTC as HuggingFaceModel

from models.acoustic import AcousticModel
from models.features import FeatureConfig
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

POSITIONS = ["relative_key", "relative", "rotary", None]
TOKENS = ("<pad>", "|", *"abcdefghij")
TINY = EncoderConfig(
    vocab_size=len(TOKENS),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=40,
    feature_projection_input_dim=20,
    left_max_position_embeddings=11,
    right_max_position_embeddings=5,
    conv_depthwise_kernel_size=5,
)


def randomize(module, seed):
    """Weights with which every part of the network matters and activations stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "layer_norm" in name:
                parameter.copy_(0.1 * noise + float(name.endswith("weight")))
            elif "distance_embedding" in name or "pos_bias" in name:
                parameter.copy_(noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.3 * noise)
    return module.eval()


def network(seed=0, **changes):
    """Our network with random weights."""
    return randomize(Wav2Vec2BertForCTC(dataclasses.replace(TINY, **changes)), seed)


def acoustic(seed=0, normalization="running", **changes):
    """Our network behind features of 10 mel bins."""
    features = FeatureConfig(num_mel_bins=10, normalization=normalization)
    vocabulary = Vocabulary(TOKENS, 0, 1, frozenset({0}))
    return AcousticModel("tiny", network(seed, **changes), features, vocabulary).eval()


def hugging_face(seed=0, **changes):
    """The same configuration in `transformers`, with random weights of its own."""
    config = Wav2Vec2BertConfig(**dataclasses.asdict(dataclasses.replace(TINY, **changes)))
    return randomize(HuggingFaceModel(config), seed)


def save_with_transformers(folder, model, tokens=TOKENS, num_mel_bins=10, **options):
    """A checkpoint as a fine-tuning script would leave it."""
    model.save_pretrained(folder, **options)
    SeamlessM4TFeatureExtractor(num_mel_bins=num_mel_bins).save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({text: index for index, text in enumerate(tokens)}))
    Wav2Vec2CTCTokenizer(
        str(vocabulary),
        pad_token=tokens[model.config.pad_token_id],
        unk_token=None,
        bos_token=None,
        eos_token=None,
    ).save_pretrained(folder)
    return str(folder)
