"""Shards of noise with short texts, and a folder of them as the recipe wants it."""

from pathlib import Path

import numpy as np
import soundfile

from models.training.data import SAMPLE_RATE, Clip, Shard

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
