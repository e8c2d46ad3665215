"""Speech to train on, made on this machine: synthetic voices reading given texts.

python -m models.training.synthesis --texts DIR --out runs/synthetic --shards 20

Owns the choice of texts; the voices are in ``voices.py``, the shard format in ``data.py``. Shard k
of seed s with the same engines is always the same speech, so a run that was stopped goes on with
the shards that are missing. A hundredth of the
texts, chosen by hash, is never spoken in a training shard: ``--heldout`` speaks only those.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data import SAMPLE_RATE, Clip, Shard, normalize_text
from models.training.mistakes import positive, told
from models.training.recipe import TrainingError
from models.training.voices import ENGINES, draw_voice, speak

MAX_WORDS = 16
HELDOUT_SHARE = 100  # one text in a hundred is held out
CLIPS_PER_SHARD = 1500


def is_heldout(text: str) -> bool:
    """Whether ``text`` is kept for testing."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELDOUT_SHARE == 0


def read_texts(folders: Sequence[Path], heldout: bool) -> list[list[str]]:
    """Normalised texts of each file of ``folders``, of at most MAX_WORDS words, in fixed order."""
    sources = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.txt"))):
        if ".raw." in path.name or "lmdev" in path.name:
            continue
        pieces = {
            piece for line in path.read_text().splitlines() for piece in cut(normalize_text(line))
        }
        sources.append(sorted(piece for piece in pieces if is_heldout(piece) == heldout))
    return [source for source in sources if source]


def cut(text: str) -> Iterator[str]:
    """Pieces of at most MAX_WORDS words and about equal length."""
    words = text.split()
    pieces = -(-len(words) // MAX_WORDS)
    for index in range(pieces):
        yield " ".join(words[len(words) * index // pieces : len(words) * (index + 1) // pieces])


def make_shard(
    path: Path, texts: list[list[str]], seed: str, clips: int, engines: Sequence[str]
) -> Path:
    """Speak ``clips`` texts, drawn source by source with weight sqrt(size), into one shard."""
    rng = random.Random(seed)
    weights = [len(source) ** 0.5 for source in texts]
    made: list[Clip] = []
    audio: list[NDArray[np.int16]] = []
    start = 0
    while len(made) < clips:
        (source,) = rng.choices(texts, weights)
        text, voice = rng.choice(source), draw_voice(rng, engines)
        samples = speak(text, voice)
        if not 0.3 * SAMPLE_RATE <= len(samples) <= 15 * SAMPLE_RATE or np.abs(samples).max() < 300:
            continue  # the engine refused the text, or the voice is broken
        made.append(Clip(f"{path.name}-{len(made):05d}", start, len(samples), voice.label, text))
        audio.append(samples)
        start += len(samples)
    Shard(np.concatenate(audio), made).save(path)
    return path


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="synthesise speech into shards")
    parser.add_argument(
        "--texts",
        type=Path,
        nargs="+",
        required=True,
        help="folders of .txt files, a sentence a line",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=["espeak", "flite"], help="who speaks"
    )
    parser.add_argument("--shards", type=positive, default=20)
    parser.add_argument("--clips", type=positive, default=CLIPS_PER_SHARD, help="clips in a shard")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=positive, default=3)
    parser.add_argument("--heldout", action="store_true", help="speak the held-out texts instead")
    arguments = parser.parse_args()
    return told("synthesis", lambda: synthesize(arguments))


def synthesize(arguments: argparse.Namespace) -> None:
    """Speak the shards that are missing; TrainingError where there is nothing to say."""
    texts = read_texts(arguments.texts, arguments.heldout)
    if not texts:
        raise TrainingError(f"no texts in *.txt of {' '.join(map(str, arguments.texts))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    kind = "heldout" if arguments.heldout else "train"
    with ProcessPoolExecutor(arguments.workers) as pool:
        paths = [
            arguments.out / f"{kind}-{arguments.seed}-{index:03d}"
            for index in range(arguments.shards)
        ]
        missing = [path for path in paths if not Shard.exists(path)]
        jobs = [
            pool.submit(make_shard, path, texts, path.name, arguments.clips, arguments.engines)
            for path in missing
        ]
        for job in jobs:
            print(job.result(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
