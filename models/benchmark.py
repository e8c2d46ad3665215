"""What benchmarks need of networks.

One of full size without a checkpoint, the same one as `transformers` runs it, the cost of a frame.
Must not know: streams, clocks.

Shapes: B window, T frame, F feature, V label.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from models.acoustic import AcousticModel
from models.features import FeatureConfig
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

FULL_SIZE = EncoderConfig()  # w2v-BERT 2.0: 580 M parameters
TOKENS = ("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'", "-", ".", ",")
SHARE_OF_BLANKS = 0.7  # about that of speech


class ReferenceMissingError(Exception):
    """`transformers` is not installed; the message is one sentence for the user."""


def random_model(config: EncoderConfig = FULL_SIZE, seed: int = 0) -> AcousticModel:
    """A network with random weights in float32: its speed is a trained one's, its text is noise.

    The blank is favoured, so that it says about as many letters as a trained one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Wav2Vec2BertForCTC(config).eval()
    vocabulary = Vocabulary(TOKENS[: config.vocab_size], 0, 1, frozenset({0}))
    made = AcousticModel("random", model, FeatureConfig(normalization="running"), vocabulary).eval()
    _favour_blank(made)
    return made


@torch.inference_mode()
def _favour_blank(acoustic: AcousticModel) -> None:
    """Raise the blank's bias until SHARE_OF_BLANKS of the frames of some noise are blank."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(1, 32_000, generator=generator)
    log_probs, _ = acoustic(noise, torch.tensor([noise.shape[1]]))
    blank = acoustic.vocabulary.blank
    others = log_probs[0].clone()
    others[:, blank] = -torch.inf
    lead = others.max(dim=-1).values - log_probs[0, :, blank]
    acoustic.model.lm_head.bias[blank] += lead.quantile(SHARE_OF_BLANKS)


class _Reference(nn.Module):
    """The network of `transformers` where ours would be: encodes whole windows, keeps nothing."""

    def __init__(self, config: EncoderConfig, network: Any) -> None:
        super().__init__()
        self.config, self.network, self.lm_head = config, network, network.lm_head

    def forward(self, features: Tensor, lengths: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        """(B, T, F) and valid frames (B,) -> logits (B, U, V), and the frames as they came."""
        valid = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        return self.network(features, attention_mask=valid.long()).logits, lengths


class _ReferenceModel(AcousticModel):
    """Our features in front of it."""

    def place(self, device: str, dtype: torch.dtype, **_: object) -> AcousticModel:
        """Move, and leave every layer as `transformers` made it."""
        self.to(device)
        self.model.to(dtype)
        return self


def reference(acoustic: AcousticModel) -> AcousticModel:
    """The same weights as `transformers` runs them, for windows; call it before ``place``.

    The features come from our extractor: batched, and on the device, where `transformers` computes
    them window by window in numpy. Raises ReferenceMissingError.
    """
    try:
        from transformers import Wav2Vec2BertConfig
        from transformers import Wav2Vec2BertForCTC as Network
    except ImportError as error:
        raise ReferenceMissingError(
            "the comparison needs the package transformers: pip install -e '.[bench]'"
        ) from error
    config = acoustic.model.config
    values: dict[str, Any] = asdict(config)
    values |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}  # of training
    # Weights come by assignment, so none are drawn; other positions have tables that are computed.
    bare = config.position_embeddings_type in ("relative_key", None)
    with torch.device("meta" if bare else "cpu"):
        network: Any = Network(Wav2Vec2BertConfig(**values))
    network.eval()
    network.load_state_dict(acoustic.model.state_dict(), assign=True)
    placed: Any = _Reference(config, network)
    features = acoustic.features.config
    return _ReferenceModel(acoustic.name, placed, features, acoustic.vocabulary).eval()


def flops_per_frame(acoustic: AcousticModel, context_frames: int) -> float:
    """Floating-point operations of one input frame that attends to ``context_frames`` frames.

    Two for each weight of a matrix or convolution, and attention's two products; what is not
    matrix arithmetic is not counted. Adapter layers count in full. Call it before ``place``.
    """
    config = acoustic.model.config
    weights = sum(
        module.weight.numel()
        for module in acoustic.model.modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
    )
    attention = 4 * config.hidden_size * context_frames * config.num_hidden_layers
    return 2.0 * weights + attention
