"""What a network trained from scratch hears: synthetic and human shards, distorted and mixed.

Owns the curriculum: gentle clips first, then synthetic speech, then people among it. The same seed
gives the same mixture.
"""

from __future__ import annotations

import argparse
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from models.features import FeatureConfig
from models.training.augmentation import (
    GENTLE,
    Augmentation,
    Augmenter,
    load_recordings,
    prepare_room,
)
from models.training.data import Batch, Shard, batches, load_shards
from models.training.examples import Example, Preparation
from models.training.labels import Alphabet
from models.training.network import VOCABULARY
from models.training.recipe import Recipe, TrainingError

AHEAD = 6  # examples that may wait for the network
NOISE_SHARE = 0.7  # of the clips without speech; the others are nearly silent
NEAR_SILENCE = (1.0, 300.0)  # deviations of 16-bit samples


@dataclass(slots=True)
class Heard:
    """Hours of audio that a run has heard, those on their way to it included."""

    hours: float


class Mixture:
    """Endless Examples for a network with ``stride``, from folders named on the command line."""

    def __init__(
        self, recipe: Recipe, stride: int, arguments: argparse.Namespace, seed: int
    ) -> None:
        self.recipe, self.random = recipe, random.Random(seed)
        self.prepare = Preparation(recipe, FeatureConfig(stride=stride))
        self.draws = random.Random(seed)  # of masks and policies
        self.alphabet = Alphabet(VOCABULARY)
        for name in ("noise", "rir"):
            if not (arguments.data / name).is_dir():
                raise TrainingError(f"there is no folder {arguments.data / name}")
        noises = load_recordings(arguments.data / "noise", tuple(arguments.leave_out))
        rooms = [prepare_room(recording) for recording in load_recordings(arguments.data / "rir")]
        self.augmenter = Augmenter(Augmentation(), noises, rooms, seed)
        self.gentle = Augmenter(GENTLE, [], [], seed)
        self.noise = (self.augmenter.noise * 2**15).short().numpy()
        self.synthetic = [
            shard for folder in arguments.synthetic for shard in shards_of(folder, "train*")
        ]
        self.human = shards_of(arguments.human, "*")

    def examples(self, exposure_h: float) -> Iterator[Example]:
        """As hard as is fit for who has heard ``exposure_h`` hours, and goes on to hear these."""
        for example in self._examples(heard := Heard(exposure_h)):
            heard.hours += example.audio_s / 3600
            yield example

    def _examples(self, heard: Heard) -> Iterator[Example]:
        recipe = self.recipe
        easy = batches(self.synthetic, recipe.gentle_batch_s, recipe.gentle_clip_s, self.random)
        walks = [
            batches(shards, recipe.batch_s, recipe.max_clip_s, self.random)
            for shards in (self.synthetic, self.human)
        ]
        while heard.hours < recipe.gentle_h:
            yield self._example(next(easy), self.gentle)
        while True:
            walk = walks[self.random.random() < recipe.humans(heard.hours)]
            batch = without_speech(next(walk), self.noise, recipe.empty_share, self.random)
            clean = self.random.random() < recipe.clean_share
            yield self._example(batch, self.gentle if clean else self.augmenter)

    def _example(self, batch: Batch, augmenter: Augmenter) -> Example:
        audio, samples = augmenter.waveforms(
            torch.from_numpy(batch.audio), torch.from_numpy(batch.lengths)
        )
        texts = [self.alphabet.encode(text) for text in batch.texts]
        return self.prepare(audio, samples, texts, self.draws, augmenter)


def shards_of(folder: Path, pattern: str) -> list[Shard]:
    """The shards of ``folder``; TrainingError where there are none."""
    found = load_shards(folder, pattern)
    if not found:
        raise TrainingError(
            f"{folder} has no shards {pattern}; they are made by python -m "
            "models.training.synthesis and models.training.data"
        )
    return found


def without_speech(
    batch: Batch, noise: NDArray[np.int16], share: float, rng: random.Random
) -> Batch:
    """Some clips replaced by noise or near silence, in which nothing is said."""
    audio, texts = batch.audio.copy(), list(batch.texts)
    for row, length in enumerate(batch.lengths.tolist()):
        if rng.random() >= share:
            continue
        texts[row] = ""
        if rng.random() < NOISE_SHARE and length < len(noise):
            start = rng.randrange(len(noise) - length)
            audio[row, :length] = noise[start : start + length]
        else:
            chance = np.random.default_rng(rng.randrange(2**32))
            audio[row, :length] = chance.normal(0.0, rng.uniform(*NEAR_SILENCE), length)
    return replace(batch, audio=audio, texts=texts)


class _Endless(IterableDataset[Example]):
    """A Mixture's examples for a DataLoader."""

    def __init__(self, mixture: Mixture, exposure_h: float) -> None:
        self.mixture, self.exposure_h = mixture, exposure_h

    def __iter__(self) -> Iterator[Example]:
        return self.mixture.examples(self.exposure_h)


def prepared(mixture: Mixture, exposure_h: float) -> Iterator[Example]:
    """The examples of ``mixture``, made by a process of their own, AHEAD of them at most."""
    loader = DataLoader(
        _Endless(mixture, exposure_h),
        batch_size=None,
        num_workers=1,
        prefetch_factor=AHEAD,
        worker_init_fn=_leave_signals,
    )
    return iter(loader)


def _leave_signals(_: int) -> None:
    """What asks a run to stop often goes to its helper too, which then is still needed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
