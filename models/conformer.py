"""The bricks of Wav2Vec2-BERT: attention of four position types, causal convolution, adapter.

Owns the mathematics; must match ``transformers.models.wav2vec2_bert`` weight for weight (attribute
names are the checkpoint's key names). Each brick takes its past as an argument: without one it is
the offline network, with one it is the same function continued. Who may see whom is decided by the
caller's masks.

Shapes: B stream, T frame of this call, P key (T offline, ring cells when streamed), H head, D head
size, C channel, R relative position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.precision import Convolution, LayerNorm, Linear, Pointwise
from models.ring import Ring, Rows, Sight
from models.state import AdapterState, Update

if TYPE_CHECKING:
    from models.wav2vec2_bert import EncoderConfig

Frames = TypeVar("Frames", int, Tensor)
PositionType = Literal["relative_key", "relative", "rotary"] | None
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swish": F.silu,
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "selu": F.selu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
}


class FeedForward(nn.Module):
    """Linear, activation, linear."""

    def __init__(
        self, size: int, intermediate: int, activation: str, output: int | None = None
    ) -> None:
        super().__init__()
        self.intermediate_dense = Linear(size, intermediate)
        self.output_dense = Linear(intermediate, output or size)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        y: Tensor = self.output_dense(self.activation(self.intermediate_dense(x)))
        return y


class SelfAttention(nn.Module):
    """Multi-head attention whose position scores cost one small product and one gather.

    ``relative_key`` (Shaw et al. 2018) and ``relative`` (Transformer-XL) both add q·e(distance) to
    the scores: the queries meet the table of all R positions once, (B, H, T, R), and a gather by
    distance spreads the result over the keys. The (T, P, D) tensor of the textbook form is never
    built.
    """

    def __init__(self, config: EncoderConfig, size: int, position_type: PositionType) -> None:
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, size // config.num_attention_heads
        self.position_type = position_type
        self.linear_q = Linear(size, size)
        self.linear_k = Linear(size, size)
        self.linear_v = Linear(size, size)
        self.linear_out = Linear(size, size)
        self.rotary_base = config.rotary_embedding_base
        self.spells_out_chunks = False  # attention of chunks; where it is cheaper and good enough
        if position_type == "relative_key":
            self.left, self.right = (
                config.left_max_position_embeddings,
                config.right_max_position_embeddings,
            )
            self.distance_embedding = nn.Embedding(self.left + self.right + 1, self.head_size)
        elif position_type == "relative":
            self.linear_pos = Linear(size, size, bias=False)
            self.pos_bias_u = nn.Parameter(torch.zeros(self.heads, self.head_size))
            self.pos_bias_v = nn.Parameter(torch.zeros(self.heads, self.head_size))

    def forward(self, x: Tensor, sight: Sight, ring: Ring | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); with a ring, keys and values go there and are read from there."""
        qk_input = (
            rotate(x, sight.positions, self.heads, self.rotary_base)
            if self.position_type == "rotary"
            else x
        )
        query, key, value = (
            linear(source).unflatten(-1, (self.heads, self.head_size))
            for linear, source in (
                (self.linear_q, qk_input),
                (self.linear_k, qk_input),
                (self.linear_v, x),
            )
        )
        if ring is not None:
            key, value = ring.extend(key, value, sight)
        query = query.reshape(len(key), -1, *query.shape[2:])  # chunks are rows of their own
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        content = query + self.pos_bias_u[:, None] if self.position_type == "relative" else query
        bias = self._bias(query, sight)
        spelt_out = torch.is_grad_enabled() or (self.spells_out_chunks and ring is not None)
        attend = explicit_attention if spelt_out else F.scaled_dot_product_attention
        attended = attend(content, key, value, bias).transpose(1, 2).reshape(x.shape)
        y: Tensor = self.linear_out(attended)
        return y

    def _bias(self, query: Tensor, sight: Sight) -> Tensor:
        """Scaled position scores with the unseen masked out, (B, H, T, P); else the plain mask."""
        table: Tensor
        if self.position_type == "relative_key":
            table = self.distance_embedding.weight  # (R, D)
            index = sight.distance.clamp(-self.left, self.right) + self.left
        elif self.position_type == "relative":
            lowest, highest = sight.furthest
            span = torch.arange(lowest, highest + 1, device=query.device)
            encoding = sinusoid(-span, self.linear_pos.in_features).to(query.dtype)
            table = self.linear_pos(encoding).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            query = query + self.pos_bias_v[:, None]
            index = sight.distance - lowest
        else:
            return sight.visible
        by_position = (query * self.head_size**-0.5) @ table.transpose(-1, -2)  # (B, H, T, R)
        # One position more, where the unseen are: cheaper than to mask what is gathered.
        index = torch.where(sight.visible, index, by_position.shape[-1])
        by_position = F.pad(by_position, (0, 1), value=torch.finfo(by_position.dtype).min)
        return by_position.gather(-1, index.expand(*by_position.shape[:3], index.shape[-1]))


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The same function as scaled_dot_product_attention, written out: (B, H, T, D) each.

    With a bias that needs a gradient no fused kernel applies, and torch's fallback takes three
    times as long as this on a CPU (forward and backward, bfloat16). For a chunk's few queries the
    CPU's fused kernel takes twice as long in bfloat16, but does not round scores and weights.
    """
    streams, heads, frames, size = query.shape
    query, key, value = (x.reshape(streams * heads, -1, size) for x in (query, key, value))
    if bias.dtype == torch.bool:
        bias = query.new_zeros(bias.shape).masked_fill(~bias, torch.finfo(query.dtype).min)
    bias = bias.expand(streams, heads, frames, -1).flatten(0, 1)
    scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=size**-0.5)
    return (scores.softmax(dim=-1) @ value).reshape(streams, heads, frames, size)


def sinusoid(positions: Tensor, size: int) -> Tensor:
    """Sine (even) and cosine (odd channels) of ``positions`` (R,), shape (R, size), float32."""
    step = -math.log(10000.0) / size
    rate = torch.exp(torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) * step)
    angle = positions[:, None].float() * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def rotate(x: Tensor, positions: Tensor, heads: int, base: float) -> Tensor:
    """Rotary embedding of (B, T, C) at ``positions``, applied per head before the projections."""
    x = x.reshape(*x.shape[:-1], heads, -1)
    size = x.shape[-1]
    rate = base ** (-torch.arange(0, size, 2, dtype=torch.float32, device=x.device) / size)
    angle = (positions[..., None].float() * rate).repeat(1, 1, 2)[:, :, None]  # (B or 1, T, 1, D)
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x * angle.cos().to(x.dtype) + turned * angle.sin().to(x.dtype)).flatten(2)


class ConvolutionModule(nn.Module):
    """LayerNorm, GLU, causal depthwise convolution.

    Its past is the last K - 1 frames after the GLU.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, self.past = config.hidden_size, config.conv_depthwise_kernel_size - 1
        self.layer_norm = LayerNorm(size, eps=config.layer_norm_eps)
        self.pointwise_conv1 = Pointwise(size, 2 * size)
        self.depthwise_conv = Convolution(size, size, self.past + 1, groups=size, bias=False)
        self.depthwise_layer_norm = LayerNorm(size, eps=config.layer_norm_eps)
        self.pointwise_conv2 = Pointwise(size, size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, C) and past (B, K - 1, C) -> (B, T, C) and past + inputs (B, K - 1 + T, C)."""
        gated = F.glu(self.pointwise_conv1(self.layer_norm(x)))
        kept = gated if past is None else gated.to(past.dtype)  # within a call as between two
        before = (0, 0, self.past, 0)
        seen = F.pad(kept, before) if past is None else torch.cat([past, kept], dim=1)
        mixed = self.depthwise_layer_norm(self._mix(seen))
        y: Tensor = self.pointwise_conv2(self.activation(mixed))
        return y, seen

    def _mix(self, seen: Tensor) -> Tensor:
        """Each channel with itself: (B, K - 1 + T, C) -> (B, T, C)."""
        channels_first = seen.transpose(1, 2)
        if not seen.is_cpu or torch.is_grad_enabled():
            y: Tensor = self.depthwise_conv(channels_first)
        else:  # a second dimension of 1, for only pictures may have their channels last
            weight = self.depthwise_conv.weight
            picture = channels_first.unsqueeze(2).to(weight.dtype)
            y = F.conv2d(picture, weight.unsqueeze(2), groups=len(weight)).squeeze(2)
        return y.transpose(1, 2)


class EncoderLayer(nn.Module):
    """A Conformer layer (Gulati et al. 2020): half FFN, attention, convolution, half FFN."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.ffn1_layer_norm = LayerNorm(size, eps=eps)
        self.ffn1 = FeedForward(size, config.intermediate_size, config.hidden_act)
        self.self_attn_layer_norm = LayerNorm(size, eps=eps)
        self.self_attn = SelfAttention(config, size, config.position_embeddings_type)
        self.conv_module = ConvolutionModule(config)
        self.ffn2_layer_norm = LayerNorm(size, eps=eps)
        self.ffn2 = FeedForward(size, config.intermediate_size, config.hidden_act)
        self.final_layer_norm = LayerNorm(size, eps=eps)

    def forward(
        self, x: Tensor, sight: Sight, ring: Ring | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> (B, T, C), and the convolution's past + inputs (B, K - 1 + T, C)."""
        x = torch.add(x, self.ffn1(self.ffn1_layer_norm(x)), alpha=0.5)
        x = x + self.self_attn(self.self_attn_layer_norm(x), sight, ring)
        mixed, seen = self.conv_module(x, past)
        x = x + mixed
        x = torch.add(x, self.ffn2(self.ffn2_layer_norm(x)), alpha=0.5)
        return self.final_layer_norm(x), seen


def last_frames(seen: Tensor, committed: Tensor, count: int) -> Tensor:
    """The ``count`` frames before frame ``committed[b]`` of this call, (B, count, C).

    ``seen`` (B, count + T, C) starts ``count`` frames before the call.
    """
    index = committed[:, None] + torch.arange(count, device=seen.device)  # (B, count)
    return seen.gather(1, index[..., None].expand(-1, -1, seen.shape[2]))


class AdapterLayer(nn.Module):
    """Strided convolution beside strided convolution + attention, then a feed-forward network."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, eps = config.output_size, config.layer_norm_eps
        self.kernel, self.stride = config.adapter_kernel_size, config.adapter_stride
        self.padding = self.stride // 2
        self.residual_layer_norm = LayerNorm(size, eps=eps)
        self.residual_conv = Convolution(size, 2 * size, self.kernel, stride=self.stride)
        self.self_attn_layer_norm = LayerNorm(size, eps=eps)
        self.self_attn_conv = Convolution(size, 2 * size, self.kernel, stride=self.stride)
        self.self_attn = SelfAttention(config, size, None)
        self.ffn_layer_norm = LayerNorm(size, eps=eps)
        self.ffn = FeedForward(size, config.intermediate_size, config.adapter_act)

    def output_frames(self, frames: Frames) -> Frames:
        """How many outputs ``frames`` inputs give, the padding on both sides included."""
        return (frames + 2 * self.padding - self.kernel) // self.stride + 1

    def forward(self, x: Tensor, lengths: Tensor, sight: Sight) -> Tensor:
        """Offline: (B, T, C) with ``lengths`` (B,) valid frames -> (B, T', C)."""
        keep = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        residual = F.pad(self.residual_layer_norm(x) * keep, (0, 0, self.padding, self.padding))
        z = F.pad(self.self_attn_layer_norm(x) * keep, (0, 0, self.padding, self.padding))
        return self._mix(residual, z, sight, None)

    def step(
        self, x: Tensor, rows: Rows, state: AdapterState, sight: Sight, update: Update
    ) -> Tensor:
        """Streamed: the same, with the ``padding`` frames before this call taken from ``state``.

        What ``state`` is to hold for these rows next is added to ``update``.
        """
        keep = (torch.arange(x.shape[1], device=x.device) < rows.valid[:, None])[..., None]
        residual, z = (
            torch.cat([past[rows.index], (norm(x) * keep).to(past.dtype)], dim=1)
            for past, norm in (
                (state.residual, self.residual_layer_norm),
                (state.attention, self.self_attn_layer_norm),
            )
        )
        ring = Ring.of(state.ring, 0, rows, update)
        y = self._mix(residual, z, sight, ring)
        for past, seen in ((state.residual, residual), (state.attention, z)):
            last = last_frames(seen, rows.committed, self.padding)
            update.writes.append((past, rows.index, last))
        return y

    def _mix(self, residual: Tensor, z: Tensor, sight: Sight, ring: Ring | None) -> Tensor:
        residual = F.glu(self.residual_conv(residual.transpose(1, 2)), dim=1).transpose(1, 2)
        z = F.glu(self.self_attn_conv(z.transpose(1, 2)), dim=1).transpose(1, 2)
        attended = residual.to(self.ffn_layer_norm.weight.dtype) + self.self_attn(z, sight, ring)
        y: Tensor = attended + self.ffn(self.ffn_layer_norm(attended))
        return y
