"""Rooms, noises, microphones and speeds: what real audio does to speech, on whole batches at once.

Owns the random distortions of training. Rooms, equalisers and band limits are one multiplication
in the frequency domain. Knows nothing of models or files beyond the noise and room recordings it
is given.

Shapes: B clip, S sample, K frequency bin, M mel frame, C mel bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.mel import hertz_to_mel, mel_edges, mel_to_hertz
from models.training.data import SAMPLE_RATE, read_audio

ROOM_SAMPLES = int(0.7 * SAMPLE_RATE)
MAX_LEAD_SAMPLES = int(0.4 * SAMPLE_RATE)
LONG_LEAD_SHARE = 0.1  # of the batches begin with up to four times as much
EQUALISER_BANDS = 8
WARP_KNEE_HZ = 4800.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often and how hard.

    Shares are probabilities per clip (speed and codec: per batch).
    """

    room: float = 0.15
    noise: float = 0.3
    equalizer: float = 0.5
    band_limit: float = 0.08
    codec: float = 0.04
    speed: tuple[float, float] = (0.87, 1.15)
    warp: tuple[float, float] = (0.84, 1.19)
    snr_db: tuple[float, float] = (8.0, 30.0)
    level_db: tuple[float, float] = (-38.0, -14.0)
    equalizer_db: float = 6.0
    mel_masks: int = 2
    mel_mask_bins: int = 15
    time_masks: int = 5
    time_mask_share: float = 0.05


GENTLE = Augmentation(
    room=0.0,
    noise=0.0,
    equalizer=0.0,
    band_limit=0.0,
    codec=0.0,
    speed=(1.0, 1.0),
    warp=(1.0, 1.0),
    snr_db=(30.0, 40.0),
    mel_masks=0,
    time_masks=0,
)


