"""Log-mel features as the encoder reads them: stacking, and four ways to normalise.

Owns everything between log-mel energies and encoder input. The numbers must match
``transformers.SeamlessM4TFeatureExtractor`` (tests/models/test_features.py holds it to that).
It must not know of streams or windows: callers say which frames are valid.

Shapes: B stream, S sample, M mel frame (10 ms), C mel bin, T frame (stride mel frames),
F = C * stride.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.mel import (
    MEL_FLOOR,
    MEL_HOP_SAMPLES,
    MEL_WINDOW_SAMPLES,
    LogMel,
    mel_lengths,
)

SILENCE_LOG_MEL = math.log(MEL_FLOOR) + 0.5  # below it a frame is digital silence
VARIANCE_FLOOR = 1e-7

# Log-mels of speech at -26 dBFS (synthetic and human, half each), at 17 points from the lowest bin
# to the highest: the prior of checkpoints that bring none.
SPEECH_MEAN = (
    9.3,
    13.0,
    13.5,
    14.3,
    13.6,
    13.4,
    13.6,
    13.9,
    14.1,
    14.5,
    15.1,
    15.3,
    15.4,
    15.1,
    15.1,
    15.2,
    14.1,
)
SPEECH_VARIANCE = (
    9.6,
    18.0,
    17.0,
    18.6,
    16.7,
    13.6,
    12.3,
    11.5,
    10.0,
    9.5,
    10.0,
    9.1,
    8.6,
    7.5,
    6.8,
    6.4,
    5.0,
)

Normalization = Literal["utterance", "window", "running", "global"]


POSITIVE = ("num_mel_bins", "stride", "prior_mel_frames", "memory_mel_frames", "chunk_frames")


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """What a checkpoint says of its features (``preprocessor_config.json``).

    ``mean`` and ``variance`` (C values each, natural-log mel energies of 16-bit samples) are the
    prior of ``running`` and the whole of ``global``; ``prior_mel_frames`` is the prior's weight
    and ``memory_mel_frames`` the most that the past may weigh in ``running``.
    """

    num_mel_bins: int = 80
    stride: int = 2
    normalization: Normalization = "utterance"
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()
    prior_mel_frames: int = 200
    memory_mel_frames: int = 1500
    chunk_frames: int = 16

    def __post_init__(self) -> None:
        if self.normalization not in get_args(Normalization):
            expected = ", ".join(get_args(Normalization))
            raise ValueError(
                f"normalization: expected one of {expected}, got {self.normalization!r}"
            )
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("mean", "variance"):
            count = len(getattr(self, name))
            if count not in (0, self.num_mel_bins):
                raise ValueError(f"{name}: expected {self.num_mel_bins} values, got {count}")
        if self.normalization == "global" and not (self.mean and self.variance):
            raise ValueError("normalization 'global' needs mean and variance, got none")

    @property
    def feature_size(self) -> int:
        """Values of a stacked frame, F."""
        return self.num_mel_bins * self.stride

    @property
    def hop_samples(self) -> int:
        """Samples from one stacked frame to the next."""
        return MEL_HOP_SAMPLES * self.stride

    @property
    def tail_samples(self) -> int:
        """Samples that a stacked frame needs beyond its own hop."""
        return MEL_WINDOW_SAMPLES - MEL_HOP_SAMPLES


def speech_prior(points: tuple[float, ...], num_mel_bins: int) -> NDArray[np.float64]:
    """A curve given at equal distances along the mel axis, one value a bin, shape (C,)."""
    return np.interp(np.linspace(0, len(points) - 1, num_mel_bins), np.arange(len(points)), points)


@dataclass(frozen=True, slots=True)
class FeatureStats:
    """Running statistics of B streams: all that ``running`` remembers."""

    count: Tensor  # (B,) mel frames counted so far
    first: Tensor  # (B, C) sum of x - prior mean
    second: Tensor  # (B, C) sum of (x - prior mean) squared

    @staticmethod
    def init(streams: int, num_mel_bins: int, device: torch.device | str = "cpu") -> FeatureStats:
        """Of ``streams`` streams that have heard nothing."""
        zeros = torch.zeros(streams, num_mel_bins, dtype=torch.float32, device=device)
        return FeatureStats(zeros[:, 0].clone(), zeros.clone(), zeros.clone())

    def select(self, rows: Tensor | slice) -> FeatureStats:
        """Those of ``rows`` (indices (R,))."""
        return FeatureStats(self.count[rows], self.first[rows], self.second[rows])

    def assign(self, rows: Tensor | slice, stats: FeatureStats) -> None:
        """Write ``stats`` (one row each of ``rows``) back in place."""
        self.count[rows] = stats.count
        self.first[rows] = stats.first
        self.second[rows] = stats.second

    def reset(self, rows: Tensor) -> None:
        """Make ``rows`` (indices (R,) or mask (B,)) new."""
        for tensor in (self.count, self.first, self.second):
            tensor[rows] = 0.0


class FeatureExtractor(nn.Module):
    """Waveforms to normalised, stacked encoder input (B, T, F), under any of the four policies."""

    prior_mean: Tensor
    prior_variance: Tensor

    def __init__(self, config: FeatureConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.num_mel_bins, dtype)
        mean = config.mean or speech_prior(SPEECH_MEAN, config.num_mel_bins)
        variance = config.variance or speech_prior(SPEECH_VARIANCE, config.num_mel_bins)
        self.register_buffer("prior_mean", torch.as_tensor(mean, dtype=dtype), persistent=False)
        self.register_buffer(
            "prior_variance", torch.as_tensor(variance, dtype=dtype), persistent=False
        )

    def forward(
        self, samples_BS: Tensor, lengths_B: Tensor, chunk_frames: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Whole utterances (B, S), right-padded, to features (B, T, F) and valid frames (B,).

        Under ``running`` the statistics grow chunk by chunk (``chunk_frames``, default the
        checkpoint's), exactly as they do when streamed.
        """
        mel_BMC = self.log_mel(samples_BS)
        mel_lengths_B = mel_lengths(lengths_B)
        normalized = self.normalize(mel_BMC, mel_lengths_B, chunk_frames)
        return stack(normalized, self.config.stride), mel_lengths_B // self.config.stride

    def normalize(
        self, mel_BMC: Tensor, lengths_B: Tensor, chunk_frames: int | None = None
    ) -> Tensor:
        """Normalise whole utterances of log-mels; the first ``lengths_B`` mel frames are valid."""
        match self.config.normalization:
            case "utterance" | "window":
                return normalize_utterance(mel_BMC, lengths_B)
            case "global":
                return (mel_BMC - self.prior_mean) * (self.prior_variance + VARIANCE_FLOOR).rsqrt()
            case "running":
                stats = FeatureStats.init(mel_BMC.shape[0], mel_BMC.shape[2], mel_BMC.device)
                frames = chunk_frames or self.config.chunk_frames
                return self._normalize_chunks(mel_BMC, lengths_B, frames, stats)[0]

    def _normalize_chunks(
        self, mel_BMC: Tensor, lengths_B: Tensor, chunk_frames: int, stats: FeatureStats
    ) -> tuple[Tensor, FeatureStats]:
        """``running``: each chunk by the statistics that it is the last one to enter."""
        step = chunk_frames * self.config.stride
        chunks = []
        for start in range(0, mel_BMC.shape[1], step):
            chunk = mel_BMC[:, start : start + step]
            stats = self.update(stats, chunk, torch.zeros_like(lengths_B), lengths_B - start)
            chunks.append(self.standardize(stats, chunk))
        return torch.cat(chunks, dim=1) if chunks else mel_BMC, stats

    def update(
        self, stats: FeatureStats, mel_BMC: Tensor, start_B: Tensor, end_B: Tensor
    ) -> FeatureStats:
        """Statistics after mel frames ``start_B`` to ``end_B``; digital silence does not count."""
        index = torch.arange(mel_BMC.shape[1], device=mel_BMC.device)
        inside = (index >= start_B[:, None]) & (index < end_B[:, None])
        counted = inside & (mel_BMC.amax(dim=-1) > SILENCE_LOG_MEL)
        centred = torch.where(counted[..., None], mel_BMC - self.prior_mean, 0.0)
        count = stats.count + counted.sum(dim=1)
        first = stats.first + centred.sum(dim=1)
        second = stats.second + centred.square().sum(dim=1)
        keep = (self.config.memory_mel_frames / count.clamp(min=1.0)).clamp(max=1.0)
        return FeatureStats(count * keep, first * keep[:, None], second * keep[:, None])

    def standardize(self, stats: FeatureStats, mel_BMC: Tensor) -> Tensor:
        """Log-mels (B, M, C) normalised by the prior smoothed with ``stats``."""
        prior = self.config.prior_mel_frames
        weight = (prior + stats.count)[:, None]
        shift = stats.first / weight
        variance = (prior * self.prior_variance + stats.second) / weight - shift.square()
        scale = (variance.clamp_min(0.0) + VARIANCE_FLOOR).rsqrt()
        return (mel_BMC - (self.prior_mean + shift)[:, None]) * scale[:, None]

    def chunks(
        self, samples_BS: Tensor, valid_B: Tensor, chunk_frames: int, stats: FeatureStats
    ) -> tuple[Tensor, FeatureStats]:
        """Several chunks in a row, (B, S), as one call of ``chunk`` for each of them would."""
        mel_BMC, lengths_B = self.log_mel(samples_BS), valid_B * self.config.stride
        if self.config.normalization == "running":
            mel_BMC, stats = self._normalize_chunks(mel_BMC, lengths_B, chunk_frames, stats)
        else:
            mel_BMC = self.normalize(mel_BMC, lengths_B)
        return stack(mel_BMC, self.config.stride), stats

    def chunk(
        self,
        samples_BS: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        left_B: Tensor,
        stats: FeatureStats,
    ) -> tuple[Tensor, FeatureStats]:
        """Windows (B, S) of left | chunk | right frames to features (B, T, F) and new statistics.

        ``left_B`` frames precede the ``committed_B`` frames of the chunk, ``valid_B`` counts all
        valid frames. Only committed frames enter the statistics, and they do so before the window
        is normalised.
        """
        mel_BMC = self.log_mel(samples_BS)
        stride = self.config.stride
        if self.config.normalization == "running":
            first = left_B * stride
            stats = self.update(stats, mel_BMC, first, first + committed_B * stride)
            return stack(self.standardize(stats, mel_BMC), stride), stats
        return stack(self.normalize(mel_BMC, valid_B * stride), stride), stats


def normalize_utterance(mel_BMC: Tensor, lengths_B: Tensor) -> Tensor:
    """Zero mean and unit variance (ddof 1) per bin over the valid frames, as Hugging Face does."""
    index = torch.arange(mel_BMC.shape[1], device=mel_BMC.device)
    valid = (index < lengths_B[:, None])[..., None]
    count = lengths_B.to(mel_BMC.dtype)[:, None, None]
    mean = torch.where(valid, mel_BMC, 0.0).sum(dim=1, keepdim=True) / count.clamp(min=1)
    centred = torch.where(valid, mel_BMC - mean, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)
    return centred * (variance + VARIANCE_FLOOR).rsqrt()


def stack(mel_BMC: Tensor, stride: int) -> Tensor:
    """Join ``stride`` mel frames to one frame: (B, M, C) -> (B, M // stride, C * stride)."""
    streams, mel_frames, bins = mel_BMC.shape
    frames = mel_frames // stride
    return mel_BMC[:, : frames * stride].reshape(streams, frames, bins * stride)


def with_normalization(config: FeatureConfig, normalization: Normalization) -> FeatureConfig:
    """The same features under another policy."""
    return replace(config, normalization=normalization)
