"""Spliced speech: words of one speaker, cut where it is quiet, in an order of their own."""

import random
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.training import splicing
from models.training.data import SAMPLE_RATE, Clip, Shard
from models.training.network import VOCABULARY
from models.training.recipe import TrainingError
from models.training.splicing import MOST_WORDS, Word, join, make, pieces, quietest, words_of

HOP = 640
ACOUSTIC = SimpleNamespace(vocabulary=VOCABULARY, hop_samples=HOP)
LETTERS = {text: index for index, text in enumerate(VOCABULARY.tokens)}
WORDS = ("one", "two", "six", "red", "blue", "green", "dog", "cat", "sun", "moon")
WORD_SAMPLES = 12 * HOP
PAUSE_SAMPLES = 4 * HOP


def frames(text: str) -> list[int]:
    """One label a frame, a blank (``_``) where nothing is said."""
    return [LETTERS["[PAD]" if letter == "_" else letter] for letter in text]


def test_words_are_read_off_the_frames_with_their_times() -> None:
    assert words_of(frames("__hhe_l_ll|o_o|"), ACOUSTIC) == [
        Word("hell", 2 * HOP, 10 * HOP),
        Word("oo", 11 * HOP, 14 * HOP),
    ]
    assert words_of(frames("____"), ACOUSTIC) == []


def test_a_cut_is_at_the_quietest_place() -> None:
    audio = np.full(8_000, 9_000, np.int16)
    audio[3_100:4_100] = 3
    assert 3_100 <= quietest(audio, 1_000, 7_000) <= 4_100
    assert quietest(audio, 500, 500) == 500


def test_only_words_heard_as_they_are_written_become_pieces() -> None:
    clip = Clip("a", 1_000, 10_000, "ann", "the red dog sat down")
    heard = [
        Word(text, start, start + 1_000)
        for text, start in (("the", 500), ("rat", 2_000), ("dog", 4_000), ("sat", 6_000))
    ]
    audio = np.random.default_rng(0).integers(-900, 900, 10_000).astype(np.int16)
    runs = pieces(audio, clip, heard)
    assert [[piece.text for piece in run] for run in runs] == [["the"], ["dog", "sat"]]
    assert runs[0][0].start == 1_000  # from the beginning of the clip
    assert runs[1][0].end == runs[1][1].start
    assert runs[1][1].end == 11_000  # to its end
    for run in runs:
        for piece in run:
            word = heard[("the", "rat", "dog", "sat").index(piece.text)]
            assert piece.start - 1_000 <= word.start < word.end <= piece.end - 1_000


def test_pieces_fade_into_each_other() -> None:
    joined = join(np.full(500, 100.0, np.float32), np.full(400, -100, np.int16))
    assert len(joined) == 500 + 400 - splicing.JOIN_SAMPLES
    assert (np.diff(joined) <= 0).all()
    assert len(join(np.zeros(0, np.float32), np.full(9, 5, np.int16))) == 9


def voice_of(
    tone: int, rng: random.Random, clips: int, shard: list[NDArray[np.int16]]
) -> list[Clip]:
    """Clips of a speaker whose every word is a level of its own."""
    made = []
    for number in range(clips):
        words = rng.sample(WORDS, 4)
        parts = []
        for word in words:
            level = tone * 1_000 + WORDS.index(word) * 50
            parts += [np.zeros(PAUSE_SAMPLES), np.full(WORD_SAMPLES, level)]
        audio = np.concatenate([*parts, np.zeros(PAUSE_SAMPLES)]).astype(np.int16)
        start = sum(map(len, shard))
        made.append(Clip(f"{tone}-{number}", start, len(audio), f"voice{tone}", " ".join(words)))
        shard.append(audio)
    return made


class Listener:
    """Hears every word of ``voice_of`` at its place, as an acoustic model would."""

    vocabulary, hop_samples = VOCABULARY, HOP

    def __call__(
        self, audio_bs: torch.Tensor, lengths_b: torch.Tensor, _: None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = audio_bs.shape[0]
        made = torch.zeros(rows, audio_bs.shape[1] // HOP, len(VOCABULARY.tokens))
        made[..., LETTERS["[PAD]"]] = 1.0
        for row, audio in enumerate(audio_bs):
            levels = (audio[::HOP] * 2**15).round().int().tolist()
            for frame in range(1, min(len(levels), made.shape[1])):
                if levels[frame] and not levels[frame - 1]:
                    spelled = WORDS[levels[frame] % 1_000 // 50] + "|"
                    for offset, letter in enumerate(spelled):
                        made[row, frame + 2 * offset, LETTERS[letter]] = 2.0
        return made, lengths_b // HOP


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(splicing.checkpoint, "load", lambda _: Listener())
    rng, audio = random.Random(3), []
    clips = [clip for tone in (3, 7) for clip in voice_of(tone, rng, 20, audio)]
    clips += voice_of(11, rng, 2, audio) + voice_of(13, rng, 3, audio)  # few words each
    Shard(np.concatenate(audio), clips).save(tmp_path / "people")
    return tmp_path / "people"


def test_every_word_of_spliced_speech_sounds_as_it_is_written(source: Path) -> None:
    made = make(source, "any", 0.05, 1, source.with_name("spliced"))
    assert made.clips == Shard.load(source.with_name("spliced")).clips
    assert sum(clip.samples for clip in made.clips) >= 0.05 * 3600 * SAMPLE_RATE
    heard = {text for clip in Shard.load(source).clips for text in [clip.text]}
    for clip in made.clips:
        levels = made.samples(clip)
        changes = [b for a, b in pairwise(levels.tolist()) if a != b and b]
        said = [WORDS[level % 1_000 // 50] for level in changes]
        assert said == clip.text.split()
        tones = {level // 1_000 for level in changes}
        assert tones <= ({11, 13} if clip.voice == splicing.OTHERS else {int(clip.voice[5:])})
    assert any(clip.text not in heard for clip in made.clips)


def test_the_same_seed_makes_the_same_speech(source: Path) -> None:
    one, other, third = (
        make(source, "any", 0.01, seed, source.with_name(f"spliced{number}"))
        for number, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(one.audio, other.audio)
    assert [clip.text for clip in one.clips] == [clip.text for clip in other.clips]
    assert [clip.text for clip in one.clips] != [clip.text for clip in third.clips]


def test_runs_are_short(source: Path) -> None:
    shard = Shard.load(source)
    texts = [clip.text.split() for clip in shard.clips]
    made = make(source, "any", 0.02, 1, source.with_name("spliced"))
    longer = [
        words[start : start + MOST_WORDS + 1]
        for words in (clip.text.split() for clip in made.clips)
        for start in range(len(words) - MOST_WORDS)
    ]
    whole = sum(words in (text[:4] for text in texts) for words in longer)
    assert whole < len(longer) / 10


def test_what_cannot_be_spliced_is_one_sentence(source: Path) -> None:
    with pytest.raises(TrainingError, match="there is no shard"):
        make(source.with_name("nothing"), "any", 1.0, 1, source.with_name("spliced"))
    shard = Shard.load(source)
    silent = Shard(np.zeros_like(shard.audio), shard.clips)
    silent.save(source)
    with pytest.raises(TrainingError, match="hears no word of it as it is written"):
        make(source, "any", 1.0, 1, source.with_name("spliced"))
