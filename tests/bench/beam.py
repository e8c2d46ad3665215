"""Beam search: frames per second on one core, and error rates over its settings.

    python -m tests.bench.beam --data ../data/manifest.tsv          # speed, real and made-up logits
    python -m tests.bench.beam --data ../data/manifest.tsv --hour   # time and memory over an hour
    python -m tests.bench.beam --shards runs/human-dev/dev --sweep

CPU time of this process alone; language model and search have heard nothing before. Real logits are
those of live streams: of the manifest's people (rows with `--only`, not `fd_`) and of espeak-ng.
Made-up ones spell words of the language model, a letter every 3.3 frames, some of them ambiguous.
`--hour` gives one search ten minutes of the people's, six times. `--sweep` decodes
full-context log-probabilities of whole clips (computed once) and prints word error rates.
"""

import argparse
import random
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, cast

import jiwer
import numpy as np

from models import checkpoint
from streamer.api import build_model
from streamer.config import EndpointRules, ModelConfig
from streamer.core import ctc
from streamer.core.beam import BeamRules, BeamState, Search, finish, fold
from streamer.core.frames import Labels
from streamer.core.options import Hotword
from streamer.core.recognizer import Model
from streamer.core.scoring import NoScorer, Scorer
from streamer.engine.runner import ModelRunner
from streamer.evaluation.manifest import Recording, read
from streamer.evaluation.simulation import simulate
from streamer.language_model import Hotwords, LanguageModel, Ngrams, load_ngrams
from tests.bench.latency import RATES, SENTENCES, VOICES, Speaker

BATCH = 32
CHUNK = 8  # frames a fold, as the preset `default` has them
FRAMES = 15_000  # ten minutes of frames of 40 ms
SLOTS = 16
WIDTHS = (8, 25, 100)
MADE_UP = Labels(("", " ", *"abcdefghijklmnopqrstuvwxyz'"), 0, 1)
HOTWORDS = (Hotword("kitchen lamp"), Hotword("coffee"), Hotword("zebra"))


def made_up(words: list[str], frames: int, ambiguous: float, seed: int = 0) -> np.ndarray:
    """Log-probs (T, V) that spell random words: a letter every 3.3 frames, peaked."""
    rng = np.random.default_rng(seed)
    labels = MADE_UP.tokens
    logits = rng.normal(0, 1, (frames, len(labels)))
    frame = 0
    while frame < frames:
        for letter in rng.choice(words) + " ":
            frame += 1 + rng.binomial(4, 0.575)
            if frame >= frames:
                break
            logits[frame, labels.index(letter)] += 16
            if rng.random() < ambiguous:
                logits[frame, rng.integers(1, len(labels))] += 15.5
    logits[logits.max(axis=1) < 8, 0] += 16
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def search_of(labels: Labels, scorer: Scorer, rules: BeamRules) -> Search:
    assert labels.delimiter is not None
    return Search(labels.tokens, labels.silent | {labels.blank}, labels.delimiter, scorer, rules)


