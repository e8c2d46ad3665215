"""The Wav2Vec2-BERT encoder with its CTC head: offline under any chunk mask, or chunk by chunk.

Owns the wiring of the bricks in ``conformer.py``; the tree of attribute names is the checkpoint's.
Must match ``transformers.Wav2Vec2BertForCTC`` (tests/models hold it to that) and itself: streamed
== offline.

Shapes: B stream, T input frame (20 ms), U output frame (T without adapter), F feature, C channel,
V label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models import settings
from models.conformer import (
    ACTIVATIONS,
    AdapterLayer,
    EncoderLayer,
    FeedForward,
    PositionType,
    last_frames,
)
from models.eight_bit import EightBit
from models.precision import LayerNorm, Linear, shorten
from models.ring import Ring, Rows, Sight, open_ring, progress
from models.state import AdapterState, AttentionState, EncoderState, Update


@dataclass(frozen=True, slots=True)
class Chunking:
    """Geometry of attention, in input frames.

    A frame sees ``left`` frames before its chunk, the chunk, and ``right`` frames after it.
    """

    left: int
    chunk: int
    right: int = 0

    def __post_init__(self) -> None:
        if self.left < 0 or self.chunk < 1 or self.right < 0:
            raise ValueError(f"chunking: expected left >= 0, chunk >= 1, right >= 0, got {self}")

    @property
    def geometry(self) -> tuple[int, int, int]:
        """Left, chunk, right."""
        return self.left, self.chunk, self.right

    def divided(self, stride: int) -> Chunking:
        """The same geometry after an adapter layer of this stride."""
        if self.left % stride or self.chunk % stride or self.right % stride:
            raise ValueError(f"chunking {self} must be divisible by the adapter stride {stride}")
        return Chunking(self.left // stride, self.chunk // stride, self.right // stride)


SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "feature_projection_input_dim",
    "conv_depthwise_kernel_size",
    "adapter_kernel_size",
    "adapter_stride",
    "num_adapter_layers",
)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The fields of a Hugging Face ``config.json`` that change inference, and its defaults."""

    vocab_size: int = 32
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    feature_projection_input_dim: int = 160
    hidden_act: str = "swish"
    layer_norm_eps: float = 1e-5
    position_embeddings_type: PositionType = "relative_key"
    left_max_position_embeddings: int = 64
    right_max_position_embeddings: int = 8
    rotary_embedding_base: int = 10000
    conv_depthwise_kernel_size: int = 31
    add_adapter: bool = False
    adapter_kernel_size: int = 3
    adapter_stride: int = 2
    adapter_act: str = "relu"
    num_adapter_layers: int = 1
    use_intermediate_ffn_before_adapter: bool = False
    output_hidden_size: int | None = None
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        for name in SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of "
                f"{self.num_attention_heads} heads"
            )
        if self.use_intermediate_ffn_before_adapter and not self.add_adapter:
            raise ValueError("use_intermediate_ffn_before_adapter needs add_adapter")
        for activation in (self.hidden_act, self.adapter_act):
            if activation not in ACTIVATIONS:
                raise ValueError(
                    f"unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}"
                )

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> EncoderConfig:
        """The known fields of ``config.json``; ValueError where one does not fit."""
        return settings.from_json(EncoderConfig, values)

    @property
    def output_size(self) -> int:
        """Channels of the hidden states that the head reads."""
        return self.output_hidden_size or self.hidden_size if self.add_adapter else self.hidden_size

    @property
    def output_stride(self) -> int:
        """Input frames per output frame."""
        return self.adapter_stride**self.num_adapter_layers if self.add_adapter else 1


class FeatureProjection(nn.Module):
    """LayerNorm and linear layer from features to channels."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer_norm = LayerNorm(config.feature_projection_input_dim, eps=config.layer_norm_eps)
        self.projection = Linear(config.feature_projection_input_dim, config.hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, C)."""
        y: Tensor = self.projection(self.layer_norm(features))
        return y


