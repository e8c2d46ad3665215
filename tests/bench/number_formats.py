"""What number formats cost in words, against float32: one table, every clip in every format.

    python -m tests.bench.number_formats MANIFEST [--only TEXT] [--leave-out TEXT] [--limit N]
        [--preset P] [--formats bfloat16 bfloat16+int8 …]

A format is that of the products, and after a + that of the keys and values that are kept. Streams
of `tiny-en` in `cache` mode, decoded greedily, without endpoints; a clip differs if its text does.
A flip is a frame with another best label than in float32, its margin what float32 has between its
two best, in nats. One thread, processor time of the steps.
"""

import argparse
import time
from pathlib import Path

import jiwer
import numpy as np
import torch

from models import checkpoint
from models.acoustic import AcousticModel
from models.state import state_bytes
from models.vocabulary import Vocabulary
from streamer.assembly import geometry
from streamer.config import ModelConfig
from streamer.core.chunker import Waveform
from streamer.core.context import Context, Grid
from streamer.engine.device import choose_dtype, eight_bit
from streamer.evaluation import manifest

FORMATS = ("bfloat16", "float16", "bfloat16+int8", "bfloat16+float8", "int8", "float8")
BATCH = 24


@torch.inference_mode()
def streamed(model: AcousticModel, clips: list[Waveform], context: Context) -> list[np.ndarray]:
    """Log-probs (U, V) of each clip; neighbours in length share a batch."""
    grid, found = Grid(model.hop_samples, model.tail_samples), {}
    step, total = grid.samples(context.chunk), context.chunk + context.right
    order = sorted(range(len(clips)), key=lambda index: len(clips[index]))
    for numbers in (order[at : at + BATCH] for at in range(0, len(order), BATCH)):
        frames = torch.tensor([grid.covering_frames(len(clips[n])) for n in numbers])
        steps = -(-int(frames.max()) // context.chunk)
        audio = torch.zeros(len(numbers), grid.span_samples(steps * context.chunk + context.right))
        for row, number in zip(audio, numbers, strict=True):
            row[: len(clips[number])] = torch.from_numpy(clips[number])
        slots, parts = torch.arange(len(numbers)), []
        state = model.init_state(len(numbers), context.left, context.chunk, context.right, True)
        for index in range(steps):
            ahead = frames - index * context.chunk
            log_probs, state = model.forward_chunk(
                audio[:, index * step : index * step + grid.span_samples(total)],
                slots,
                ahead.clamp(0, context.chunk),
                ahead.clamp(0, total),
                state,
                slice(0, len(numbers)),
            )
            parts.append(log_probs[:, : context.chunk])
        whole = torch.cat(parts, dim=1).numpy()
        found |= {n: row[:count] for n, row, count in zip(numbers, whole, frames, strict=True)}
    return [found[number] for number in range(len(clips))]


def text(log_probs: np.ndarray, labels: Vocabulary) -> str:
    best = log_probs.argmax(-1)
    kept = best[np.flatnonzero(np.diff(best, prepend=-1) != 0)]
    spelled = (" " if k == labels.delimiter else labels.tokens[k] for k in kept)
    pieces = [s for k, s in zip(kept, spelled, strict=True) if k != labels.blank]
    return " ".join("".join(pieces).split())


def words_apart(one: str, other: str) -> int:
    if not one:
        return len(other.split())
    counts = jiwer.process_words(one, other)
    return counts.substitutions + counts.deletions + counts.insertions


def margins(exact: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    """Of each flip, in float32."""
    flips = [
        np.diff(np.sort(one[one.argmax(-1) != other.argmax(-1)])[:, -2:])
        for one, other in zip(exact, found, strict=True)
    ]
    return np.concatenate(flips).ravel()


def report(name: str, clips: list[Waveform], said: list[str], preset: str, exact: list | None):
    """Print one row; what was found."""
    products, _, kept = name.partition("+")
    model = checkpoint.load("tiny-en").place(
        "cpu", choose_dtype(products, "cpu"), products=eight_bit(products), kv=eight_bit(kept)
    )
    grid = Grid(model.hop_samples, model.tail_samples)
    context = geometry(ModelConfig(preset=preset), grid)
    size = state_bytes(model.init_state(1, context.left, context.chunk, context.right, True))
    began = time.process_time()
    found = streamed(model, clips, context)
    taken_s = time.process_time() - began
    exact, labels = exact or found, model.vocabulary
    pairs = [(text(a, labels), text(b, labels)) for a, b in zip(exact, found, strict=True)]
    apart = [words_apart(*pair) for pair in pairs]
    gaps = margins(exact, found)
    quantiles = np.quantile(gaps, [0.5, 0.99, 1]) if len(gaps) else np.zeros(3)
    wer = 100 * jiwer.wer(said, [heard for _, heard in pairs])
    print(
        f"{name:16} {sum(a != b for a, b in pairs):6} {sum(apart):6} {wer:7.2f} {len(gaps):6}",
        *(f"{gap:7.3f}" for gap in quantiles),
        f"{size / 1024:8.0f} {taken_s:8.1f}",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--leave-out", default="\n")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--formats", nargs="*", default=FORMATS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [
        each
        for each in manifest.read(asked.manifest)
        if asked.only in str(each.path) and asked.leave_out not in f"{each.path} {each.id}"
    ][: asked.limit]
    clips, said = [each.samples() for each in chosen], [each.text for each in chosen]
    print(f"{len(clips)} clips, {sum(len(each.split()) for each in said)} words, {asked.preset}")
    print("format            clips  words   WER %  flips  margin p50  p99   max    KiB/session   s")
    exact = report("float32", clips, said, asked.preset, None)
    for name in asked.formats:
        report(name, clips, said, asked.preset, exact)


if __name__ == "__main__":
    main()