class Kept:
    """A model whose log-probs are kept, by stream."""

    def __init__(self, model: ModelRunner) -> None:
        self._model = model
        self._live: dict[int, list[np.ndarray]] = {}
        self.streams: list[list[np.ndarray]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def run(self, slots, windows):
        answers = self._model.run(slots, windows)
        for slot, window, frames in zip(slots, windows, answers, strict=True):
            self._live[slot].append(frames.part(window.left, window.left + window.chunk))
        return answers

    def reset(self, slots):
        self._model.reset(slots)
        for slot in slots:
            self._live[slot] = []
            self.streams.append(self._live[slot])


@dataclass
class Said:
    """Speech as `simulate` takes it."""

    speech: np.ndarray

    def samples(self) -> np.ndarray:
        return self.speech


def live(model: ModelRunner, said: Sequence[Recording | Said]) -> np.ndarray:
    """Log-probs (T, V) of all of it, one stream behind the other, each with its final silence."""
    kept = Kept(model)
    simulate(cast("Model", kept), cast("list[Recording]", said), EndpointRules())
    frames = [frames for stream in kept.streams for frames in stream]
    return np.concatenate([each.all_log_probs for each in frames if each.all_log_probs is not None])


def people(settings: argparse.Namespace) -> list[Recording]:
    found = [each for each in read(settings.data) if settings.only in str(each.path)]
    found = [each for each in found if not each.id.startswith("fd_")]
    random.Random(0).shuffle(found)
    return found[: settings.limit]


def synthetic() -> list[Said]:
    speaker = Speaker()
    voices = zip(SENTENCES, cycle(VOICES), cycle(RATES))
    return [Said(speaker.say(text, *each).samples) for text, *each in voices]


def seconds(log_probs: np.ndarray, search: Search) -> tuple[float, BeamState]:
    """CPU time to fold everything in chunks, and the state behind it."""
    begin, state = time.process_time(), BeamState.start(search.scorer)
    for at in range(0, len(log_probs), CHUNK):
        state, _ = fold(state, log_probs[at : at + CHUNK], search)
    return time.process_time() - begin, state


def speed(labels: Labels, ngrams: Ngrams, real: dict[str, np.ndarray]) -> None:
    """Print frames per second, by beam and scorer."""
    words = sorted(ngrams.words)
    made = {f"made up, {share:.0%}": made_up(words, FRAMES, share) for share in (0.15, 0.5)}
    scorers = {
        "none": NoScorer,
        "lm": lambda: LanguageModel(ngrams, alpha=0.5, beta=1.0),
        "lm, hotwords": lambda: Hotwords(
            LanguageModel(ngrams, alpha=0.5, beta=1.0), HOTWORDS, letter_weight=1.0
        ),
    }
    print(f"{'frames/s':16} {'likely':>7} {'scorer':14}", *(f"beam {w:4}" for w in WIDTHS))
    for kind, log_probs in {**real, **made}.items():
        its = MADE_UP if kind in made else labels
        share = (log_probs >= BeamRules().token_log_prob).sum(axis=1).mean()
        for name, scorer in scorers.items():
            found = []
            for width in WIDTHS:
                search = search_of(its, scorer(), live_rules(width))
                found.append(len(log_probs) / seconds(log_probs, search)[0])
            print(f"{kind:16} {share:7.2f} {name:14}", *(f"{each:9,.0f}" for each in found))


def live_rules(width: int) -> BeamRules:
    """As a stream of 40 ms frames has them."""
    waits = {"pause_frames": 10, "sentence_frames": 15, "word_frames": 15, "max_frames": 75}
    return BeamRules(width, doubt=0.05, **waits)


def hour(labels: Labels, ngrams: Ngrams, log_probs: np.ndarray) -> None:
    """Print time and memory of one search, each time it has heard it all; time in its own run."""
    times = [row[:2] for row in rounds(labels, ngrams, log_probs)]
    tracemalloc.start()
    print("minute   µs/frame   longest fold, ms     KiB   words begun that are remembered")
    for index, (_, _, known) in enumerate(rounds(labels, ngrams, log_probs)):
        held = tracemalloc.get_traced_memory()[0] / 1024
        each, most = times[index]
        print(f"{10 * index + 10:6} {each:10.1f} {most:18.1f} {held:7.0f} {known:12}", flush=True)
    tracemalloc.stop()


def rounds(
    labels: Labels, ngrams: Ngrams, log_probs: np.ndarray
) -> Iterator[tuple[float, float, int]]:
    """Six times through it: µs a frame, ms of the longest fold, words begun that are remembered."""
    scorer = LanguageModel(ngrams, alpha=0.5, beta=1.0)
    search, state = search_of(labels, scorer, live_rules(25)), BeamState.start(scorer)
    for _ in range(6):
        took = []
        for at in range(0, len(log_probs), CHUNK):
            begin = time.process_time()
            state, _ = fold(state, log_probs[at : at + CHUNK], search)
            took.append(time.process_time() - begin)
        known = scorer.part.cache_info().currsize
        yield sum(took) / len(log_probs) * 1e6, max(took) * 1e3, known


# --- error rates ----------------------------------------------------------------------------------


def recordings(shards: list[Path], limit: int | None) -> list[Recording]:
    """The clips of all shards, longest first so that batches are even."""
    found = [each for path in shards for each in read(path.with_suffix(".tsv"))[:limit]]
    return sorted(found, key=lambda each: -each.duration_s())


def offline(model: ModelRunner, found: list[Recording]) -> list[np.ndarray]:
    """Log-probs (T, V) of each clip with full context."""
    groups = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
    return [row for group in groups for row in model.offline([each.samples() for each in group])]


def spell(labels: Labels, log_probs: np.ndarray) -> str:
    """Greedy CTC of one clip."""
    hidden = frozenset(labels.silent | {labels.blank})
    state, tokens = ctc.fold(
        ctc.CtcState(), log_probs.argmax(axis=1), log_probs.max(axis=1), hidden
    )
    last = ctc.open_token(state)
    ids = [token.id for token in (*tokens, *([last] if last else []))]
    return " ".join(
        "".join(" " if i == labels.delimiter else labels.tokens[i] for i in ids).split()
    )


def decoded(log_probs: np.ndarray, search: Search) -> str:
    state, tokens = fold(BeamState.start(search.scorer), log_probs, search)
    tokens += finish(state, search)[1]
    return " ".join(
        "".join(" " if t.id == search.delimiter else search.texts[t.id] for t in tokens).split()
    )


def show(name: str, found: list[Recording], said: list[str]) -> None:
    """A line of word error rates, by source."""
    sources: dict[str, list[int]] = defaultdict(list)
    for index, recording in enumerate(found):
        sources[recording.source].append(index)
        sources["all"].append(index)
    rates = {
        source: jiwer.wer([found[i].text for i in rows], [said[i] for i in rows])
        for source, rows in sorted(sources.items())
    }
    if name == "greedy":
        print(f"{'':26}" + "".join(f"{source:>8}" for source in rates))
    print(f"{name:26}" + "".join(f"{rate:8.1%}" for rate in rates.values()), flush=True)


def sweep(
    labels: Labels,
    ngrams: Ngrams,
    found: list[Recording],
    answers: list[np.ndarray],
    settings: argparse.Namespace,
) -> None:
    show("greedy", found, [spell(labels, row) for row in answers])
    for width in settings.beams:
        search = search_of(labels, NoScorer(), BeamRules(width))
        show(f"beam {width}", found, [decoded(row, search) for row in answers])
        for alpha in settings.alphas:
            for beta in settings.betas:
                scorer = LanguageModel(ngrams, alpha=alpha, beta=beta)
                for rules in (BeamRules(width), live_rules(width))[: 1 + settings.live]:
                    search = search_of(labels, scorer, rules)
                    name = f"beam {width} a {alpha:g} b {beta:g}" + " live" * (rules.doubt > 0)
                    show(name, found, [decoded(row, search) for row in answers])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--lm", type=Path, default=checkpoint.PRETRAINED / "tiny-en/lm.arpa.gz")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--data", type=Path, help="a manifest of people's clips")
    parser.add_argument("--only", default="/dev/", help="rows whose path holds this")
    parser.add_argument("--shards", type=Path, nargs="+", default=[])
    parser.add_argument("--limit", type=int, help="clips of the manifest, or of each shard")
    parser.add_argument("--hour", action="store_true", help="time and memory over an hour")
    parser.add_argument("--sweep", action="store_true", help="word error rates over the settings")
    parser.add_argument("--beams", type=int, nargs="+", default=[8, 25])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--betas", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    parser.add_argument("--live", action="store_true", help="with a live stream's rules too")
    settings = parser.parse_args()
    model = build_model(
        ModelConfig(name=settings.model, dtype=settings.dtype, lm="none", beam=1), SLOTS
    )
    labels, ngrams = model.labels, load_ngrams(settings.lm)
    if settings.sweep:
        found = recordings(settings.shards, settings.limit)
        sweep(labels, ngrams, found, offline(model, found), settings)
    elif settings.hour:
        hour(labels, ngrams, live(model, people(settings))[:FRAMES])
    else:
        real = {"espeak-ng": live(model, synthetic())}
        if settings.data is not None:
            real = {"people": live(model, people(settings))[:FRAMES], **real}
        speed(labels, ngrams, real)


if __name__ == "__main__":
    main()
