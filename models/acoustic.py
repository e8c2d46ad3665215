"""Waveforms to CTC log-probabilities: features, encoder and head as one module.

Owns the three ways to run them: whole utterances, chunk by chunk with caches, and overlapping
windows. Knows nothing of sessions; which slot and which frames are valid is said by the caller, in
output frames.

Shapes: B stream, S sample, U output frame (20 ms, 40 ms with one adapter layer), V label, N slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.eight_bit import EightBit
from models.features import (
    FeatureConfig,
    FeatureExtractor,
    FeatureStats,
    Normalization,
    with_normalization,
)
from models.lanes import Lanes
from models.packing import pack
from models.ring import Rows
from models.state import EncoderState, Update
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import Chunking, Wav2Vec2BertForCTC


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything that the slots of one AcousticModel remember."""

    stats: FeatureStats
    encoder: EncoderState | None  # None when windows are encoded anew each time
    chunking: Chunking  # in input frames

    def reset(self, slots: Tensor) -> None:
        """Make ``slots`` (R,) new."""
        self.stats.reset(slots)
        if self.encoder is not None:
            self.encoder.reset(slots)


@dataclass(frozen=True, slots=True)
class _Step:
    """What some rows have come to; nothing remembers it before it is committed."""

    log_probs: Tensor
    rows: Rows
    stats: FeatureStats
    update: Update

    def commit(self, state: StreamState) -> None:
        self.update.commit()
        state.stats.assign(self.rows.index, self.stats)


