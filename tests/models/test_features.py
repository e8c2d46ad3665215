"""Log-mel features against `transformers.SeamlessM4TFeatureExtractor`, and streamed = whole."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from models.features import FeatureConfig, FeatureExtractor, FeatureStats, stack
from models.mel import MEL_FLOOR, LogMel, num_mel_frames
from tests.models.sounds import speechlike

pytestmark = pytest.mark.usefixtures("one_thread")

POLICIES = ["utterance", "window", "running", "global"]
BINS, MEAN, VARIANCE = 10, tuple(range(5, 15)), (4.0,) * 10


def extractor(policy, bins=BINS, **config):
    prior = {"mean": MEAN, "variance": VARIANCE} if policy == "global" else {}
    return FeatureExtractor(
        FeatureConfig(num_mel_bins=bins, normalization=policy, **{**prior, **config})
    )


def lengths_of(*samples):
    return torch.tensor(samples)


# --- normalised and stacked ---


@pytest.mark.parametrize("bins", [80, 23])
@pytest.mark.parametrize("samples", [16_000, 16_080, 16_160, 16_239, 16_240, 560, 800])
def test_utterance_features_equal_those_of_transformers(bins, samples):
    waveform = speechlike(samples, seed=5)
    reference = SeamlessM4TFeatureExtractor(num_mel_bins=bins)
    expected = reference(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    valid = int(expected.attention_mask.sum())
    features, frames = extractor("utterance", bins)(waveform[None], lengths_of(samples))
    assert features.shape[1] == frames == valid
    assert (features - expected.input_features[:, :valid]).abs().max() <= 1e-3


def test_a_batch_of_utterances_equals_each_alone():
    samples, lengths = speechlike(20_000, streams=5), [20_000, 12_345, 5_000, 560, 300]
    for policy in POLICIES:
        extract = extractor(policy)
        features, frames = extract(samples, lengths_of(*lengths), chunk_frames=7)
        for row, length in enumerate(lengths):
            alone, count = extract(samples[row : row + 1, :length], lengths_of(length), 7)
            assert frames[row] == count == num_mel_frames(length) // 2
            assert torch.allclose(features[row, :count], alone[0], atol=1e-5)


def test_stacking_joins_neighbours_and_drops_the_remainder():
    mel = torch.arange(7 * 3).reshape(1, 7, 3)
    assert stack(mel, 2).tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [*range(12, 18)]]]
    assert stack(mel, 3).tolist() == [[[*range(9)], [*range(9, 18)]]]
    assert torch.equal(stack(mel, 1), mel)


def test_global_features_use_the_given_statistics():
    samples = speechlike(8_000, seed=6)
    features, _ = extractor("global")(samples[None], lengths_of(8_000))
    mel = LogMel(BINS)(samples[None])
    expected = (mel - torch.tensor(MEAN)) / math.sqrt(VARIANCE[0])
    assert torch.allclose(features, stack(expected, 2), atol=1e-5)


# --- running ---


def running_by_hand(mel, chunk_mel, config, prior_mean, prior_variance):
    """Chunk by chunk in float64: prior and all counted frames so far, as one population."""
    count, first, second = 0.0, 0.0, 0.0
    normalised = []
    for begin in range(0, len(mel), chunk_mel):
        chunk = mel[begin : begin + chunk_mel]
        counted = chunk[chunk.max(axis=1) > math.log(MEL_FLOOR) + 0.5]
        count += len(counted)
        first = first + counted.sum(axis=0)
        second = second + (counted**2).sum(axis=0)
        if count > config.memory_mel_frames:
            first, second = (x * config.memory_mel_frames / count for x in (first, second))
            count = config.memory_mel_frames
        weight = config.prior_mel_frames
        mean = (weight * prior_mean + first) / (weight + count)
        square = (weight * (prior_variance + prior_mean**2) + second) / (weight + count)
        normalised.append((chunk - mean) / np.sqrt(square - mean**2 + 1e-7))
    return np.concatenate(normalised)


@pytest.mark.parametrize(
    "config",
    [{}, {"prior_mel_frames": 1}, {"memory_mel_frames": 30}, {"mean": MEAN, "variance": VARIANCE}],
    ids=str,
)
def test_running_statistics_are_the_prior_and_all_frames_heard(config):
    samples = speechlike(64_000, seed=7)
    samples[:9_000] = samples[30_000:40_000] = 0.0
    extract = extractor("running", **config)
    features, _ = extract(samples[None], lengths_of(64_000), chunk_frames=8)
    mel = LogMel(BINS)(samples[None])[0].double().numpy()
    prior = extract.prior_mean.double().numpy(), extract.prior_variance.double().numpy()
    expected = running_by_hand(mel, 16, extract.config, *prior)
    expected = stack(torch.from_numpy(expected)[None], 2)
    assert (features - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("policy", ["running", "global"])
def test_streamed_features_equal_the_whole_file(policy):
    """Random chunks, left contexts and company; what is not committed is not remembered."""
    rng = np.random.default_rng(8)
    extract = extractor(policy, memory_mel_frames=100)
    for chunk, left, right in [(4, 0, 0), (16, 10, 0), (8, 3, 5), (5, 64, 16)]:
        lengths = rng.integers(1, 16_000 * 4, 12)
        samples = speechlike(int(lengths.max()), streams=12, seed=chunk)
        samples *= torch.arange(samples.shape[1]) < torch.from_numpy(lengths)[:, None]
        for features, whole in stream_features(extract, samples, lengths, chunk, left, right, rng):
            assert features.shape == whole.shape
            assert torch.allclose(features, whole, atol=1e-4)


def stream_features(extract, samples, lengths, chunk, left, right, rng):
    """Each stream's chunk frames, made in windows with random others, and those of its whole."""
    totals = -(-lengths // 320)
    padded = torch.nn.functional.pad(samples, (0, 320 * (chunk + right) + 240))
    stats, done = FeatureStats.init(len(lengths), BINS), np.zeros(len(lengths), int)
    parts = [[] for _ in lengths]
    while (done < totals).any():
        rows = rng.permutation(np.flatnonzero(done < totals))[: rng.integers(1, 13)]
        lefts = np.minimum(done[rows], rng.integers(0, left + 1, len(rows)))
        commits = np.minimum(chunk, totals[rows] - done[rows])
        rights = np.minimum(right, totals[rows] - done[rows] - commits)
        windows = torch.zeros(len(rows), 320 * (left + chunk + right) + 240)
        for window, row, before, ahead in zip(
            windows, rows, lefts, commits + rights + lefts, strict=True
        ):
            begin = 320 * (done[row] - before)
            piece = padded[row, begin : begin + 320 * ahead + 240]
            window[: len(piece)] = piece
        index = torch.from_numpy(rows)
        features, after = extract.chunk(
            windows,
            *map(torch.from_numpy, (commits, commits + rights + lefts, lefts)),
            stats.select(index),
        )
        stats.assign(index, after)
        for row, frames, before, count in zip(rows, features, lefts, commits, strict=True):
            parts[row].append(frames[before : before + count])
            done[row] += count
    for row, total in enumerate(totals):
        span = 320 * int(total) + 240
        whole, _ = extract(padded[row : row + 1, :span], lengths_of(span), chunk)
        yield torch.cat(parts[row]), whole[0]


def test_a_window_is_normalised_as_if_it_were_the_utterance():
    extract = extractor("window")
    samples, stats = speechlike(320 * 20 + 240, streams=2, seed=9), FeatureStats.init(2, BINS)
    frames = torch.tensor([20, 12])
    features, after = extract.chunk(
        samples, torch.tensor([8, 4]), frames, torch.tensor([10, 8]), stats
    )
    for row, count in enumerate(frames.tolist()):
        span = 320 * count + 240
        alone, _ = extractor("utterance")(samples[row : row + 1, :span], lengths_of(span))
        assert torch.allclose(features[row, :count], alone[0], atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(tensors(after), tensors(stats), strict=True))


def test_digital_silence_does_not_count():
    extract, stats = extractor("running"), FeatureStats.init(1, BINS)
    mel = LogMel(BINS)(torch.cat([torch.zeros(8_000), speechlike(4_000)])[None])
    silent = extract.update(stats, mel[:, :40], torch.tensor([0]), torch.tensor([40]))
    assert silent.count.item() == 0
    heard = extract.update(silent, mel[:, 60:70], torch.tensor([0]), torch.tensor([7]))
    assert heard.count.item() == 7


def test_before_anything_is_heard_the_prior_decides():
    extract = extractor("running", mean=MEAN, variance=VARIANCE)
    mel = torch.randn(2, 5, BINS, generator=torch.Generator().manual_seed(12))
    expected = (mel - torch.tensor(MEAN)) / math.sqrt(VARIANCE[0])
    stats = FeatureStats.init(2, BINS)
    assert torch.allclose(extract.standardize(stats, mel), expected, atol=1e-5)


def test_the_past_never_weighs_more_than_its_memory():
    extract = extractor("running", memory_mel_frames=50)
    stats = FeatureStats.init(1, BINS)
    loud = torch.randn(1, 40, BINS, generator=torch.Generator().manual_seed(11)) + 20
    for _ in range(30):
        stats = extract.update(stats, loud, torch.tensor([0]), torch.tensor([40]))
        assert stats.count.item() <= 50.001
    for _ in range(30):
        stats = extract.update(stats, loud - 15, torch.tensor([0]), torch.tensor([40]))
    settled = (50 * (loud - 15).mean(dim=1) + 200 * extract.prior_mean) / 250
    mean = extract.prior_mean + stats.first / 250
    assert torch.allclose(mean, settled, atol=1e-3)


def test_slots_are_selected_assigned_and_reset_alone():
    rng = torch.Generator().manual_seed(10)
    stats = FeatureStats(*(torch.rand(shape, generator=rng) for shape in [(4,), (4, 3), (4, 3)]))
    before = [tensor.clone() for tensor in tensors(stats)]
    stats.assign(torch.tensor([2, 0]), stats.select(torch.tensor([1, 3])))
    stats.reset(torch.tensor([3]))
    for tensor, old in zip(tensors(stats), before, strict=True):
        assert torch.equal(tensor, torch.stack([old[3], old[1], old[1], torch.zeros_like(old[3])]))


def tensors(stats):
    return [getattr(stats, field.name) for field in dataclasses.fields(stats)]


# --- faults ---


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"normalization": "cmvn"}, "normalization: expected one of utterance, window, running"),
        ({"normalization": "global"}, "'global' needs mean and variance"),
        ({"mean": (1.0,) * 79}, "mean: expected 80 values, got 79"),
        ({"variance": (1.0,) * 2}, "variance: expected 80 values, got 2"),
        ({"num_mel_bins": 0}, "num_mel_bins: expected at least 1, got 0"),
        ({"stride": 0}, "stride: expected at least 1, got 0"),
        ({"prior_mel_frames": 0}, "prior_mel_frames: expected at least 1, got 0"),
        ({"memory_mel_frames": -1}, "memory_mel_frames: expected at least 1, got -1"),
        ({"chunk_frames": 0}, "chunk_frames: expected at least 1, got 0"),
    ],
)
def test_impossible_features_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**config)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("samples", [0, 100, 399, 400])
def test_an_utterance_too_short_for_a_frame_has_none(policy, samples):
    features, frames = extractor(policy)(torch.zeros(1, samples), lengths_of(samples))
    assert features.shape == (1, 0, 2 * BINS)
    assert frames.tolist() == [0]
