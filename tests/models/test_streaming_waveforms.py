"""Streamed waveforms, in cache mode and in window mode, equal one pass over the whole."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from models.features import stack
from models.mel import LogMel
from models.state import state_bytes
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, acoustic, hugging_face
from tests.models.scripts import ADAPTER
from tests.models.sounds import waveform
from tests.models.views import encode, random_plan

pytestmark = pytest.mark.usefixtures("one_thread")


def pad_to(samples, size):
    return torch.nn.functional.pad(samples, (0, size - len(samples)))


@pytest.mark.parametrize("normalization", ["running", "utterance", "global"])
@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@torch.inference_mode()
def test_streamed_waveforms_equal_the_whole(normalization, adapter):
    model = acoustic(seed=18, **adapter)
    if normalization != "running":
        model = with_policy(model, normalization)
    hop, chunk, left = model.hop_samples, 6, 12
    rng = np.random.default_rng(19)
    lengths = rng.integers(1, hop * 70, 25).tolist()
    waves = [waveform(length, seed) for seed, length in enumerate(lengths)]
    totals = [-(-length // hop) for length in lengths]
    state = model.init_state(len(waves), left, chunk, right=0, cached=True)
    done, parts = [0] * len(waves), [[] for _ in waves]
    while pending := [row for row, total in enumerate(totals) if done[row] < total]:
        rows = rng.permutation(pending)[: rng.integers(1, len(pending) + 1)].tolist()
        batch = [waves[row][done[row] * hop :][: hop * chunk + 240] for row in rows]
        counts = [min(chunk, totals[row] - done[row]) for row in rows]
        log_probs, state = model.forward_chunk(
            torch.stack([pad_to(piece, hop * chunk + 240) for piece in batch]),
            torch.tensor(rows),
            torch.tensor(counts),
            torch.tensor(counts),
            state,
        )
        for row, frames, count in zip(rows, log_probs, counts, strict=True):
            parts[row].append(frames[:count])
            done[row] += count
    chunking = Chunking(left * model.stride, chunk * model.stride)
    for wave, total, streamed in zip(waves, totals, parts, strict=True):
        whole = pad_to(wave, total * hop + 240)[None]
        expected, frames = model(whole, torch.tensor([whole.shape[1]]), chunking)
        assert frames.item() == total
        assert (torch.cat(streamed) - expected[0]).abs().max() <= 1e-4


def with_policy(model, normalization):
    config = dataclasses.replace(
        model.features.config,
        normalization=normalization,
        mean=(3.0,) * 10,
        variance=(9.0,) * 10,
    )
    return type(model)("tiny", model.model, config, model.vocabulary).eval()


@torch.inference_mode()
def test_thirty_minutes_through_one_slot_neither_drift_nor_grow():
    """The last minute equals a pass over the last two; features run over all of it."""
    model = acoustic(seed=20, num_hidden_layers=1, hidden_size=16, intermediate_size=16)
    chunk, left, hop = 60, 30, 320
    minute = waveform(60 * 16_000, 21)
    level = torch.linspace(0.2, 1.0, 30)
    samples = pad_to((level[:, None] * minute).flatten(), 30 * 60 * 16_000 + 240)
    frames, ones = torch.tensor([chunk]), torch.tensor([1])
    state = model.init_state(2, left, chunk, right=0, cached=True)
    size, streamed = state_bytes(state), []
    for begin in range(0, 30 * 60 * 50, chunk):
        piece = samples[None, begin * hop : (begin + chunk) * hop + 240]
        log_probs, state = model.forward_chunk(piece, ones, frames, frames, state)
        streamed.append(log_probs[0])
    assert state_bytes(state) == size
    chunking, tail = Chunking(left, chunk), 2 * 60 * 50
    extract = model.causal_features
    minutes = [samples[None, m * 960_000 :][:, : 960_000 + 240] for m in range(30)]
    mel = torch.cat([extract.log_mel(minute) for minute in minutes], dim=1)
    features = stack(extract.normalize(mel, torch.tensor([mel.shape[1]]), chunk), 2)
    assert features.shape[1] == 30 * 60 * 50
    logits, _ = model.model(features[:, -tail:], torch.tensor([tail]), chunking)
    expected = logits[0].log_softmax(dim=-1)[tail // 2 :]
    assert (torch.cat(streamed)[-len(expected) :] - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("normalization", ["running", "utterance", "global"])
@torch.inference_mode()
def test_lookahead_from_waveforms_equals_the_reference(normalization):
    """Lookahead frames are normalised by what was committed and leave nothing behind."""
    model = with_policy(acoustic(seed=22), normalization)
    chunking, hop = Chunking(16, 8, 4), 320
    wave = waveform(hop * 100, 23)
    steps = random_plan(0, 100, 8, 4, np.random.default_rng(24))
    windows = [pad_to(wave[s.begin * hop :][: s.valid * hop + 240], 12 * hop + 240) for s in steps]
    state, zero = model.init_state(1, 16, 8, 4, cached=True), torch.tensor([0])
    answers = []
    for step, window in zip(steps, windows, strict=True):
        counts = torch.tensor([step.committed]), torch.tensor([step.valid])
        log_probs, state = model.forward_chunk(window[None], zero, *counts, state)
        answers.append(log_probs[0])
    features = normalised_by_hand(model.causal_features, windows, steps, [0] * len(steps))
    expected = encode(model.model, features, steps, chunking).log_softmax(dim=-1)
    for step, answer, frames in zip(steps, answers, expected, strict=True):
        assert (answer - frames)[: step.valid].abs().max() <= 1e-4


def normalised_by_hand(extract, windows, steps, lefts):
    """Features of each window, by the mean and variance of all that was committed by then."""
    config, heard, features = extract.config, [], []
    mean, variance = extract.prior_mean, extract.prior_variance
    for window, step, left in zip(windows, steps, lefts, strict=True):
        mel = LogMel(config.num_mel_bins)(window[None])[0]
        heard.append(mel[2 * left :][: 2 * step.committed])
        if config.normalization == "running":
            seen, prior = torch.cat(heard), config.prior_mel_frames
            weight = prior + len(seen)
            mean = (prior * extract.prior_mean + seen.sum(dim=0)) / weight
            second = prior * (extract.prior_variance + extract.prior_mean**2)
            variance = (second + seen.square().sum(dim=0)) / weight - mean**2
        features.append(stack(((mel - mean) / variance.sqrt())[None], 2)[0])
    return torch.stack(features)


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_frames_of_a_window_equal_transformers_on_its_samples(position, adapter):
    reference = hugging_face(seed=25, position_embeddings_type=position, **adapter)
    model = with_policy(acoustic(position_embeddings_type=position, **adapter), "utterance")
    model.model.load_state_dict(reference.state_dict(), strict=False)
    extract = SeamlessM4TFeatureExtractor(num_mel_bins=10)
    rng, hop, total = np.random.default_rng(26), model.hop_samples, 40 + 8 + 4
    lefts, chunks, rights = rng.integers(0, 41, 20), rng.integers(1, 9, 20), rng.integers(0, 5, 20)
    counts = lefts + chunks + rights
    pieces = [waveform(hop * int(count) + 240, seed) for seed, count in enumerate(counts)]
    state = model.init_state(20, 40, 8, 4, cached=False)
    log_probs, after = model.forward_window(
        torch.stack([pad_to(piece, hop * total + 240) for piece in pieces]),
        torch.from_numpy(rng.permutation(20)),
        *map(torch.from_numpy, (lefts, chunks, counts)),
        state,
    )
    assert after.encoder is None
    for piece, frames, count in zip(pieces, log_probs, counts, strict=True):
        inputs = extract(piece.numpy(), sampling_rate=16_000, return_tensors="pt")
        expected = reference(inputs.input_features).logits[0].log_softmax(dim=-1)
        assert len(expected) == count
        assert (frames[:count] - expected).abs().max() <= 1e-3


@torch.inference_mode()
def test_windows_are_normalised_by_all_chunks_so_far():
    """Under `running`, neither left context nor lookahead is counted, however often it is seen."""
    model, hop = acoustic(seed=27), 320
    wave = waveform(hop * 100, 28)
    steps = random_plan(0, 100, 8, 4, np.random.default_rng(29))
    lefts = [min(16, step.begin) for step in steps]
    windows = [
        pad_to(wave[(s.begin - left) * hop :][: (left + s.valid) * hop + 240], 28 * hop + 240)
        for s, left in zip(steps, lefts, strict=True)
    ]
    features = normalised_by_hand(model.features, windows, steps, lefts)
    state, zero = model.init_state(1, 16, 8, 4, cached=False), torch.tensor([0])
    for step, left, window, frames in zip(steps, lefts, windows, features, strict=True):
        counts = [torch.tensor([n]) for n in (left, step.committed, left + step.valid)]
        log_probs, state = model.forward_window(window[None], zero, *counts, state)
        logits, _ = model.model(frames[None], counts[-1])
        expected = logits.log_softmax(dim=-1)
        assert (log_probs - expected)[0, : left + step.valid].abs().max() <= 1e-4
