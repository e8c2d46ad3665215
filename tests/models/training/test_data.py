"""What the recipe hears: texts, shards that keep what is put in, batches and their mixture."""

import argparse
import random
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training import voices
from models.training.data import Shard, batches, normalize_text
from models.training.examples import Example
from models.training.mixture import Mixture, without_speech
from models.training.phrases import number, phrase
from models.training.recipe import Recipe
from models.training.synthesis import cut, is_heldout, read_texts
from models.training.voices import parse_wave
from tests.models.training.shards import shard_of, write_data

pytestmark = pytest.mark.usefixtures("one_thread")


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
