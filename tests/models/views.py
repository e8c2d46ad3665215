"""Streamed encoding written down a second time, as lists of views, without rings.

A view is what one step of one stream encodes: its chunk and a hard copy of the frames after it,
which are computed again by the next view. `Plan` says which views there are, `encode` runs them
all at once, layer by layer: each view sees the chunk frames that earlier views of its stream left
in a table of all frames. The reference for the streaming encoder with its rings and slots.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from models.ring import Sight


@dataclass(frozen=True)
class Step:
    """One view: frames [begin, begin + committed + ahead) of a stream."""

    stream: int
    begin: int
    committed: int
    ahead: int = 0

    @property
    def valid(self):
        return self.committed + self.ahead


def random_plan(stream, frames, chunk, right, rng, flushes=0, multiple=1):
    """Steps over `frames` frames; before a flush, and at the end, a part of a chunk is all."""
    whole = -(-frames // multiple)
    ends = {frames, *(multiple * rng.integers(1, whole, flushes if whole > 1 else 0)).tolist()}
    steps, at = [], 0
    for end in sorted(ends):
        while at < end:
            committed = min(chunk, end - at)
            steps.append(Step(stream, at, committed, min(right, end - at - committed)))
            at += committed
    return steps


def divide(steps, stride):
    """The same steps behind an adapter layer."""

    def shorter(frames):
        return -(-frames // stride)

    return [
        Step(
            s.stream,
            shorter(s.begin),
            shorter(s.committed),
            shorter(s.valid) - shorter(s.committed),
        )
        for s in steps
    ]


class Table:
    """The committed frames of all streams in one row each, and who may look at which."""

    def __init__(self, steps, left, width):
        streams = 1 + max(step.stream for step in steps)
        lengths = [0] * streams
        for step in steps:
            lengths[step.stream] = max(lengths[step.stream], step.begin + step.committed)
        offset = [sum(lengths[:stream]) for stream in range(streams)]
        self.frames = sum(lengths)
        self.offset = torch.tensor([offset[step.stream] for step in steps])[:, None]
        self.begin = torch.tensor([step.begin for step in steps])[:, None]
        self.committed = torch.tensor([step.committed for step in steps])[:, None]
        self.valid = torch.tensor([step.valid for step in steps])[:, None]
        self.left, self.width = left, width

    def publish(self, rows):
        """Views (N, W, …) -> committed frames (frames, …)."""
        index = torch.arange(self.width)
        chosen = index < self.committed
        places = (self.offset + self.begin + index)[chosen]
        table = rows.new_zeros(self.frames, *rows.shape[2:])
        table[places] = rows[chosen]
        return table

    def before(self, table, count):
        """The `count` frames before each view, zeros where the stream had not begun."""
        back = self.begin + torch.arange(-count, 0)
        found = table[(self.offset + back).clamp(min=0)]
        there = (back >= 0).reshape(*back.shape, *[1] * (found.ndim - 2))
        return torch.where(there, found, 0.0)

    def sight(self):
        """Every valid frame sees the left context, the chunk and what is ahead."""
        own = torch.arange(self.width)
        back = torch.arange(-self.left, 0)
        keys = torch.cat([back, own])
        there = (keys >= 0) | (self.begin + keys >= 0)
        visible = there & (keys < self.valid)
        distance = keys - own[:, None]
        furthest = -self.left - self.width, self.width
        return Sight(visible[:, None, None], distance[None, None], furthest, self.begin + own)


class History:
    """Stands in for a ring: the keys and values of the left context come from the table."""

    def __init__(self, table):
        self.table = table

    def extend(self, key, value, _):
        before = (self.table.before(self.table.publish(x), self.table.left) for x in (key, value))
        return tuple(torch.cat(pair, dim=1) for pair in zip(before, (key, value), strict=True))


def encode(model, features, steps, chunking):
    """Logits (N, U, V) of the views' features (N, W, F)."""
    body = model.wav2vec2_bert
    table = Table(steps, chunking.left, features.shape[1])
    sight, history = table.sight(), History(table)
    x = body.feature_projection(features)
    for layer in body.encoder.layers:
        x = x + 0.5 * layer.ffn1(layer.ffn1_layer_norm(x))
        x = x + layer.self_attn(layer.self_attn_layer_norm(x), sight, history)
        past = layer.conv_module.past
        gated = layer.conv_module(x)[1][:, past:]
        before = table.before(table.publish(gated), past)
        x = x + layer.conv_module(x, before)[0]
        x = x + 0.5 * layer.ffn2(layer.ffn2_layer_norm(x))
        x = layer.final_layer_norm(x)
    if body.intermediate_ffn is not None:
        x = x + 0.5 * body.intermediate_ffn(x)
    if body.adapter is not None:
        x = body.adapter.proj_layer_norm(body.adapter.proj(x))
        for layer in body.adapter.layers:
            x, steps, chunking = adapt(layer, x, steps, chunking)
    return model.lm_head(x)


def adapt(layer, x, steps, chunking):
    """One adapter layer over views; returns its outputs and the geometry behind it."""
    inputs = Table(steps, 0, x.shape[1])
    valid = (torch.arange(x.shape[1]) < inputs.valid)[..., None]

    def convolve(norm, conv):
        y = torch.where(valid, norm(x), 0.0)
        y = torch.cat([inputs.before(inputs.publish(y), layer.padding), y], dim=1)
        return F.glu(conv(y.transpose(1, 2)), dim=1).transpose(1, 2)

    residual = convolve(layer.residual_layer_norm, layer.residual_conv)
    z = convolve(layer.self_attn_layer_norm, layer.self_attn_conv)
    steps, chunking = divide(steps, layer.stride), chunking.divided(layer.stride)
    table = Table(steps, chunking.left, z.shape[1])
    y = layer.self_attn(z, table.sight(), History(table)) + residual
    return y + layer.ffn(layer.ffn_layer_norm(y)), steps, chunking
