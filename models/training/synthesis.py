"""Speech to train on, made on this machine: espeak-ng's and flite's voices reading given texts.

python -m models.training.synthesis --texts DIR --out runs/synthetic --shards 20

Owns the choice of voices and the shard format (see ``data.py``). Shard k of seed s is always the
same speech, so a run that was stopped goes on with the shards that are missing. A hundredth of the
texts, chosen by hash, is never spoken in a training shard: ``--heldout`` speaks only those.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from models.training.data import SAMPLE_RATE, Clip, Shard, normalize_text

ACCENTS = (
    "en-us",
    "en-us",
    "en-us",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-029",
)
UNUSABLE = ("whisper", "croak", "robo", "Robot", "Demonic", "Tweaky", "fast", "Storm", "kaukovalta")
FLITE_VOICES = ("awb", "rms", "slt", "kal16")
FLITE_SHARE = 0.4  # flite's voices are built from people, espeak's from formants: weigh them up
WORDS_PER_MINUTE = (120, 210)
FLITE_WORDS_PER_MINUTE = 175  # of flite's voices at duration_stretch 1
MAX_WORDS = 16
HELDOUT_SHARE = 100  # one text in a hundred is held out
CLIPS_PER_SHARD = 1500


@dataclass(frozen=True, slots=True)
class Voice:
    """One way to speak.

    ``warp`` resamples the result, which moves pitch and formants together.
    """

    engine: str
    name: str
    words_per_minute: int
    pitch: int  # espeak's 0..99
    warp: float

    @property
    def label(self) -> str:
        """The voice in one word, for the shard's table."""
        return f"{self.engine}:{self.name}:{self.words_per_minute}:{self.pitch}:{self.warp:.2f}"


def espeak_variants() -> list[str]:
    """The usable voice variants of the installed espeak-ng."""
    listing = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    )
    names = [line.split()[4].removeprefix("!v/") for line in listing.stdout.splitlines()[1:]]
    return sorted(name for name in names if not any(word in name for word in UNUSABLE))


def draw_voice(rng: random.Random, variants: Sequence[str]) -> Voice:
    """Draw a voice; espeak-ng's accent, variant and pitch, or one of flite's voices, warped."""
    rate = rng.randint(*WORDS_PER_MINUTE)
    if rng.random() < FLITE_SHARE:
        return Voice("flite", rng.choice(FLITE_VOICES), rate, 50, rng.uniform(0.86, 1.18))
    name = f"{rng.choice(ACCENTS)}+{rng.choice(variants)}"
    return Voice("espeak", name, rate, rng.randint(20, 80), rng.uniform(0.93, 1.07))


def speak(text: str, voice: Voice) -> NDArray[np.int16]:
    """``text`` in ``voice`` as int16 (S,) at 16 kHz; the rate holds after the warp."""
    if voice.engine == "flite":
        stretch = FLITE_WORDS_PER_MINUTE / voice.words_per_minute * voice.warp
        command = ["flite", "-voice", voice.name, "--setf", f"duration_stretch={stretch:.3f}"]
        command += ["-t", text, "-o", "/dev/stdout"]
    else:
        rate = str(round(voice.words_per_minute / voice.warp))
        command = [
            "espeak-ng",
            "-v",
            voice.name,
            "-s",
            rate,
            "-p",
            str(voice.pitch),
            "--stdout",
            text,
        ]
    wave = subprocess.run(command, capture_output=True, check=True).stdout
    return resample(*parse_wave(wave), voice.warp)


def parse_wave(wave: bytes) -> tuple[NDArray[np.int16], int]:
    """Samples and rate of a WAV written to a pipe, whose length fields may be wrong."""
    rate = int.from_bytes(wave[24:28], "little")
    start = wave.index(b"data") + 8
    body = wave[start : start + (len(wave) - start) // 2 * 2]
    return np.frombuffer(body, dtype="<i2"), rate


def resample(samples: NDArray[np.int16], rate: int, warp: float = 1.0) -> NDArray[np.int16]:
    """Int16 at ``rate`` to int16 at 16 kHz, played ``warp`` times faster."""
    return np.asarray(
        soxr.resample(samples, rate * warp, SAMPLE_RATE, quality="HQ"), dtype=np.int16
    )


def is_heldout(text: str) -> bool:
    """Whether ``text`` is kept for testing."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELDOUT_SHARE == 0


def read_texts(folder: Path, heldout: bool) -> list[list[str]]:
    """Normalised texts of each file of ``folder``, at most MAX_WORDS words each, in fixed order."""
    sources = []
    for path in sorted(folder.glob("*.txt")):
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


def make_shard(path: Path, texts: list[list[str]], seed: str, clips: int) -> Path:
    """Speak ``clips`` texts, drawn source by source with weight sqrt(size), into one shard."""
    rng, variants = random.Random(seed), espeak_variants()
    weights = [len(source) ** 0.5 for source in texts]
    made: list[Clip] = []
    audio: list[NDArray[np.int16]] = []
    start = 0
    while len(made) < clips:
        (source,) = rng.choices(texts, weights)
        text, voice = rng.choice(source), draw_voice(rng, variants)
        samples = speak(text, voice)
        if not 0.3 * SAMPLE_RATE <= len(samples) <= 15 * SAMPLE_RATE or np.abs(samples).max() < 300:
            continue  # the engine refused the text, or the voice is broken
        made.append(Clip(f"{path.name}-{len(made):05d}", start, len(samples), voice.label, text))
        audio.append(samples)
        start += len(samples)
    Shard(np.concatenate(audio), made).save(path)
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="synthesise speech into shards")
    parser.add_argument(
        "--texts", type=Path, required=True, help="folder of .txt files, a sentence a line"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--clips", type=int, default=CLIPS_PER_SHARD, help="clips in a shard")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--heldout", action="store_true", help="speak the held-out texts instead")
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts, arguments.heldout)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kind = "heldout" if arguments.heldout else "train"
    with ProcessPoolExecutor(arguments.workers) as pool:
        paths = [
            arguments.out / f"{kind}-{arguments.seed}-{index:03d}"
            for index in range(arguments.shards)
        ]
        missing = [path for path in paths if not Shard.exists(path)]
        jobs = [
            pool.submit(make_shard, path, texts, path.name, arguments.clips) for path in missing
        ]
        for job in jobs:
            print(job.result(), flush=True)


if __name__ == "__main__":
    main()