class AcousticModel(nn.Module):
    """A checkpoint ready to run.

    A cached stream cannot know its whole utterance: a checkpoint that was trained with
    utterance-wise normalisation is given ``running`` statistics there.
    """

    def __init__(
        self, name: str, model: Wav2Vec2BertForCTC, features: FeatureConfig, vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        self.name, self.vocabulary = name, vocabulary
        self._place: tuple[str, torch.dtype, EightBit | None, EightBit | None] | None = None
        self._lanes: Lanes | None = None
        self.model = model
        self.features = FeatureExtractor(features)
        causal: Normalization = "global" if features.normalization == "global" else "running"
        self.causal_features = FeatureExtractor(with_normalization(features, causal))

    def place(
        self,
        device: str,
        dtype: torch.dtype,
        *,
        products: EightBit | None = None,
        kv: EightBit | None = None,
    ) -> AcousticModel:
        """Move to ``device`` for good: products of the encoder in ``dtype``, the rest in float32.

        On a CPU its layers are packed, for inference alone. With ``products`` their inputs and
        weights have 8 bits, with ``kv`` the keys and values that streams remember.

        Raises:
            ValueError: it is placed already in another way, or 8 bits cannot be had.
        """
        place = (device, dtype, products, kv)
        if self._place is not None:
            if place != self._place:
                raise ValueError(f"placed as {self._place} already, got {place}")
            return self
        self.to(device)
        self.model.wav2vec2_bert.shorten(dtype, kv)
        if device == "cpu" or products is not None:
            encoder = self.model.wav2vec2_bert
            for part in (encoder.encoder, encoder.intermediate_ffn, encoder.adapter):
                if part is not None:
                    pack(part, products)
        self._place = place
        return self

    def share(self, lanes: int, threads: int, least: int) -> None:
        """Divide batches of ``least`` streams or more over ``lanes`` with ``threads`` in all."""
        self._lanes = Lanes(lanes, threads, least) if lanes > 1 else None

    @property
    def stride(self) -> int:
        """Input frames per output frame."""
        return self.model.config.output_stride

    @property
    def hop_samples(self) -> int:
        """Samples per output frame."""
        return self.features.config.hop_samples * self.stride

    @property
    def tail_samples(self) -> int:
        """Samples that a run of frames needs beyond its hops."""
        return self.features.config.tail_samples

    def forward(
        self, samples_BS: Tensor, lengths_B: Tensor, chunking: Chunking | None = None
    ) -> tuple[Tensor, Tensor]:
        """Whole utterances (B, S) in [-1, 1] to log-probs (B, U, V) and valid frames (B,).

        ``lengths_B`` counts the samples of each row before its padding on the right. With
        ``chunking`` (input frames) the result is what ``forward_chunk`` gives for the same audio.
        """
        extractor = self.causal_features if chunking else self.features
        features, frames = extractor(samples_BS, lengths_B, chunking.chunk if chunking else None)
        logits, frames = self.model(features.to(self._dtype), frames, chunking)
        return logits.float().log_softmax(dim=-1), frames

    def init_state(
        self, slots: int, left: int, chunk: int, right: int, cached: bool
    ) -> StreamState:
        """New state of ``slots`` streams for chunks of this geometry in output frames.

        Raises:
            ValueError: the geometry is impossible, or this model cannot stream.
        """
        chunking = Chunking(left * self.stride, chunk * self.stride, right * self.stride)
        bins, device = self.features.config.num_mel_bins, self.model.lm_head.weight.device
        encoder = self.model.wav2vec2_bert.init_state(slots, chunking) if cached else None
        return StreamState(FeatureStats.init(slots, bins, device), encoder, chunking)

    def forward_chunk(
        self,
        samples_BS: Tensor,
        slots_B: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        state: StreamState,
        span: slice | None = None,
    ) -> tuple[Tensor, StreamState]:
        """One chunk and its lookahead for each of ``slots_B``: log-probs (B, U, V) and the state.

        Or several chunks in a row, if there is no lookahead: the same as one call for each.
        ``span``: the same slots, where they are neighbours in this order; saves copies.
        ``state`` is consumed: written in place and returned, but only when nothing was raised.
        """
        rows = Rows(slots_B, committed_B * self.stride, valid_B * self.stride, span)
        count, lanes = len(slots_B), self._lanes

        def step(part: slice) -> _Step:
            return self._step(samples_BS[part], rows.part(part), state)

        is_shared = lanes is not None and count >= lanes.least
        steps = lanes.run(step, count) if lanes and is_shared else [step(slice(0, count))]
        log_probs_BUV = torch.cat([each.log_probs for each in steps])
        for each in steps:  # nothing may be raised from here on
            each.commit(state)
        return log_probs_BUV, state

    def _step(self, samples_BS: Tensor, rows: Rows, state: StreamState) -> _Step:
        assert state.encoder is not None
        before, (_, chunk, right) = state.stats.select(rows.index), state.chunking.geometry
        extractor = self.causal_features
        if samples_BS.shape[1] // self.features.config.hop_samples > chunk + right:
            features, after = extractor.chunks(samples_BS, rows.valid, chunk, before)
        else:
            features, after = extractor.chunk(
                samples_BS, rows.committed, rows.valid, torch.zeros_like(rows.slots), before
            )
        logits, update = self.model.step(
            features.to(self._dtype), rows, state.encoder, state.chunking
        )
        return _Step(logits.float().log_softmax(dim=-1), rows, after, update)

    def forward_window(
        self,
        samples_BS: Tensor,
        slots_B: Tensor,
        left_B: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        state: StreamState,
    ) -> tuple[Tensor, StreamState]:
        """Windows of left | chunk | lookahead frames, each encoded on its own: log-probs (B, U, V).

        ``valid_B`` counts all frames of a window. Only normalisation remembers anything
        (``running``).
        """
        before = state.stats.select(slots_B)
        left, committed, valid = (n * self.stride for n in (left_B, committed_B, valid_B))
        features, after = self.features.chunk(samples_BS, committed, valid, left, before)
        logits, _ = self.model(features.to(self._dtype), valid)
        log_probs = logits.float().log_softmax(dim=-1)
        state.stats.assign(slots_B, after)
        return log_probs, state

    @property
    def _dtype(self) -> torch.dtype:
        return self.model.lm_head.weight.dtype
