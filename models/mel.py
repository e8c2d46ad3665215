"""Kaldi log-mel energies: windows of 25 ms every 10 ms through a bank of triangles.

Owns the numbers of the filter bank, which must match ``transformers.SeamlessM4TFeatureExtractor``
(tests/models/test_mel.py holds it to that). Must not know: normalisation, stacking, streams.

Shapes: B stream, S sample, M mel frame (10 ms), C mel bin.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SAMPLE_RATE = 16_000
MEL_HOP_SAMPLES = 160  # 10 ms
MEL_WINDOW_SAMPLES = 400  # 25 ms
FFT_SAMPLES = 512
LOWEST_HZ = 20.0  # where the first triangle begins; the last one ends at half the sample rate
PREEMPHASIS = 0.97
MEL_FLOOR = 1.192092955078125e-07  # Kaldi's float32 epsilon


def num_mel_frames(samples: int) -> int:
    """Whole 25 ms windows in ``samples``, 10 ms apart (Kaldi's snip_edges)."""
    return max(0, 1 + (samples - MEL_WINDOW_SAMPLES) // MEL_HOP_SAMPLES)


def mel_lengths(lengths_B: Tensor) -> Tensor:
    """``num_mel_frames`` of each of (B,) lengths in samples."""
    whole = torch.div(lengths_B - MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, rounding_mode="floor")
    return (1 + whole).clamp(min=0)


def povey_window() -> NDArray[np.float64]:
    """Kaldi's default analysis window, shape (400,), float64."""
    return np.asarray(np.hanning(MEL_WINDOW_SAMPLES) ** 0.85)


def hertz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kaldi's mel scale."""
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


def mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ``hertz_to_mel``."""
    return np.asarray(700.0 * np.expm1(mel / 1127.0))


def mel_edges(num_mel_bins: int) -> NDArray[np.float64]:
    """Where the triangles begin, peak and end, in mels, evenly spaced, shape (C + 2,), float64."""
    lowest, highest = hertz_to_mel(np.array([LOWEST_HZ, SAMPLE_RATE / 2]))
    return np.asarray(np.linspace(lowest, highest, num_mel_bins + 2))


def mel_filters(num_mel_bins: int) -> NDArray[np.float64]:
    """Triangles between 20 Hz and 8 kHz on Kaldi's mel scale, shape (257, C), float64.

    Must match ``transformers.audio_utils.mel_filter_bank`` with ``mel_scale="kaldi"`` and
    ``triangularize_in_mel_space=True``.
    """
    edges = mel_edges(num_mel_bins)
    bins = hertz_to_mel(np.arange(FFT_SAMPLES // 2 + 1) * (SAMPLE_RATE / FFT_SAMPLES))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


class LogMel(nn.Module):
    """Waveforms (B, S) in [-1, 1] to natural-log mel energies (B, M, C).

    Each frame depends on its own 400 samples alone, and no sum runs over a length that depends on
    the batch or the time axis, so any 160-sample-aligned piece gives bit for bit what the whole
    gives.
    """

    window: Tensor
    filter_bins: Tensor
    filter_weights: Tensor

    def __init__(self, num_mel_bins: int = 80, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        filters = mel_filters(num_mel_bins)
        support = int((filters > 0).sum(axis=0).max())
        start = np.minimum((filters > 0).argmax(axis=0), filters.shape[0] - support)
        taps = start[None, :] + np.arange(support)[:, None]  # (support, C): FFT bins per triangle
        weights = np.take_along_axis(filters, taps, axis=0)
        self.register_buffer("window", torch.from_numpy(povey_window()).to(dtype), persistent=False)
        self.register_buffer("filter_bins", torch.from_numpy(taps), persistent=False)
        self.register_buffer(
            "filter_weights", torch.from_numpy(weights).to(dtype), persistent=False
        )

    def forward(self, samples_BS: Tensor) -> Tensor:
        """(B, S) -> (B, M, C) with M = num_mel_frames(S)."""
        if not num_mel_frames(samples_BS.shape[-1]):
            return self.window.new_zeros(samples_BS.shape[0], 0, self.filter_bins.shape[1])
        scaled = samples_BS.to(self.window.dtype) * 2.0**15
        frames = scaled.unfold(-1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)  # (B, M, 400)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - PREEMPHASIS * previous) * self.window
        spectrum = torch.fft.rfft(frames, n=FFT_SAMPLES)
        power = spectrum.real.square() + spectrum.imag.square()  # (B, M, 257)
        energy = power.new_zeros(*power.shape[:-1], self.filter_bins.shape[1])
        for bins, weights in zip(self.filter_bins, self.filter_weights, strict=True):
            energy = torch.addcmul(energy, power[..., bins], weights)
        log_energy: Tensor = energy.clamp_min(MEL_FLOOR).log()
        return log_energy