class LayerStack(nn.Module):
    """Holds ``layers`` so that the checkpoint's keys ``encoder.layers.N`` fit."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))


class Adapter(nn.Module):
    """Holds the adapter layers, and the projection to their size where it differs."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Identity()
        self.proj_layer_norm: nn.Module = nn.Identity()
        if config.output_size != config.hidden_size:
            self.proj = Linear(config.hidden_size, config.output_size)
            self.proj_layer_norm = LayerNorm(config.output_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(AdapterLayer(config) for _ in range(config.num_adapter_layers))


class Encoder(nn.Module):
    """Features to hidden states."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_projection = FeatureProjection(config)
        self.encoder = LayerStack(config)
        self.intermediate_ffn: FeedForward | None = None
        if config.use_intermediate_ffn_before_adapter:
            self.intermediate_ffn = FeedForward(
                config.hidden_size, config.intermediate_size, "relu"
            )
        self.adapter = Adapter(config) if config.add_adapter else None

        self._short: torch.dtype | None = None
        self._coding: EightBit | None = None

    def shorten(self, dtype: torch.dtype, coding: EightBit | None = None) -> None:
        """From now on multiply in ``dtype``, and keep in it what streams remember.

        Or keys and values in eight bits, the large part of it, if there is a ``coding``.

        The projection of the features stays as it is: it is small, and all that follows reads it.
        """
        for part in (self.encoder, self.intermediate_ffn, self.adapter):
            if part is not None:
                shorten(part, dtype)
        self._short, self._coding = dtype, coding

    def forward(
        self, features: Tensor, lengths: Tensor, chunking: Chunking | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Offline: (B, T, F) and valid frames (B,) -> hidden (B, U, C), its valid frames (B,).

        Third comes the output of the middle layer, (B, T, C), for losses inside the encoder.
        Without ``chunking`` every frame sees all (as Hugging Face); with it, its chunk and the
        ``left`` frames before that (``right`` must be 0: lookahead is not a plain mask over one
        sequence).
        """
        sight = offline_sight(features.shape[1], lengths, chunking)
        x = self.feature_projection(features)
        x = x * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        middle = x
        for index, layer in enumerate(self.encoder.layers):
            x, _ = layer(x, sight)
            middle = x if index == len(self.encoder.layers) // 2 - 1 else middle
        x = self._between(x)
        if self.adapter is not None:
            for adapter in self.adapter.layers:
                assert isinstance(adapter, AdapterLayer)
                chunking = chunking and chunking.divided(adapter.stride)
                inputs, lengths = lengths, adapter.output_frames(lengths)
                sight = offline_sight(adapter.output_frames(x.shape[1]), lengths, chunking)
                x = adapter(x, inputs, sight)
        return x, lengths, middle

    def init_state(self, slots: int, chunking: Chunking) -> EncoderState:
        """Empty caches for ``slots`` streams."""
        config = self.config
        like = self.feature_projection.projection.weight
        like = like.new_empty(0, dtype=self._short or like.dtype)
        heads, size = config.num_attention_heads, config.hidden_size

        def ring(layers: int, channels: int, chunking: Chunking) -> AttentionState:
            cells = sum(chunking.geometry)
            head = channels // heads
            return AttentionState.init(slots, layers, cells, heads, head, like, self._coding)

        stride, kernel = config.adapter_stride, config.adapter_kernel_size
        if config.add_adapter and not 2 * (stride // 2) < kernel <= stride + stride // 2:
            raise ValueError(
                f"an adapter with kernel size {kernel} and stride {stride} cannot stream: "
                "its outputs need other frames than their own and those before"
            )
        adapter, divided = [], chunking
        for _ in range(config.num_adapter_layers if config.add_adapter else 0):
            divided = divided.divided(config.adapter_stride)
            past = like.new_zeros(slots, config.adapter_stride // 2, config.output_size)
            adapter.append(AdapterState(past, past.clone(), ring(1, config.output_size, divided)))
        recent = (slots, config.num_hidden_layers, config.conv_depthwise_kernel_size - 1, size)
        past = like.new_zeros(recent)
        return EncoderState(ring(config.num_hidden_layers, size, chunking), past, tuple(adapter))

    def forward_chunk(
        self, features: Tensor, rows: Rows, state: EncoderState, chunking: Chunking
    ) -> tuple[Tensor, EncoderState]:
        """Streamed: (B, T, F) -> hidden (B, U, C) of the rows' slots, and the state they now have.

        T is one chunk and its lookahead, or several whole chunks when there is none. Only the
        ``committed`` frames of a row enter its slot. ``state`` is consumed: it is written in place
        and returned; a call that raises has changed nothing that a second try would see. Equal to
        ``forward`` under the same chunking over all that the slot has seen.
        """
        hidden, update = self.step(features, rows, state, chunking)
        update.commit()
        return hidden, state

    def step(
        self, features: Tensor, rows: Rows, state: EncoderState, chunking: Chunking
    ) -> tuple[Tensor, Update]:
        """``forward_chunk`` whose slots have moved on only when the update is committed."""
        update = Update([])
        sight = open_ring(state.ring, rows, features.shape[1], chunking.geometry, update)
        x = self.feature_projection(features)
        past, seen = state.convolution[rows.index], []
        for index, layer in enumerate(self.encoder.layers):
            ring = Ring.of(state.ring, index, rows, update)
            x, inputs = layer(x, sight, ring, past[:, index])
            seen.append(last_frames(inputs, rows.committed, past.shape[2]))
        x = self._between(x)
        recent = torch.stack(seen, dim=1).to(past.dtype)
        update.writes.append((state.convolution, rows.index, recent))
        update.writes.append(progress(state.ring, rows))
        if self.adapter is not None:
            x = self._adapt_chunk(x, rows, state.adapter, chunking, update)
        return x, update

    def _adapt_chunk(
        self,
        x: Tensor,
        rows: Rows,
        states: tuple[AdapterState, ...],
        chunking: Chunking,
        update: Update,
    ) -> Tensor:
        assert self.adapter is not None
        for adapter, state in zip(self.adapter.layers, states, strict=True):
            assert isinstance(adapter, AdapterLayer)
            chunking = chunking.divided(adapter.stride)
            inputs, rows = rows, rows.divided(adapter.stride)
            frames = x.shape[1] // adapter.stride
            sight = open_ring(state.ring, rows, frames, chunking.geometry, update)
            x = adapter.step(x, inputs, state, sight, update)
            update.writes.append(progress(state.ring, rows))
        return x

    def _between(self, x: Tensor) -> Tensor:
        if self.intermediate_ffn is not None:
            x = x + 0.5 * self.intermediate_ffn(x)
        return self.adapter.proj_layer_norm(self.adapter.proj(x)) if self.adapter is not None else x


def offline_sight(frames: int, lengths: Tensor, chunking: Chunking | None) -> Sight:
    """What ``frames`` frames of whole utterances see: their valid frames, within the chunk mask."""
    position = torch.arange(frames, device=lengths.device)
    distance = position[None, :] - position[:, None]  # (T, T) key minus query
    visible = (position < lengths[:, None])[:, None, None]  # (B, 1, 1, T)
    if chunking is not None:
        assert not chunking.right, chunking
        start = (position - position % chunking.chunk)[:, None]
        key = position[None, :]
        visible = visible & (key >= start - chunking.left) & (key < start + chunking.chunk)
    return Sight(visible, distance[None, None], (1 - frames, frames - 1), position[None])


class Wav2Vec2BertForCTC(nn.Module):
    """Encoder and CTC head; ``load_state_dict`` takes a Hugging Face checkpoint as it is."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.wav2vec2_bert = Encoder(config)
        self.lm_head = Linear(config.output_size, config.vocab_size)

    def forward(
        self, features: Tensor, lengths: Tensor, chunking: Chunking | None = None
    ) -> tuple[Tensor, Tensor]:
        """Offline logits (B, U, V) and valid output frames (B,)."""
        hidden, lengths, _ = self.wav2vec2_bert(features, lengths, chunking)
        return self.lm_head(hidden), lengths

    def forward_chunk(
        self, features: Tensor, rows: Rows, state: EncoderState, chunking: Chunking
    ) -> tuple[Tensor, EncoderState]:
        """Streamed logits (B, U, V); see ``Encoder.forward_chunk``."""
        logits, update = self.step(features, rows, state, chunking)
        update.commit()
        return logits, state

    def step(
        self, features: Tensor, rows: Rows, state: EncoderState, chunking: Chunking
    ) -> tuple[Tensor, Update]:
        """Streamed logits (B, U, V) and the update to commit; see ``Encoder.step``."""
        hidden, update = self.wav2vec2_bert.step(features, rows, state, chunking)
        return self.lm_head(hidden), update
