"""The recipe in small: shards keep what is put in, distortions keep shapes, runs resume exactly."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoint as checkpoints
from models.features import FeatureConfig
from models.training import voices
from models.training.augmentation import (
    GENTLE,
    ROOM_SAMPLES,
    Augmentation,
    Augmenter,
    mu_law,
    prepare_room,
)
from models.training.data import SAMPLE_RATE, Clip, Shard, batches, normalize_text
from models.training.export import export
from models.training.phrases import number, phrase
from models.training.synthesis import cut, is_heldout, read_texts
from models.training.train import MODEL, Example, Preparation, Recipe, Trainer
from models.training.voices import parse_wave

SMALL = replace(
    MODEL, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
)
TEXTS = ("a b", "hello there", "it's", "no")


def shard_of(seconds: tuple[float, ...], seed: int = 0) -> Shard:
    """Clips of noise, each louder than the one before, with TEXTS."""
    rng = np.random.default_rng(seed)
    clips, audio, start = [], [], 0
    for index, duration_s in enumerate(seconds):
        samples = (rng.standard_normal(int(duration_s * SAMPLE_RATE)) * 500 * (index + 1)).astype(
            "<i2"
        )
        clips.append(Clip(f"c{index}", start, len(samples), "voice", TEXTS[index % len(TEXTS)]))
        audio.append(samples)
        start += len(samples)
    return Shard(np.concatenate(audio), clips)


def test_a_shard_is_read_as_it_was_written(tmp_path: Path) -> None:
    shard = shard_of((0.5, 0.7, 0.3))
    path = tmp_path / "one"
    assert not Shard.exists(path)
    shard.save(path)
    loaded = Shard.load(path)
    assert Shard.exists(path)
    assert loaded.clips == shard.clips
    for clip in shard.clips:
        np.testing.assert_array_equal(loaded.samples(clip), shard.samples(clip))


def test_an_epoch_of_batches_holds_every_clip_once_and_padding_is_zero() -> None:
    shard = shard_of(tuple(0.2 + 0.05 * index for index in range(17)))
    endless = batches([shard], batch_s=1.0, max_clip_s=10.0, rng=random.Random(1))
    by_length = {clip.samples: clip for clip in shard.clips}
    seen: list[int] = []
    while len(seen) < len(shard.clips):
        batch = next(endless)
        assert batch.audio.shape == (len(batch.texts), max(batch.lengths))
        for row, length, text in zip(batch.audio, batch.lengths, batch.texts, strict=True):
            clip = by_length[length]
            assert text == clip.text
            np.testing.assert_array_equal(row[:length], shard.samples(clip))
            assert not row[length:].any()
            seen.append(length)
    assert sorted(seen) == sorted(by_length)


def test_held_out_texts_are_never_in_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "\n".join(f"Sentence {chr(97 + n % 26)}x{chr(97 + n // 26)}!" for n in range(600))
    )
    (tmp_path / "a.raw.txt").write_text("never read")
    (train,) = read_texts([tmp_path], heldout=False)
    (heldout,) = read_texts([tmp_path], heldout=True)
    assert heldout
    assert not set(train) & set(heldout)
    assert all(is_heldout(text) for text in heldout)


@pytest.mark.parametrize("words", [1, 16, 17, 33, 100])
def test_cut_loses_no_word_and_makes_no_long_piece(words: int) -> None:
    text = " ".join(f"w{n}" for n in range(words))
    pieces = list(cut(text))
    assert " ".join(pieces) == text
    assert all(1 <= len(piece.split()) <= 16 for piece in pieces)


def test_normal_text_has_only_the_labels() -> None:
    assert normalize_text("  Don't — STOP, 3 times!\n") == "don't stop times"


def test_a_piped_wave_is_read_to_its_end_whatever_its_header_says() -> None:
    body = np.arange(100, dtype="<i2").tobytes()
    wave = b"RIFF\xff\xff\xff\xffWAVEfmt " + (16).to_bytes(4, "little") + bytes(4)
    wave += (22050).to_bytes(4, "little") + bytes(8) + b"data\xff\xff\xff\x7f" + body + b"\x01"
    samples, rate = parse_wave(wave)
    assert rate == 22050
    np.testing.assert_array_equal(samples, np.arange(100))


def test_distorted_clips_are_finite_in_range_and_as_long_as_told() -> None:
    rooms = [prepare_room(torch.randn(5000).cumsum(0))]
    always = Augmentation(room=1.0, noise=1.0, equalizer=1.0, band_limit=1.0, codec=1.0)
    for seed in range(8):
        augmenter = Augmenter(always, [torch.randn(80_000)], rooms, seed)
        audio = (torch.randn(3, 16_000) * 3000).short()
        lengths = torch.tensor([16_000, 12_000, 500])
        x, new = augmenter.waveforms(audio, lengths)
        assert torch.isfinite(x).all()
        assert x.abs().max() <= 1.0
        assert (new > 0).all()
        assert (new <= x.shape[1]).all()


def test_a_room_starts_at_its_direct_sound() -> None:
    recording = torch.zeros(3000)
    recording[700], recording[900] = -0.5, 0.25
    room = prepare_room(recording)
    assert room.shape == (ROOM_SAMPLES,)
    assert room[0] == 1.0
    assert room[200] == -0.5


def test_mu_law_is_close_and_coarse() -> None:
    x = torch.linspace(-1, 1, 4001)
    assert (mu_law(x) - x).abs().max() < 0.03
    assert len(mu_law(x).unique()) <= 255


def examples_of(recipe: Recipe) -> list[Example]:
    prepare = Preparation(recipe, FeatureConfig(), seed=3)
    endless = batches([shard_of((0.9, 1.0, 1.1, 1.2))], 10.0, 10.0, random.Random(2))
    gentle = Augmenter(GENTLE, [], [], 4)
    return [prepare(next(endless), gentle) for _ in range(6)]


def test_training_learns_and_resumes_exactly(tmp_path: Path) -> None:
    recipe = Recipe(warmup_h=1e-6, exposure_h=100.0)
    examples = examples_of(recipe)
    torch.manual_seed(1)
    whole = Trainer(recipe, SMALL)
    losses = [whole.step(examples[index % 6]) for index in range(36)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])

    torch.manual_seed(1)
    first = Trainer(recipe, SMALL)
    for index in range(18):
        first.step(examples[index % 6])
    first.save(tmp_path)
    torch.manual_seed(99)
    second = Trainer(recipe, SMALL)
    second.resume(tmp_path)
    assert second.progress == first.progress
    resumed = [second.step(examples[index % 6]) for index in range(18, 36)]
    assert resumed == losses[18:]
    for name, master in whole.masters.items():
        assert torch.equal(master, second.masters[name]), name


def test_an_exported_run_loads_and_says_its_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.export.MODEL", SMALL)
    trainer = Trainer(Recipe(), SMALL)
    trainer.save(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model")
    loaded = checkpoints.load(str(tmp_path / "model"))
    assert loaded.features.config.normalization == "running"
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, trainer.average[name].bfloat16().float()), name


def test_the_schedule_warms_up_holds_and_ends_small() -> None:
    recipe = Recipe()
    assert recipe.rate(0.0) < 0.05
    assert recipe.rate(recipe.warmup_h) == 1.0
    assert recipe.rate(recipe.exposure_h * (1 - recipe.decay_share)) == pytest.approx(1.0)
    assert recipe.rate(recipe.exposure_h) == 0.01
    assert recipe.humans(recipe.human_from_h) == 0.0
    assert recipe.humans(2 * recipe.human_from_h) == recipe.human_share


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (40, "forty"),
        (99, "ninety nine"),
        (300, "three hundred"),
        (1207, "one thousand two hundred and seven"),
        (20_316, "twenty thousand three hundred and sixteen"),
        (999_999, "nine hundred and ninety nine thousand nine hundred and ninety nine"),
    ],
)
def test_numbers_are_spelled(value: int, words: str) -> None:
    assert number(value) == words


def test_phrases_are_normalised_and_follow_their_seed() -> None:
    first, second = ([phrase(rng) for _ in range(500)] for rng in map(random.Random, (7, 7)))
    assert first == second
    assert all(text == normalize_text(text) for text in first)
    assert len(set(first)) > 400


def test_only_the_engines_asked_for_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voices, "espeak_variants", lambda: ["m1", "f2"])
    drawn = [voices.draw_voice(random.Random(seed), ["espeak", "flite"]) for seed in range(200)]
    assert {voice.engine for voice in drawn} == {"espeak", "flite"}
    more = [voices.draw_voice(random.Random(seed), list(voices.ENGINES)) for seed in range(200)]
    assert {voice.engine for voice in more} == set(voices.ENGINES)
