"""The recipe in small: shards keep what is put in, distortions keep shapes, runs resume exactly."""

import argparse
import random
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
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
from models.training.examples import Example, Preparation
from models.training.export import export, main
from models.training.labels import Alphabet
from models.training.mixture import Mixture, without_speech
from models.training.network import VOCABULARY, config_of, encoder_config
from models.training.phrases import number, phrase
from models.training.recipe import Geometry, Recipe, TrainingError
from models.training.synthesis import cut, is_heldout, read_texts
from models.training.train import Trainer
from models.training.voices import parse_wave
from tests.commands import run

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL_GEOMETRY = Geometry(stride=2, layers=2, width=32, heads=2, intermediate=48, kernel=15)
SMALL = encoder_config(SMALL_GEOMETRY)
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
    prepare, rng = Preparation(recipe, FeatureConfig()), random.Random(3)
    endless = batches([shard_of((0.9, 1.0, 1.1, 1.2))], 10.0, 10.0, random.Random(2))
    gentle, alphabet = Augmenter(GENTLE, [], [], 4), Alphabet(VOCABULARY)
    examples = []
    for _ in range(6):
        batch = next(endless)
        audio = torch.from_numpy(batch.audio), torch.from_numpy(batch.lengths)
        texts = [alphabet.encode(text) for text in batch.texts]
        examples.append(prepare(*gentle.waveforms(*audio), texts, rng, gentle))
    return examples


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
    (tmp_path / "last.json").write_text('{"step": 1}')  # as of another save: it is not believed
    second.resume(tmp_path)
    assert second.progress == first.progress
    resumed = [second.step(examples[index % 6]) for index in range(18, 36)]
    assert resumed == losses[18:]
    for name, master in whole.masters.weights.items():
        assert torch.equal(master, second.masters.weights[name]), name


def test_sizes_are_read_off_the_weights() -> None:
    config = encoder_config(Geometry(4, 3, 24, 3, 40, 5))
    torch.manual_seed(0)
    assert config_of(Trainer(Recipe(), config).average) == config
    with pytest.raises(TrainingError, match="lm_head"):
        config_of({k: v for k, v in Trainer(Recipe(), SMALL).average.items() if "lm_" not in k})


@pytest.mark.parametrize("stride", [2, 4])
def test_exported_runs_are_averaged_load_and_say_their_features(
    tmp_path: Path, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = []
    for seed in range(2):
        torch.manual_seed(seed)
        trainers.append(Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, stride=stride))))
        trainers[-1].save(tmp_path / f"run{seed}")
    runs = tmp_path / "run0", tmp_path / "run1"
    given = [f"--run={run}" for run in runs] + [f"--out={tmp_path / 'model'}"]
    options = ["--confidence-exponent=2.5", "--word-start-delay-ms=90", "--word-end-delay-ms=40.5"]
    monkeypatch.setattr("sys.argv", ["export", *given, *options])
    assert main() == 0
    loaded = checkpoints.load(str(tmp_path / "model"))
    assert loaded.features.config == FeatureConfig(
        normalization="running", stride=stride, chunk_frames=32 // stride
    )
    measured = {"word_start_delay_ms": 90.0, "word_end_delay_ms": 40.5}
    assert loaded.vocabulary == replace(VOCABULARY, confidence_exponent=2.5, **measured)
    for name, weight in loaded.model.state_dict().items():
        mean = (trainers[0].average[name] + trainers[1].average[name]) / 2
        assert torch.equal(weight, mean.bfloat16().float()), name


def test_runs_of_different_networks_have_no_mean(tmp_path: Path) -> None:
    for name, layers in (("one", 2), ("two", 3)):
        Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, layers=layers))).save(
            tmp_path / name
        )
    with pytest.raises(TrainingError, match="num_hidden_layers: expected 2, got 3"):
        export([tmp_path / "one", tmp_path / "two"], tmp_path / "out")


