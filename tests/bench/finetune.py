"""A full-context checkpoint learns to stream: error rates and emission times, term by term.

    python -m tests.bench.finetune --out runs/finetune

Needs the program flite, which speaks the data: commands for a house, 98 words, one voice; none of
the 100 sentences that are tested is among the 600 to learn from. A small network (4 layers, width
128, frames of 40 ms) first learns them from nothing with full context, normalised per utterance, as
checkpoints on the hub are. That one is then fine-tuned on the same clips: as a control once more
with full context, then under chunk masks, plain and with each term that is to make it better or
earlier. Streamed is with 3.2 s of left context and running normalisation, full context with
normalisation per utterance.

Emission is when a letter's first frame comes in chunks of 320 ms, against the full-context pass of
the checkpoint before, over the letters that both say at the same place.
"""

import argparse
import random
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch

from models import checkpoint
from models.acoustic import AcousticModel
from models.features import FeatureConfig, with_normalization
from models.training.data import SAMPLE_RATE, collate, read_audio
from models.training.manifest import read_manifest
from models.training.network import VOCABULARY, encoder_config, initialize
from models.training.phrases import phrase
from models.training.recipe import Geometry
from models.training.voices import Voice, speak
from models.wav2vec2_bert import Chunking, Wav2Vec2BertForCTC
from streamer.cli import main as streamer

BATCH = 25
VOICE = Voice("flite", "slt", words_per_minute=175, pitch=50, warp=1.0)
FIRST_WORDS = (
    *("turn", "switch", "open", "close", "start"),
    *("stop", "check", "dim", "set", "please"),
)
TRAIN_CLIPS, DEV_CLIPS = 600, 100
GEOMETRY = Geometry(stride=4, layers=4, width=128, heads=4, intermediate=256, kernel=15)
WHOLE = "--full-context-share 1 --utterance-share 1 --distillation 0"
CHUNKS_S = (0.64, 0.32, 0.16)
EMISSION_CHUNK_S = 0.32
LEFT_S = 3.2
RUNS = {
    "more full context": WHOLE,
    "chunk masks": "--distillation 0",
    "+ distillation 0.3": "--distillation 0.3",
    "+ TrimTail 0.1 s": "--distillation 0 --trim-s 0.1",
    "+ TrimTail 0.3 s": "--distillation 0 --trim-s 0.3",
    "+ peak-first 0.1": "--distillation 0 --peak-first 0.1",
    "+ peak-first 0.5": "--distillation 0 --peak-first 0.5",
    "+ distillation, peak-first 0.1": "--distillation 0.3 --peak-first 0.1",
}

Letters = list[tuple[str, int]]  # what is said, and the frame in which it comes first


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip of the dev set."""

    samples: np.ndarray  # int16 (S,)
    text: str


def sentences() -> list[str]:
    """Different commands, always the same."""
    rng, found = random.Random(1), {}
    while len(found) < TRAIN_CLIPS + DEV_CLIPS:
        text = phrase(rng)
        if text.split()[0] in FIRST_WORDS:
            found[text] = None
    return list(found)


def record(texts: list[str], folder: Path) -> list[Clip]:
    """Speak ``texts`` into sound files with a manifest, unless they are there."""
    manifest = folder / "manifest.tsv"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = ["path\ttext"]
        for index, text in enumerate(texts):
            soundfile.write(folder / f"{index}.flac", speak(text, VOICE), SAMPLE_RATE)
            rows.append(f"{index}.flac\t{text}")
        manifest.write_text("\n".join(rows) + "\n")
    return [Clip(read_audio(row.path), row.text) for row in read_manifest(manifest)]


def letters(acoustic: AcousticModel, clips: list[Clip], chunk_s: float | None) -> list[Letters]:
    """What greedy CTC says of each clip, and when; None is full context."""
    frame_s = acoustic.features.config.hop_samples / SAMPLE_RATE
    mask = None if chunk_s is None else Chunking(round(LEFT_S / frame_s), round(chunk_s / frame_s))
    vocabulary, found = acoustic.vocabulary, []
    for start in range(0, len(clips), BATCH):
        group = clips[start : start + BATCH]
        batch = collate([clip.samples for clip in group], [clip.text for clip in group])
        audio, lengths = torch.from_numpy(batch.audio) / 2**15, torch.from_numpy(batch.lengths)
        with torch.inference_mode():
            log_probs, frames = acoustic(audio, lengths, mask)
        for ids, count in zip(log_probs.argmax(dim=-1).tolist(), frames.tolist(), strict=True):
            runs = groupby(enumerate(ids[:count]), key=lambda item: item[1])
            firsts = [next(run) for _, run in runs]
            found.append(
                [(vocabulary.tokens[i], t) for t, i in firsts if i not in vocabulary.silent]
            )
    return found


def error_rate(said: list[Letters], clips: list[Clip], acoustic: AcousticModel) -> float:
    """Word error rate."""
    delimiter = acoustic.vocabulary.tokens[acoustic.vocabulary.delimiter or 0]
    texts = ["".join(text for text, _ in each).replace(delimiter, " ").strip() for each in said]
    return float(jiwer.wer([clip.text for clip in clips], texts))


def emission_s(said: list[Letters], reference: list[Letters], hop_s: float) -> float:
    """Mean time after the ``reference`` of the letters that both say."""
    delays = []
    for one, other in zip(said, reference, strict=True):
        matcher = SequenceMatcher(None, [t for t, _ in one], [t for t, _ in other], autojunk=False)
        for block in matcher.get_matching_blocks():
            pairs = zip(one[block.a :], other[block.b :], strict=False)
            delays += [(a - b) * hop_s for (_, a), (_, b) in list(pairs)[: block.size]]
    return float(np.mean(delays))


def finetune(start: str, options: str, out: Path, arguments: argparse.Namespace) -> str:
    """One run of the command line; returns the model's directory."""
    data = str(arguments.out / "train" / "manifest.tsv")
    common = f"--batch-s {arguments.batch_s} --log-every 20"
    command = ["finetune", start, "--data", data, "--out", str(out), *common.split()]
    command += options.split()
    print("streamer", *command, flush=True)
    assert streamer(command) == 0
    return str(out)


