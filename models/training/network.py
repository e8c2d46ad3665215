"""The small network of the scratch recipe: labels, sizes, first weights, and where they come from.

Owns the way from a Geometry to an EncoderConfig, and back from the shapes of stored weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models import checkpoint
from models.features import FeatureConfig
from models.training.recipe import Geometry, TrainingError
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import EncoderConfig

LABELS = ("|", "'", *"abcdefghijklmnopqrstuvwxyz", "[UNK]", "[PAD]")
BLANK = LABELS.index("[PAD]")
VOCABULARY = Vocabulary(LABELS, BLANK, LABELS.index("|"), frozenset({LABELS.index("[UNK]"), BLANK}))
MEL_BINS = FeatureConfig().num_mel_bins
RUN_WEIGHTS = "last.safetensors"
Branch: TypeAlias = Tensor | tuple[Tensor, Tensor]


def encoder_config(geometry: Geometry) -> EncoderConfig:
    """The network of the recipe in these sizes."""
    return EncoderConfig(
        vocab_size=len(LABELS),
        pad_token_id=BLANK,
        feature_projection_input_dim=MEL_BINS * geometry.stride,
        hidden_size=geometry.width,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        intermediate_size=geometry.intermediate,
        conv_depthwise_kernel_size=geometry.kernel,
    )


def config_of(weights: Mapping[str, Tensor]) -> EncoderConfig:
    """The network whose sizes the shapes of its weights tell.

    Raises:
        TrainingError: these are not the weights of a network of this recipe.
    """
    layers = {int(name.split(".")[3]) for name in weights if ".encoder.layers." in name}
    layer = "wav2vec2_bert.encoder.layers.0."
    try:
        width, inputs = weights["wav2vec2_bert.feature_projection.projection.weight"].shape
        head_size = weights[f"{layer}self_attn.distance_embedding.weight"].shape[1]
        intermediate = weights[f"{layer}ffn1.intermediate_dense.weight"].shape[0]
        kernel = weights[f"{layer}conv_module.depthwise_conv.weight"].shape[-1]
        labels = weights["lm_head.weight"].shape[0]
    except KeyError as error:
        raise TrainingError(f"no network of the scratch recipe: it has no {error}") from error
    if labels != len(LABELS):
        raise TrainingError(
            f"a network of the scratch recipe has {len(LABELS)} labels, got {labels}"
        )
    heads, stride = width // head_size, inputs // MEL_BINS
    return encoder_config(Geometry(stride, len(layers), width, heads, intermediate, kernel))


def read_weights(source: str) -> dict[str, Tensor]:
    """Weights in float32: the running average of a run's folder, or those of a checkpoint.

    Raises:
        TrainingError, CheckpointError: there is neither.
    """
    run = Path(source, RUN_WEIGHTS)
    if not run.exists():
        return checkpoint.load(source).model.state_dict()
    average = "average."
    try:
        stored = load_file(run)
    except SafetensorError as error:
        raise TrainingError(f"{run} cannot be read as safetensors: {error}") from error
    return {
        name.removeprefix(average): tensor
        for name, tensor in stored.items()
        if name.startswith(average)
    }


def check_geometry(weights: Mapping[str, Tensor], expected: EncoderConfig, source: str) -> None:
    """TrainingError unless the ``weights`` of ``source`` are those of such a network."""
    found, wanted = asdict(config_of(weights)), asdict(expected)
    for name, value in wanted.items():
        if found[name] != value:
            raise TrainingError(f"{source}: {name}: expected {value}, got {found[name]}")


def initialize(model: nn.Module) -> None:
    """Small normal weights; each layer's last projections start smaller the deeper the model is."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fan_in = parameter[0].numel()
            nn.init.normal_(
                parameter,
                std=fan_in**-0.5 * (0.3 if "output_dense" in name or "linear_out" in name else 0.8),
            )
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def drop_out(model: nn.Module, channel_share: float, branch_share: float) -> None:
    """Leave out channels and whole branches of the encoder's layers, per clip, while training.

    Branches are the four terms that a layer adds up (stochastic depth, Huang et al. 2016); the
    deeper, the likelier, up to ``branch_share``. A mask a clip costs next to nothing on a CPU,
    where one random number for each activation would be a fifth of the time.
    """
    layers = model.get_submodule("wav2vec2_bert.encoder.layers")
    assert isinstance(layers, nn.ModuleList)
    for depth, layer in enumerate(layers, start=1):
        hook = _Dropping(channel_share, branch_share * depth / len(layers))
        for name in ("ffn1", "self_attn", "conv_module", "ffn2"):
            layer.get_submodule(name).register_forward_hook(hook)


@dataclass(frozen=True, slots=True)
class _Dropping:
    """A forward hook that leaves out parts of a branch (B, T, C), and scales up what stays."""

    channel_share: float
    branch_share: float

    def __call__(self, module: nn.Module, _: object, output: Branch) -> Branch:
        if not module.training or not (self.channel_share or self.branch_share):
            return output
        if isinstance(output, tuple):  # a convolution's second part is its past
            return self._dropped(output[0]), output[1]
        return self._dropped(output)

    def _dropped(self, x: Tensor) -> Tensor:
        channels, branch = 1.0 - self.channel_share, 1.0 - self.branch_share
        keep = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) < channels
        keep &= torch.rand(x.shape[0], 1, 1, device=x.device) < branch
        return x * keep.to(x.dtype).div_(channels * branch)
