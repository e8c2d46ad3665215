"""Batches of clips to what the encoder is trained on: features, targets and the mask of the day.

Owns the two draws that make one network fit for any chunk and either normalisation: of the chunk
mask and of the normalisation policy. Knows nothing of files.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.features import (
    FeatureConfig,
    FeatureExtractor,
    Normalization,
    stack,
    with_normalization,
)
from models.mel import mel_lengths
from models.training.data import SAMPLE_RATE
from models.training.losses import Targets
from models.training.recipe import Finetuning, Recipe
from models.wav2vec2_bert import Chunking


@dataclass(frozen=True, slots=True)
class Example:
    """A batch ready for the encoder."""

    features: Tensor  # (B, T, F) float32
    frames: Tensor  # (B,)
    targets: Targets
    chunking: Chunking | None  # None is full context
    audio_s: float


class Distortion(Protocol):
    """What may happen to log-mels (B, M, C) before and after they are normalised."""

    def warp(self, mel_BMC: Tensor) -> Tensor:
        """Log-mels as another speaker's."""

    def mels(self, mel_BMC: Tensor, lengths_B: Tensor) -> Tensor:
        """Normalised log-mels with parts left out."""


class Preparation:
    """Waveforms to Examples for an encoder whose outputs are ``output_stride`` frames apart."""

    def __init__(
        self,
        recipe: Recipe | Finetuning,
        features: FeatureConfig,
        output_stride: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.recipe, self.features, self.output_stride = recipe, features, output_stride
        policies: tuple[Normalization, ...] = ("running", "utterance")
        if features.normalization == "global":
            policies = ("global",)
        self.extractors = {
            policy: FeatureExtractor(with_normalization(features, policy)).to(device)
            for policy in policies
        }

    @torch.no_grad()
    def __call__(
        self,
        audio_BS: Tensor,
        samples_B: Tensor,
        texts: list[list[int]],
        rng: random.Random,
        distortion: Distortion | None = None,
    ) -> Example:
        """Waveforms in [-1, 1] whose first ``samples_B`` count, and the labels that they say."""
        chunking = self._draw_chunking(rng)
        extractor = self.extractors[self._draw_policy(rng)]
        mel, lengths = extractor.log_mel(audio_BS), mel_lengths(samples_B)
        chunk = chunking.chunk if chunking else self._draw_chunk(rng)
        if distortion is not None:
            mel = distortion.warp(mel)
        mel = extractor.normalize(mel, lengths, chunk)
        if distortion is not None:
            mel = distortion.mels(mel, lengths)
        return Example(
            features=stack(mel, self.features.stride),
            frames=lengths // self.features.stride,
            targets=Targets.of(texts).to(mel.device),
            chunking=chunking,
            audio_s=float(samples_B.sum()) / SAMPLE_RATE,
        )

    def frames(self, seconds: float) -> int:
        """Input frames of about this time, whole outputs."""
        unit_s = self.features.hop_samples * self.output_stride / SAMPLE_RATE
        return round(seconds / unit_s) * self.output_stride

    def _draw_chunking(self, rng: random.Random) -> Chunking | None:
        if rng.random() < self.recipe.full_context_share:
            return None
        chunk = self._draw_chunk(rng)
        return Chunking(self.frames(rng.choice(self.recipe.left_s)), chunk)

    def _draw_chunk(self, rng: random.Random) -> int:
        low, high = (
            max(1, self.frames(each) // self.output_stride) for each in self.recipe.chunk_s
        )
        return rng.randint(low, high) * self.output_stride

    def _draw_policy(self, rng: random.Random) -> Normalization:
        if self.features.normalization == "global":
            return "global"
        return "utterance" if rng.random() < self.recipe.utterance_share else "running"
