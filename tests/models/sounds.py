"""Random sounds that are a little like speech."""

import numpy as np
import torch


def waveform(samples, seed):
    """A tone that wanders and swells, float32 (S,) in [-0.3, 0.3]."""
    rng = np.random.default_rng(seed)
    tone = np.sin(np.cumsum(rng.normal(0.3, 0.2, samples)))
    level = np.abs(np.sin(np.arange(samples) / 4000.0)) * 0.3
    return torch.from_numpy((tone * level).astype(np.float32))


def speechlike(samples, seed=0, streams=None):
    """Noise whose level and colour change over time, float32 (S,) or (B, S) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    shape = (samples,) if streams is None else (streams, samples)
    noise = np.cumsum(rng.normal(0, 0.02, shape), axis=-1) % 0.5 - 0.25
    level = np.abs(np.sin(np.arange(samples) / 3000.0 + seed)) ** 2
    return torch.from_numpy((noise * level).astype(np.float32))