class Augmenter:
    """Applies an Augmentation with recordings of noise and rooms, and a generator of its own."""

    def __init__(
        self, settings: Augmentation, noises: list[Tensor], rooms: list[Tensor], seed: int
    ) -> None:
        self.settings = settings
        self.random = torch.Generator().manual_seed(seed)
        hiss = torch.randn(SAMPLE_RATE * 60, generator=self.random)
        self.noise = torch.cat(noises) if noises else hiss
        self.rooms = torch.stack(rooms) if rooms else torch.eye(1, ROOM_SAMPLES)

    def waveforms(self, audio_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Clips as int16 (B, S) to distorted float32 in [-1, 1], longer at both ends; lengths."""
        x = audio_BS.float() / 32768.0
        speed = self._uniform(1, *self.settings.speed).item()
        x = F.interpolate(
            x[:, None], scale_factor=1.0 / speed, mode="linear", recompute_scale_factor=False
        )[:, 0]
        lengths = (lengths_B / speed).long().clamp(max=x.shape[1])
        longest = MAX_LEAD_SAMPLES * (4 if self._chance(1, LONG_LEAD_SHARE).item() else 1)
        lead = int(self._uniform(1, 0, longest).item())
        tail = int(self._uniform(1, SAMPLE_RATE // 20, SAMPLE_RATE // 2).item())
        x = F.pad(x, (lead, tail))
        x = self._filter(x)
        x = self._level(self._add_noise(x))
        if self._chance(1, self.settings.codec).item():
            x = mu_law(x)
        return x, lengths + lead + tail

    def warp(self, mel_BMC: Tensor) -> Tensor:
        """Other vocal tracts (Jaitly and Hinton 2013): the frequencies of log-mels, stretched."""
        streams, frames, bins = mel_BMC.shape
        place = warped_bins(bins, self._uniform(streams, *self.settings.warp))  # (B, C)
        lower = place.long().clamp(max=bins - 2)
        share = (place - lower)[:, None]
        lower = lower[:, None].expand(streams, frames, bins)
        warped: Tensor = mel_BMC.gather(2, lower).lerp(mel_BMC.gather(2, lower + 1), share)
        return warped

    def mels(self, mel_BMC: Tensor, lengths_B: Tensor) -> Tensor:
        """SpecAugment (Park et al.

        2019) on normalised mels: random bands and spans set to the mean, 0.
        """
        streams, frames, bins = mel_BMC.shape
        keep = torch.ones(streams, frames, bins, dtype=torch.bool)
        for _ in range(self.settings.mel_masks):
            keep &= ~self._spans(
                streams, bins, torch.full((streams,), self.settings.mel_mask_bins)
            )[:, None]
        for _ in range(self.settings.time_masks):
            longest = (lengths_B * self.settings.time_mask_share).long()
            keep &= ~self._spans(streams, frames, longest)[:, :, None]
        return mel_BMC * keep

    def _filter(self, x: Tensor) -> Tensor:
        """One filter per clip: a room, an equaliser curve, a telephone band, each by its chance."""
        settings, streams = self.settings, x.shape[0]
        size = _fast_length(x.shape[1] + ROOM_SAMPLES)
        room = torch.randint(len(self.rooms), (streams,), generator=self.random)
        impulse = self.rooms[room] * self._chance(streams, settings.room)[:, None]
        wet = self._uniform(streams, 0.3, 1.0)[:, None]
        impulse = impulse * wet
        impulse[:, 0] = 1.0
        response = torch.fft.rfft(impulse, n=size) * self._curve(streams, size // 2 + 1)
        filtered: Tensor = torch.fft.irfft(torch.fft.rfft(x, n=size) * response, n=size)
        return filtered[:, : x.shape[1]]

    def _curve(self, streams: int, bins: int) -> Tensor:
        """Gain per frequency (B, K): a smooth random equaliser and now and then a band limit."""
        settings = self.settings
        knots = self._uniform(
            streams * EQUALISER_BANDS, -settings.equalizer_db, settings.equalizer_db
        )
        knots = (
            knots.view(streams, 1, EQUALISER_BANDS)
            * self._chance(streams, settings.equalizer)[:, None, None]
        )
        decibels = F.interpolate(knots, size=512, mode="linear", align_corners=True)[:, 0]
        warped = (torch.linspace(0, 1, bins).sqrt() * 511).long()  # more detail at low frequencies
        gain = 10 ** (decibels[:, warped] / 20)
        hertz = torch.linspace(0, SAMPLE_RATE / 2, bins)
        low, high = (
            self._uniform(streams, 60, 320)[:, None],
            self._uniform(streams, 3200, 7000)[:, None],
        )
        inside = (hertz > low) & (hertz < high)
        return torch.where(
            self._chance(streams, settings.band_limit)[:, None] & ~inside, gain * 0.01, gain
        )

    def _add_noise(self, x: Tensor) -> Tensor:
        streams, samples = x.shape
        start = torch.randint(max(1, len(self.noise) - samples), (streams,), generator=self.random)
        noise = self.noise[start[:, None] + torch.arange(samples)]
        noise = noise / noise.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-5)
        loudness = x.square().mean(dim=1, keepdim=True).sqrt()
        snr_db = self._uniform(streams, *self.settings.snr_db)
        snr_db = torch.where(self._chance(streams, self.settings.noise), snr_db, snr_db + 30.0)
        return x + noise * loudness * 10 ** (-snr_db[:, None] / 20)

    def _level(self, x: Tensor) -> Tensor:
        loudness = x.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
        level_db = self._uniform(x.shape[0], *self.settings.level_db)[:, None]
        return (x / loudness * 10 ** (level_db / 20)).clamp(-1.0, 1.0)

    def _spans(self, rows: int, size: int, longest: Tensor) -> Tensor:
        """One random span of up to ``longest[b]`` positions in each row, (B, size) bool."""
        width = self._uniform(rows, 0.0, 1.0) * longest
        start = self._uniform(rows, 0.0, 1.0) * (size - width)
        index = torch.arange(size)
        return (index >= start[:, None]) & (index < (start + width)[:, None])

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        return torch.rand(count, generator=self.random) * (high - low) + low

    def _chance(self, count: int, share: float) -> Tensor:
        return torch.rand(count, generator=self.random) < share


def warped_bins(bins: int, stretch_B: Tensor) -> Tensor:
    """The place (B, C), in bins, whose loudness each mel bin takes over.

    Frequencies are multiplied by ``stretch_B`` up to WARP_KNEE_HZ, or to where that ends up there;
    above, what is left runs linearly to half the sample rate.
    """
    edges = mel_edges(bins)
    hertz, stretch = mel_to_hertz(edges[1:-1]), stretch_B.double().numpy()[:, None]
    knee, top = WARP_KNEE_HZ / stretch.clip(min=1.0), SAMPLE_RATE / 2
    above = stretch * knee + (hertz - knee) * (top - stretch * knee) / (top - knee)
    warped = hertz_to_mel(np.where(hertz < knee, hertz * stretch, above))
    place = (warped - edges[0]) / (edges[1] - edges[0]) - 1.0
    return torch.from_numpy(place.clip(0.0, bins - 1.0)).float()


def mu_law(x: Tensor) -> Tensor:
    """Through the telephone's 8-bit companding and back: the smooth curve behind G.711."""
    companded = x.sign() * torch.log1p(255.0 * x.abs()) / torch.log(torch.tensor(256.0))
    coarse = (companded * 127).round() / 127
    return coarse.sign() * ((256.0 ** coarse.abs()) - 1) / 255.0


def _fast_length(samples: int) -> int:
    """The next multiple of 4096: lengths that recur let the FFT keep its plans."""
    return -(-samples // 4096) * 4096


def load_recordings(folder: Path, leave_out: tuple[str, ...] = ()) -> list[Tensor]:
    """Every sound file of ``folder`` as float32 (S,) in [-1, 1].

    Those whose names start with any of ``leave_out`` stay outside, for tests.
    """
    return [
        torch.from_numpy(read_audio(path)).float() / 32768.0
        for path in sorted(folder.glob("*.flac"))
        if not path.name.startswith(leave_out)
    ]


def prepare_room(recording: Tensor) -> Tensor:
    """An impulse response (ROOM_SAMPLES,) that starts at its direct sound, which has height 1."""
    peak = int(recording.abs().argmax())
    response = recording[peak : peak + ROOM_SAMPLES] / recording[peak]
    return F.pad(response, (0, ROOM_SAMPLES - len(response)))
