"""Words heard where nothing is said: every noise of the shared set, and two minutes of silence.

    python -m tests.bench.noise --model tiny-en

One table: recording, minutes, words, words a minute. The last three noises named HELD_OUT were
never trained on as "nothing is said here".
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.training.data import SAMPLE_RATE, read_audio
from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.hypothesis import Final
from streamer.core.recognizer import Recognizer

NOISES = Path("../shared/data/noise")
HELD_OUT = ("sc_exercise_bike", "pr_bg_noise9", "sc_dude_miaowing")


def recordings() -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 samples) of the noises and of digital and faint analogue silence."""
    for path in sorted(NOISES.glob("*.flac"), key=lambda path: (path.stem in HELD_OUT, path)):
        yield path.stem, read_audio(path).astype(np.float32) / 32768.0
    rng = np.random.default_rng(0)
    yield "digital silence", np.zeros(60 * SAMPLE_RATE, np.float32)
    yield "hiss at -70 dBFS", rng.normal(0.0, 10**-3.5, 60 * SAMPLE_RATE).astype(np.float32)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--lm", default="auto", help="none: greedy decoding")
    parser.add_argument("--preset", default="default")
    arguments = parser.parse_args()
    config = replace(ModelConfig(), name=arguments.model, preset=arguments.preset, lm=arguments.lm)
    recognizer = Recognizer(build_model(config))
    words, minutes = 0, 0.0
    for name, samples in recordings():
        events = recognizer.transcribe(samples)
        finals = [event for event in events if isinstance(event, Final)]
        count = sum(len(final.text.split()) for final in finals)
        words, minutes = words + count, minutes + len(samples) / SAMPLE_RATE / 60
        print(f"{name:<22}{len(samples) / SAMPLE_RATE / 60:6.2f} min {count:5d} words")
    print(f"{'all':<22}{minutes:6.2f} min {words:5d} words {words / minutes:8.2f} a minute")


if __name__ == "__main__":
    main()
