"""New sentences from the words of people: clips cut between words and joined anew.

python -m models.training.splicing --shard runs/human/train --model models/pretrained/tiny-en \
    --hours 8 --out runs/human/spliced

A small network soon knows the few clips of people by heart, whole sentences of them. Here each
speaker's words come in an order that nobody has heard (after Lam et al. 2021, arXiv 2104.01393, who
swap aligned words). Words count where ``--model`` hears what the transcript says, so what was
misread stays out. The same shard, model and seed make the same speech.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models import checkpoint
from models.acoustic import AcousticModel
from models.training.data import SAMPLE_RATE, Clip, Shard, collate, group_by_length
from models.training.mistakes import told
from models.training.recipe import TrainingError

BATCH_S = 200.0
MOST_WORDS = 3  # in a row from one clip
FEWEST_WORDS = 60  # of a speaker with whom nobody else is mixed
OTHERS = "others"  # all who said fewer
JOIN_SAMPLES = 80  # over which one piece fades into the next
STEP_SAMPLES = 160  # between places where a cut may be
LENGTHS_S = (1.5, 10.0)


@dataclass(frozen=True, slots=True)
class Word:
    """What is said from sample ``start`` to ``end`` of a clip or a shard."""

    text: str
    start: int
    end: int


def hear(acoustic: AcousticModel, shard: Shard) -> Iterator[tuple[Clip, list[Word]]]:
    """Every clip of ``shard`` and the words that greedy decoding with full context finds in it.

    A word's time runs from its first letter to its last, in samples of the clip.
    """
    lengths = [clip.samples for clip in shard.clips]
    for group in group_by_length(lengths, BATCH_S * SAMPLE_RATE, random.Random(0)):
        clips = [shard.clips[index] for index in group]
        batch = collate([shard.samples(clip) for clip in clips], [clip.text for clip in clips])
        with torch.inference_mode():
            audio = torch.from_numpy(batch.audio).float() / 2**15
            log_probs, frames = acoustic(audio, torch.from_numpy(batch.lengths), None)
        ids = log_probs.argmax(dim=-1).tolist()
        for clip, row, count in zip(clips, ids, frames.tolist(), strict=True):
            yield clip, words_of(row[:count], acoustic)


def words_of(ids: Sequence[int], acoustic: AcousticModel) -> list[Word]:
    """Words of one label a frame, with the times of their first and last letters."""
    vocabulary, hop = acoustic.vocabulary, acoustic.hop_samples
    letters = [(index, label) for index, label in enumerate(ids) if label not in vocabulary.silent]
    found = []
    for is_word, run in groupby(letters, lambda letter: letter[1] != vocabulary.delimiter):
        if is_word:
            spelled = list(run)
            text = "".join(
                vocabulary.tokens[label]
                for place, (frame, label) in enumerate(spelled)
                if place == 0 or spelled[place - 1] != (frame - 1, label)
            )
            found.append(Word(text, spelled[0][0] * hop, (spelled[-1][0] + 1) * hop))
    return found


def pieces(audio: NDArray[np.int16], clip: Clip, heard: Sequence[Word]) -> list[list[Word]]:
    """Runs of words that were heard as they are written, cut at the quietest place between.

    Their times are samples of the shard.
    """
    matches = SequenceMatcher(None, clip.text.split(), [word.text for word in heard], False)
    cuts = [0, *(quietest(audio, a.end, b.start) for a, b in pairwise(heard))]
    cuts.append(len(audio))
    return [
        [
            Word(heard[index].text, clip.start + cuts[index], clip.start + cuts[index + 1])
            for index in range(block.b, block.b + block.size)
        ]
        for block in matches.get_matching_blocks()
        if block.size
    ]


def quietest(audio: NDArray[np.int16], low: int, high: int) -> int:
    """The sample from ``low`` to ``high`` around which the least is to be heard."""
    places = range(low, max(high, low + 1), STEP_SAMPLES)
    reach = 2 * STEP_SAMPLES
    return min(
        places,
        key=lambda place: float(
            np.square(audio[max(0, place - reach) : place + reach], dtype=np.float64).mean()
        ),
    )


def splice(
    shard: Shard, runs: Sequence[list[Word]], seconds: float, rng: random.Random
) -> tuple[NDArray[np.int16], str]:
    """Pieces of ``runs``, up to MOST_WORDS in a row, until there are ``seconds`` of them."""
    joined, words = np.zeros(0, dtype=np.float32), []
    while len(joined) < seconds * SAMPLE_RATE:
        run = rng.choice(runs)
        start = rng.randrange(len(run))
        taken = run[start : start + rng.randint(1, MOST_WORDS)]
        words += [piece.text for piece in taken]
        joined = join(joined, shard.audio[taken[0].start : taken[-1].end])
    return joined.round().astype(np.int16), " ".join(words)


def join(first: NDArray[np.float32], second: NDArray[np.int16]) -> NDArray[np.float32]:
    """One behind the other, the end of the first fading into the beginning of the second."""
    overlap = min(JOIN_SAMPLES, len(first), len(second))
    if not overlap:
        return np.concatenate([first, second.astype(np.float32)])
    fade = np.linspace(1.0, 0.0, overlap, dtype=np.float32)
    middle = first[-overlap:] * fade + second[:overlap] * (1.0 - fade)
    return np.concatenate([first[:-overlap], middle, second[overlap:].astype(np.float32)])


def make(source: Path, model: str, hours: float, seed: int, out: Path) -> Shard:
    """Write ``hours`` of spliced speech of the speakers of shard ``source``.

    A speaker is heard in proportion to what there is of it. Raises TrainingError where no word can
    be used, or the shard is not there.
    """
    if not Shard.exists(source):
        raise TrainingError(f"there is no shard {source}")
    shard, acoustic = Shard.load(source), checkpoint.load(model)
    found: dict[str, list[list[Word]]] = defaultdict(list)
    for clip, heard in hear(acoustic, shard):
        found[clip.voice] += pieces(shard.samples(clip), clip, heard)
    for runs in found.values():  # batches came in another order than clips
        runs.sort(key=lambda run: run[0].start)
    speakers: dict[str, list[list[Word]]] = defaultdict(list)
    for voice, runs in found.items():
        speakers[voice if sum(map(len, runs)) >= FEWEST_WORDS else OTHERS] += runs
    voices = [voice for voice, runs in speakers.items() if runs]
    if not voices:
        raise TrainingError(f"{source}: {model} hears no word of it as it is written")
    weights = [sum(run[-1].end - run[0].start for run in speakers[voice]) for voice in voices]
    rng, start = random.Random(seed), 0
    clips: list[Clip] = []
    audio: list[NDArray[np.int16]] = []
    while start < hours * 3600 * SAMPLE_RATE:
        (voice,) = rng.choices(voices, weights)
        samples, text = splice(shard, speakers[voice], rng.uniform(*LENGTHS_S), rng)
        clips.append(Clip(f"{out.name}-{len(clips):05d}", start, len(samples), voice, text))
        audio.append(samples)
        start += len(samples)
    made = Shard(np.concatenate(audio), clips)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out)
    return made


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="new sentences from the words of people")
    parser.add_argument("--shard", type=Path, required=True, help="of people, without suffix")
    parser.add_argument("--model", required=True, help="checkpoint that finds the words")
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="shard to write, without suffix")
    arguments = parser.parse_args()

    def run() -> None:
        given = arguments.shard, arguments.model, arguments.hours, arguments.seed, arguments.out
        made = make(*given)
        print(f"{arguments.out}: {len(made.clips)} clips")

    return told("splicing", run, checkpoint.CheckpointError)


if __name__ == "__main__":
    sys.exit(main())
