"""Word and character error rates of a model on packed speech: full context against streamed.

    python -m tests.bench.accuracy --model tiny-en --shards runs/synthetic/heldout-0-000

Greedy, no language model, no endpointing inside a clip. Sources are told apart by the clip id's
first part (so_, ls_, ka_ …) or, for synthetic speech, by the engine that spoke. Offline is the
whole clip at once with full attention; the others are streamed as `streamer serve` would.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import torch

from models import checkpoint
from models.training.data import SAMPLE_RATE, Clip, Shard
from streamer.api import geometry
from streamer.config import ModelConfig
from streamer.core.context import Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Labels
from streamer.core.hypothesis import Final
from streamer.core.stream import Stream
from streamer.engine.runner import ModelRunner

BATCH = 32
NO_ENDPOINTS = EndpointRules(silence_idle_s=60.0, silence_s=60.0, max_utterance_s=600.0)
PASSES = ("offline", "cache low", "cache default", "cache accurate", "window default")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip, what was said and where it comes from."""

    source: str
    samples: np.ndarray  # float32 (S,)
    text: str


def utterances(paths: list[Path], limit: int | None) -> list[Utterance]:
    """The clips of all shards, longest first so that batches are even."""
    found = [
        Utterance(source_of(clip), shard.samples(clip).astype(np.float32) / 32768.0, clip.text)
        for path in paths
        for shard in [Shard.load(path)]
        for clip in shard.clips[:limit]
    ]
    return sorted(found, key=lambda utterance: -len(utterance.samples))


def source_of(clip: Clip) -> str:
    """The engine of a synthetic clip, the first part of the id of a human one."""
    return clip.voice.split(":")[0] if ":" in clip.voice else clip.id.split("_")[0] + "_"


def offline(model: str, dtype: str, group: list[Utterance]) -> list[str]:
    """Full context, the whole clip in one forward pass."""
    acoustic = loaded(model, dtype)
    grid = Grid(acoustic.hop_samples, acoustic.tail_samples)
    span = [grid.span_samples(grid.covering_frames(len(u.samples))) for u in group]
    audio = torch.zeros(len(group), max(span))
    for row, utterance in zip(audio, group, strict=True):
        row[: len(utterance.samples)] = torch.from_numpy(utterance.samples)
    with torch.inference_mode():
        log_probs, frames = acoustic(audio, torch.tensor(span))
    ids = log_probs.argmax(dim=-1).numpy()
    return [spell(acoustic.vocabulary, row[:count]) for row, count in zip(ids, frames, strict=True)]


def spell(vocabulary: Labels, ids: np.ndarray) -> str:
    """Greedy CTC of one row of ids."""
    changed = np.concatenate([[True], ids[1:] != ids[:-1]])
    kept = [i for i in ids[changed] if i not in vocabulary.silent and i != vocabulary.blank]
    text = "".join(" " if i == vocabulary.delimiter else vocabulary.tokens[i] for i in kept)
    return " ".join(text.split())


@cache
def loaded(model: str, dtype: str) -> checkpoint.AcousticModel:
    """The model, loaded once."""
    return checkpoint.load(model).place("cpu", getattr(torch, dtype))


def streamed(config: ModelConfig, group: list[Utterance]) -> list[str]:
    """Chunk by chunk, all clips of the group side by side."""
    acoustic = loaded(config.name, config.dtype)
    grid = Grid(acoustic.hop_samples, acoustic.tail_samples)
    runner = ModelRunner(
        acoustic,
        mode=config.mode,
        context=geometry(config, grid),
        slots=len(group),
        device="cpu",
        dtype=config.dtype,
    )
    streams = [Stream(runner.context, runner.grid, runner.labels, NO_ENDPOINTS) for _ in group]
    for stream, utterance in zip(streams, group, strict=True):
        stream.accept_waveform(utterance.samples)
        stream.input_finished()
    while ready := [slot for slot, stream in enumerate(streams) if stream.is_ready()]:
        windows = [streams[slot].next_window() for slot in ready]
        for slot, frames in zip(ready, runner.run(ready, windows), strict=True):
            streams[slot].accept_frames(frames)
    return [
        " ".join(event.text for event in stream.take_events() if isinstance(event, Final))
        for stream in streams
    ]


def recognise(name: str, model: str, dtype: str, group: list[Utterance]) -> list[str]:
    """The texts of a group under one of PASSES."""
    if name == "offline":
        return offline(model, dtype, group)
    mode, preset = name.split()
    return streamed(ModelConfig(name=model, mode=mode, preset=preset, dtype=dtype), group)


def rows(found: list[Utterance], texts: dict[str, list[str]]) -> Iterator[list[str]]:
    """A line per source and one for all."""
    sources: dict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(found):
        sources[utterance.source].append(index)
    if len(sources) > 1:
        sources["all"] = list(range(len(found)))
    for source, indices in sorted(sources.items()):
        reference = [found[i].text for i in indices]
        seconds = sum(len(found[i].samples) for i in indices) / SAMPLE_RATE
        line = [source, str(len(indices)), f"{seconds / 60:.1f}"]
        for hypotheses in texts.values():
            said = [hypotheses[i] for i in indices]
            line.append(f"{jiwer.wer(reference, said):6.1%} {jiwer.cer(reference, said):6.1%}")
        yield line


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shards", type=Path, nargs="+", required=True)
    parser.add_argument("--passes", nargs="+", default=list(PASSES), choices=PASSES)
    parser.add_argument("--limit", type=int, help="clips of each shard")
    parser.add_argument("--show", type=int, default=0, help="examples to print")
    arguments = parser.parse_args()
    found = utterances(arguments.shards, arguments.limit)
    groups = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
    texts = {
        name: [
            text
            for group in groups
            for text in recognise(name, arguments.model, arguments.dtype, group)
        ]
        for name in arguments.passes
    }
    print("source   clips    min  " + "  ".join(f"{name:>15}" for name in texts))
    print(" " * 24 + "  ".join(f"{'WER    CER':>15}" for _ in texts))
    for line in rows(found, texts):
        print(f"{line[0]:8} {line[1]:>5} {line[2]:>6}  " + "  ".join(f"{v:>15}" for v in line[3:]))
    for utterance, *said in list(zip(found, *texts.values(), strict=True))[: arguments.show]:
        print(
            "\nsaid:", utterance.text, *(f"\n {n}: {t}" for n, t in zip(texts, said, strict=True))
        )


if __name__ == "__main__":
    main()
