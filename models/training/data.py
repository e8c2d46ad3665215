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
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

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
        """Read a shard into memory."""
        with path.with_suffix(".tsv").open(newline="") as table:
            rows = csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
            clips = [
                Clip(id_, int(start), int(count), voice, text)
                for id_, start, count, voice, text in rows
            ]
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


def batches(
    shards: Sequence[Shard], batch_s: float, max_clip_s: float, rng: random.Random
) -> Iterator[Batch]:
    """Endless batches of about ``batch_s`` seconds, each of clips of similar length, in epochs."""
    pool = [
        (shard, clip)
        for shard in shards
        for clip in shard.clips
        if clip.samples <= max_clip_s * SAMPLE_RATE
    ]
    while True:
        pool.sort(key=lambda item: item[1].samples * rng.uniform(0.9, 1.1))
        groups: list[list[tuple[Shard, Clip]]] = [[]]
        for item in pool:
            if len(groups[-1]) * item[1].samples > batch_s * SAMPLE_RATE:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        yield from (_collate(group) for group in groups)


def _collate(group: Sequence[tuple[Shard, Clip]]) -> Batch:
    lengths = np.array([clip.samples for _, clip in group])
    audio = np.zeros((len(group), lengths.max()), dtype=np.int16)
    for row, (shard, clip) in zip(audio, group, strict=True):
        row[: clip.samples] = shard.samples(clip)
    return Batch(audio, lengths, [clip.text for _, clip in group])


def read_manifest(path: Path, split: str) -> Iterator[tuple[str, str, str, Path]]:
    """(id, speaker, transcript, audio path) of each clip of ``split`` in a TSV with a header."""
    with path.open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            if f"/{split}/" in row["path"]:
                yield row["id"], row["speaker"], row["transcript"], path.parent / row["path"]


def read_audio(path: Path) -> NDArray[np.int16]:
    """A sound file as int16 (S,) at 16 kHz, first channel."""
    audio, rate = soundfile.read(path, dtype="int16", always_2d=True)
    samples = audio[:, 0]
    return samples if rate == SAMPLE_RATE else np.asarray(soxr.resample(samples, rate, SAMPLE_RATE))


def pack_manifest(manifest: Path, split: str, leave_out: Sequence[str], out: Path) -> Shard:
    """Human speech into one shard; ids that start with any of ``leave_out`` stay outside."""
    clips, audio, start = [], [], 0
    for id_, speaker, transcript, path in read_manifest(manifest, split):
        text = normalize_text(transcript)
        if id_.startswith(tuple(leave_out)) or not text:
            continue
        samples = read_audio(path)
        clips.append(Clip(id_, start, len(samples), speaker, text))
        audio.append(samples)
        start += len(samples)
    shard = Shard(np.concatenate(audio), clips)
    out.parent.mkdir(parents=True, exist_ok=True)
    shard.save(out)
    return shard


def main() -> None:
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
    shard = pack_manifest(arguments.manifest, arguments.split, arguments.leave_out, arguments.out)
    print(
        f"{arguments.out}: {len(shard.clips)} clips, {len(shard.audio) / SAMPLE_RATE / 3600:.2f} h"
    )


if __name__ == "__main__":
    main()