def full_context(arguments: argparse.Namespace) -> str:
    """A network that has learnt with full context alone."""
    torch.manual_seed(1)
    network = Wav2Vec2BertForCTC(encoder_config(GEOMETRY))
    initialize(network)
    random_weights = arguments.out / "random"
    checkpoint.save(random_weights, network, FeatureConfig(stride=GEOMETRY.stride), VOCABULARY)
    options = f"{WHOLE} --steps {arguments.first_steps} --learning-rate {arguments.first_rate}"
    return finetune(str(random_weights), options, arguments.out / "first", arguments)


def loaded(model: str) -> AcousticModel:
    """A checkpoint whose full-context pass is normalised per utterance, whatever it says."""
    acoustic = checkpoint.load(model)
    features = with_normalization(acoustic.features.config, "utterance")
    return AcousticModel(model, acoustic.model, features, acoustic.vocabulary).eval()


def row(name: str, model: str, clips: list[Clip], reference: list[Letters]) -> str:
    """A line of the table."""
    acoustic = loaded(model)
    said = {chunk_s: letters(acoustic, clips, chunk_s) for chunk_s in (None, *CHUNKS_S)}
    rates = " | ".join(f"{error_rate(each, clips, acoustic):.1%}" for each in said.values())
    hop_s = acoustic.hop_samples / SAMPLE_RATE
    delay_ms = 1000 * emission_s(said[EMISSION_CHUNK_S], reference, hop_s)
    return f"| {name} | {rates} | {delay_ms:+.0f} |"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch-s", type=float, default=30.0)
    parser.add_argument("--first-steps", type=int, default=250)
    parser.add_argument("--first-rate", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    arguments = parser.parse_args()
    texts = sentences()
    record(texts[:TRAIN_CLIPS], arguments.out / "train")
    clips = record(texts[TRAIN_CLIPS:], arguments.out / "dev")
    start = full_context(arguments)
    reference = letters(loaded(start), clips, None)
    chunks = " | ".join(f"{chunk_s * 1000:.0f} ms" for chunk_s in CHUNKS_S)
    lines = [
        f"| WER | full context | {chunks} | emission, ms |",
        "|---|---|---|---|---|---|",
        row("before", start, clips, reference),
    ]
    print(lines[-1], flush=True)
    schedule = f"--steps {arguments.steps} --learning-rate {arguments.rate}"
    for name in arguments.only:
        out = arguments.out / name.replace(" ", "-").replace("+", "with")
        model = finetune(start, f"{RUNS[name]} {schedule}", out, arguments)
        lines.append(row(name, model, clips, reference))
        print(lines[-1], flush=True)
    print("", *lines, sep="\n")


if __name__ == "__main__":
    main()
