"""Full-size encoder on this machine: cached chunks against re-encoded windows, in one run.

    python -m tests.bench.encoder

580 M parameters with random weights; 3.2 s of left context, chunks of 0.64 s, 0.64 s of right
context where there is one. The windows are what people do today: `transformers` encodes left
context, chunk and right context anew for every chunk. Features are left out on both sides. "x real
time" is audio committed per second of computing: the live streams that it could just carry.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from transformers import Wav2Vec2BertConfig
from transformers import Wav2Vec2BertForCTC as Reference

from models.conformer import Rows
from models.wav2vec2_bert import Chunking, EncoderConfig, Wav2Vec2BertForCTC

LEFT, CHUNK, RIGHT = 160, 32, 32  # frames of 20 ms
CHUNK_S = CHUNK * 0.02


def reference_windows(model: Reference, streams: int, dtype: torch.dtype) -> Callable[[], object]:
    """One window of every stream through transformers."""
    features = torch.randn(streams, LEFT + CHUNK + RIGHT, 160, dtype=dtype)
    return lambda: model(features).logits


def own_windows(
    model: Wav2Vec2BertForCTC, streams: int, dtype: torch.dtype
) -> Callable[[], object]:
    """One window of every stream through this engine."""
    features = torch.randn(streams, LEFT + CHUNK + RIGHT, 160, dtype=dtype)
    lengths = torch.full((streams,), LEFT + CHUNK + RIGHT)
    return lambda: model(features, lengths)


def cached_chunks(
    model: Wav2Vec2BertForCTC, streams: int, dtype: torch.dtype, right: int
) -> Callable[[], object]:
    """One chunk of every stream, and its lookahead, through this engine."""
    chunking = Chunking(LEFT, CHUNK, right)
    state = model.wav2vec2_bert.init_state(streams, chunking)
    state.reset(torch.arange(streams))
    features = torch.randn(streams, CHUNK + right, 160, dtype=dtype)
    full = torch.full((streams,), CHUNK)
    rows = Rows(torch.arange(streams), full, full + right)
    step = lambda: model.forward_chunk(features, rows, state, chunking)  # noqa: E731
    for _ in range(LEFT // CHUNK):  # fill the left context: what is measured is the long run
        step()
    return step


def seconds_per_step(step: Callable[[], object], repeats: int) -> float:
    """Median time of a step, after one to warm up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


@torch.inference_mode()
def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    arguments = parser.parse_args()
    config = EncoderConfig()
    reference = Reference(Wav2Vec2BertConfig(**asdict(config))).eval()
    own = Wav2Vec2BertForCTC(config).eval().bfloat16()
    bf16 = torch.bfloat16
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, streams side by side:")
    print(f"{'':44}" + "".join(f"{count:>18}" for count in arguments.streams))
    baseline: dict[int, float] = {}
    for name, build in (
        ("transformers windows, float32", lambda n: reference_windows(reference, n, torch.float32)),
        (
            "transformers windows, bfloat16",
            lambda n: reference_windows(reference.to(bf16), n, bf16),
        ),
        ("own windows, bfloat16", lambda n: own_windows(own, n, bf16)),
        ("own cache + 0.64 s lookahead, bfloat16", lambda n: cached_chunks(own, n, bf16, RIGHT)),
        ("own cache, bfloat16", lambda n: cached_chunks(own, n, bf16, 0)),
    ):
        cells = []
        for streams in arguments.streams:
            speed = streams * CHUNK_S / seconds_per_step(build(streams), arguments.repeats)
            ratio = speed / baseline.setdefault(streams, speed)
            cells.append(f"{speed:6.2f} x ({ratio:5.1f})")
        print(f"{name:44}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    print("x real time (ratio to transformers in float32 with as many streams)")


if __name__ == "__main__":
    main()
