"""Clips on disk, one int16 file and one table a shard, and batches of similar length from them.

Owns the shard format and the text normalisation of training; knows nothing of models. A shard NAME
is NAME.s16 (16 kHz mono, little endian) and NAME.tsv (id, start, samples, voice, text).

python -m models.training.data --manifest MANIFEST --split train --out runs/human
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.training.manifest import read_manifest
from models.training.mistakes import told
from models.training.recipe import TrainingError

SAMPLE_RATE = 16_000


def normalize_text(text: str) -> str:
    """Lower case, a to z, apostrophe and single spaces."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


@dataclass(frozen=True, slots=True)
class Clip:
    """``samples`` samples from ``start`` of its shard, what is said in them and by whom."""

    id: str
    start: int
    samples: int
    voice: str
    text: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Clips that lie one behind the other in one array."""

    audio: NDArray[np.int16]  # (S,)
    clips: list[Clip]

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether the shard ``path`` was written to its end."""
        return path.with_suffix(".tsv").exists()

    @staticmethod
    def load(path: Path) -> Shard:
        """Read a shard into memory; TrainingError where its table is none."""
        with path.with_suffix(".tsv").open(newline="") as table:
            rows = csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
            try:
                clips = [
                    Clip(id_, int(start), int(count), voice, text)
                    for id_, start, count, voice, text in rows
                ]
            except ValueError as error:
                raise TrainingError(f"{path.with_suffix('.tsv')} is no table of a shard") from error
        return Shard(np.fromfile(path.with_suffix(".s16"), dtype="<i2"), clips)

    def save(self, path: Path) -> None:
        """Write the samples first: a shard exists once its table does."""
        self.audio.astype("<i2").tofile(path.with_suffix(".s16"))
        table = path.with_suffix(".tsv.part")
        with table.open("w", newline="") as file:
            csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None).writerows(
                astuple(clip) for clip in self.clips
            )
        table.rename(path.with_suffix(".tsv"))

    def samples(self, clip: Clip) -> NDArray[np.int16]:
        """One clip, int16 (S,)."""
        return self.audio[clip.start : clip.start + clip.samples]


def load_shards(folder: Path, pattern: str = "*") -> list[Shard]:
    """All finished shards of ``folder``, by name."""
    return [Shard.load(path.with_suffix("")) for path in sorted(folder.glob(f"{pattern}.tsv"))]


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of similar length."""

    audio: NDArray[np.int16]  # (B, S), right-padded
    lengths: NDArray[np.int64]  # (B,) samples
    texts: list[str]


def group_by_length(
    lengths: Sequence[int], batch_samples: float, rng: random.Random
) -> list[list[int]]:
    """Every index of ``lengths`` once, in groups of about ``batch_samples``, in random order.

    A group holds clips of similar length; which, differs from draw to draw.
    """
    jitter = [length * rng.uniform(0.9, 1.1) for length in lengths]
    groups: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=jitter.__getitem__):
        if len(groups[-1]) * lengths[index] > batch_samples:
            groups.append([])
        groups[-1].append(index)
    rng.shuffle(groups)
    return groups


def batches(
    shards: Sequence[Shard], batch_s: float, max_clip_s: float, rng: random.Random
) -> Iterator[Batch]:
    """Endless batches of about ``batch_s`` seconds, each of clips of similar length, in epochs.

    Raises:
        TrainingError: no clip is as short as that.
    """
    pool = [
        (shard, clip)
        for shard in shards
        for clip in shard.clips
        if clip.samples <= max_clip_s * SAMPLE_RATE
    ]
    if not pool:
        raise TrainingError(f"the shards have no clip of at most {max_clip_s:g} s")
    lengths = [clip.samples for _, clip in pool]
    while True:
        for group in group_by_length(lengths, batch_s * SAMPLE_RATE, rng):
            chosen = [pool[index] for index in group]
            yield collate(
                [shard.samples(clip) for shard, clip in chosen], [c.text for _, c in chosen]
            )


def collate(clips: Sequence[NDArray[np.int16]], texts: list[str]) -> Batch:
    """Clips, int16 (S,) each, as one batch, padded with zeros on the right."""
    lengths = np.array([len(clip) for clip in clips])
    audio = np.zeros((len(clips), lengths.max()), dtype=np.int16)
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = clip
    return Batch(audio, lengths, texts)


def read_audio(path: Path) -> NDArray[np.int16]:
    """A sound file as int16 (S,) at 16 kHz, first channel."""
    audio, rate = soundfile.read(path, dtype="int16", always_2d=True)
    samples = audio[:, 0]
    return samples if rate == SAMPLE_RATE else np.asarray(soxr.resample(samples, rate, SAMPLE_RATE))


def pack_manifest(manifest: Path, split: str, leave_out: Sequence[str], out: Path) -> Shard:
    """Human speech into one shard; ids that start with any of ``leave_out`` stay outside.

    Raises:
        TrainingError: the manifest is not as it should be, or no clip of it is of this split.
    """
    clips, audio, start = [], [], 0
    for row in read_manifest(manifest):
        text = normalize_text(row.text)
        if f"/{split}/" not in row.path.as_posix() or row.id.startswith(tuple(leave_out)):
            continue
        if not text:
            continue
        try:
            samples = read_audio(row.path)
        except soundfile.LibsndfileError as error:
            raise TrainingError(f"{manifest}, line {row.line}: {error}") from error
        clips.append(Clip(row.id, start, len(samples), row.speaker, text))
        audio.append(samples)
        start += len(samples)
    if not clips:
        raise TrainingError(f"{manifest}: no clip with a text has /{split}/ in its path")
    shard = Shard(np.concatenate(audio), clips)
    out.parent.mkdir(parents=True, exist_ok=True)
    shard.save(out)
    print(f"{out}: {len(shard.clips)} clips, {len(shard.audio) / SAMPLE_RATE / 3600:.2f} h")
    return shard


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="pack a manifest's speech into one shard")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument(
        "--split", default="train", help="folder name in the paths to take: train or dev"
    )
    parser.add_argument(
        "--leave-out", nargs="*", default=["fd_"], help="prefixes of ids to leave out"
    )
    parser.add_argument("--out", type=Path, required=True, help="shard to write, without suffix")
    arguments = parser.parse_args()
    given = arguments.manifest, arguments.split, arguments.leave_out, arguments.out
    return told("data", lambda: pack_manifest(*given))


if __name__ == "__main__":
    sys.exit(main())
