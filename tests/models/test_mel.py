"""Log-mel energies against `transformers.SeamlessM4TFeatureExtractor`, and pieces = whole."""

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from models.mel import MEL_FLOOR, LogMel, num_mel_frames
from tests.models.sounds import speechlike

pytestmark = pytest.mark.usefixtures("one_thread")

BINS = 10


def transformers_mel(samples, bins):
    reference = SeamlessM4TFeatureExtractor(num_mel_bins=bins)
    return torch.from_numpy(reference._extract_fbank_features(samples.numpy()))


@pytest.mark.parametrize("bins", [80, 40, 23])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-3)])
def test_log_mels_equal_those_of_transformers(bins, dtype, tolerance):
    samples = speechlike(48_077)
    samples[20_000:24_000] = 0.0
    mel = LogMel(bins, dtype)(samples[None])[0]
    expected = transformers_mel(samples, bins)
    assert mel.shape == expected.shape
    assert (mel - expected).abs().max() <= tolerance


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 559, 560, 719, 720, 16_000])
def test_a_mel_frame_needs_25_ms_and_comes_every_10_ms(samples):
    mel = LogMel(BINS)(speechlike(samples, streams=2))
    expected = len(range(0, samples - 399, 160))
    assert mel.shape == (2, expected, BINS)
    assert num_mel_frames(samples) == expected


def test_digital_silence_is_the_floor_in_every_bin():
    mel = LogMel(80)(torch.zeros(1, 4000))
    assert torch.equal(mel, torch.full_like(mel, MEL_FLOOR).log())


def test_mels_in_pieces_and_batches_equal_the_whole_bit_for_bit():
    log_mel, rng = LogMel(80), np.random.default_rng(1)
    whole = speechlike(80_000, streams=3, seed=2)
    expected = log_mel(whole)
    for _ in range(60):
        row, batch = rng.integers(3), rng.integers(1, 6)
        begin = rng.integers(0, 450)
        frames = rng.integers(1, min(60, expected.shape[1] - begin) + 1)
        piece = whole[row, begin * 160 :][: frames * 160 + 240]
        company = speechlike(len(piece), streams=batch, seed=int(begin))
        company[rng.integers(batch)] = piece
        rows = (company == piece).all(dim=1)
        mel = log_mel(company)[rows]
        assert torch.equal(mel[0], expected[row, begin : begin + frames])


def test_mels_with_carried_samples_equal_the_whole_bit_for_bit():
    """Packets of any size; only the last whole hops' samples are kept between them."""
    log_mel, rng = LogMel(80), np.random.default_rng(3)
    whole = speechlike(50_000, seed=4)
    for _ in range(10):
        carried, parts, at = whole[:0], [], 0
        while at < len(whole):
            size = int(rng.choice([1, 37, 160, 1000, 9999]))
            carried = torch.cat([carried, whole[at : at + size]])
            at += size
            parts.append(log_mel(carried[None])[0])
            carried = carried[160 * len(parts[-1]) :]
        assert torch.equal(torch.cat(parts), log_mel(whole[None])[0])