def test_a_run_starts_from_a_run_or_a_checkpoint_of_its_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = Trainer(Recipe(), SMALL)
    first.save(tmp_path / "run")
    export([tmp_path / "run"], tmp_path / "model")
    for source in ("run", "model"):
        second = Trainer(Recipe(), SMALL)
        second.start(str(tmp_path / source))
        for name, weight in first.average.items():
            expected = weight if source == "run" else weight.bfloat16().float()
            for target in (second.masters.weights, second.average, second.model.state_dict()):
                torch.testing.assert_close(target[name].float(), expected, rtol=0.01, atol=1e-3)
            assert torch.equal(second.average[name], expected)
    with pytest.raises(TrainingError, match="feature_projection_input_dim: expected 320, got 160"):
        Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, stride=4))).start(
            str(tmp_path / "run")
        )


def write_data(folder: Path) -> list[str]:
    """Options of `train` for a little noise and a few clips."""
    for name in ("noise", "rir"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 40_000)
    soundfile.write(folder / "noise" / "hum.flac", noise, SAMPLE_RATE)
    shard_of((0.9, 1.0, 1.1, 1.2)).save(folder / "train-1-000")
    (folder / "human").mkdir()
    shard_of((0.8, 1.3), seed=1).save(folder / "human" / "people")
    folders = f"--synthetic {folder} --human {folder / 'human'} --data {folder} --out {folder}/run"
    sizes = "--layers 2 --width 32 --heads 2 --intermediate 48"
    return f"{folders} {sizes}".split()


def test_the_command_trains_exports_and_refuses_other_sizes(tmp_path: Path) -> None:
    options = write_data(tmp_path)
    short = ["--exposure-h", "0.01", "--gentle-h", "0.002", "--batch-s", "4", "--stride", "4"]
    status, _, err = run("train", *options, *short, "--human-from-h", "0.003")
    assert (status, err) == (0, "")
    export([tmp_path / "run"], tmp_path / "model")
    assert checkpoints.load(str(tmp_path / "model")).hop_samples == 640
    status, _, err = run("train", *options, "--exposure-h", "0.01", "--stride", "2")
    assert status == 1
    assert err.endswith("feature_projection_input_dim: expected 160, got 320\n")
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"), "--clean-share", "2")
    assert (status, err) == (1, "streamer: expected clean_share from 0 to 1, got 2\n")
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"), "--data", "none")
    assert (status, err) == (1, "streamer: there is no folder none/noise\n")
    (tmp_path / "train-1-000.tsv").unlink()
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"))
    assert (status, err.count("\n")) == (1, 1)
    assert "no shards train*" in err


def test_the_same_seed_makes_the_same_mixture(tmp_path: Path) -> None:
    write_data(tmp_path)
    recipe = Recipe(gentle_h=0.001, empty_share=0.5, human_from_h=0.001)
    arguments = argparse.Namespace(
        synthetic=[tmp_path], human=tmp_path / "human", data=tmp_path, leave_out=["none"]
    )

    def examples() -> list[Example]:
        return list(islice(Mixture(recipe, 2, arguments, 5).examples(0.0), 8))

    for one, other in zip(examples(), examples(), strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.targets.labels, other.targets.labels)
        assert one.chunking == other.chunking


def test_clips_without_speech_have_no_text() -> None:
    batch = next(batches([shard_of((0.9, 1.0, 1.1))], 10.0, 10.0, random.Random(2)))
    noise = np.arange(30_000, dtype=np.int16)
    same = without_speech(batch, noise, 0.0, random.Random(0))
    assert same.texts == batch.texts
    np.testing.assert_array_equal(same.audio, batch.audio)
    empty = without_speech(batch, noise, 1.0, random.Random(0))
    assert empty.texts == ["", "", ""]
    for row, before, length in zip(empty.audio, batch.audio, batch.lengths, strict=True):
        assert not np.array_equal(row, before)
        assert not row[length:].any()


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
    for count in (1, 2):
        for engines in combinations(voices.ENGINES, count):
            few = [voices.draw_voice(random.Random(seed), engines) for seed in range(100)]
            assert {voice.engine for voice in few} == {*engines}
