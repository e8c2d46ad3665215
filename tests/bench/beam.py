"""Beam search: frames per second on one core, and error rates over its settings.

    python -m tests.bench.beam                                  # speed, on logits that are made up
    python -m tests.bench.beam --shards runs/human-dev/dev      # and on those of real speech
    python -m tests.bench.beam --shards runs/human-dev/dev --sweep

CPU time of this process alone. Made-up logits spell words of the language model, a letter every 3.3
frames, some of them ambiguous; "hour" is the same search after an hour of them. `--sweep` decodes
full-context log-probabilities of whole clips (computed once) and prints word error rates.
"""

import argparse
import time
import tracemalloc
from collections import defaultdict
from pathlib import Path

import jiwer
import numpy as np

from models import checkpoint
from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core import ctc
from streamer.core.beam import BeamRules, BeamState, Search, finish, fold
from streamer.core.frames import Labels
from streamer.core.options import Hotword
from streamer.core.scoring import NoScorer, Scorer
from streamer.engine.runner import ModelRunner
from streamer.evaluation.manifest import Recording, read
from streamer.language_model import Hotwords, LanguageModel, Ngrams, load_ngrams

BATCH = 32
CHUNK = 16  # frames a fold
HOTWORDS = (Hotword("kitchen lamp"), Hotword("coffee"), Hotword("zebra"))


def made_up(words: list[str], frames: int, ambiguous: float, seed: int = 0) -> np.ndarray:
    """Log-probs (T, V) that spell random words: a letter every 3.3 frames, peaked."""
    rng = np.random.default_rng(seed)
    labels = ["", " ", *"abcdefghijklmnopqrstuvwxyz'"]
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


def seconds(log_probs: np.ndarray, search: Search) -> tuple[float, BeamState]:
    """CPU time to fold everything in chunks, and the state behind it."""
    begin, state = time.process_time(), BeamState.start(search.scorer)
    for at in range(0, len(log_probs), CHUNK):
        state, _ = fold(state, log_probs[at : at + CHUNK], search)
    return time.process_time() - begin, state


def speed(labels: Labels, ngrams: Ngrams, real: np.ndarray | None) -> None:
    """Print frames per second, by beam and scorer."""
    words = sorted(ngrams.words)
    kinds = {f"{share:.0%} ambiguous": made_up(words, 8_000, share) for share in (0.15, 0.5)}
    if real is not None:
        kinds["real speech"] = real[:8_000]
    scorers = {
        "none": NoScorer,
        "lm": lambda: LanguageModel(ngrams, alpha=0.5, beta=1.5),
        "lm, hotwords": lambda: Hotwords(
            LanguageModel(ngrams, alpha=0.5, beta=1.5),
            HOTWORDS,
            letter_weight=1.0,
        ),
    }
    print(f"{'frames/s':16} {'scorer':14}" + "".join(f"{f'beam {w}':>10}" for w in (8, 25, 100)))
    for kind, log_probs in kinds.items():
        for name, scorer in scorers.items():
            found = []
            for width in (8, 25, 100):
                search = search_of(labels, scorer(), live_rules(width))
                found.append(len(log_probs) / seconds(log_probs, search)[0])
            print(f"{kind:16} {name:14}" + "".join(f"{each:10.0f}" for each in found))


def live_rules(width: int) -> BeamRules:
    """As a stream of 20 ms frames has them."""
    waits = {"pause_frames": 20, "sentence_frames": 60, "word_frames": 40, "max_frames": 150}
    return BeamRules(width, doubt=0.05, **waits)


def hour(labels: Labels, ngrams: Ngrams) -> None:
    """Print the time and memory of a search by the minute."""
    scorer = LanguageModel(ngrams, alpha=0.5, beta=1.5)
    search, state = search_of(labels, scorer, live_rules(25)), BeamState.start(scorer)
    words, minute = sorted(ngrams.words), 3_000
    tracemalloc.start()
    print("minute   µs/frame   KiB")
    for index in range(1, 61):
        log_probs = made_up(words, minute, 0.3, seed=index)
        before, begin = tracemalloc.get_traced_memory()[0], time.process_time()
        for at in range(0, minute, CHUNK):
            state, _ = fold(state, log_probs[at : at + CHUNK], search)
        spent = time.process_time() - begin
        held = tracemalloc.get_traced_memory()[0] - log_probs.nbytes
        del before
        if index in (1, 2, 5, 10, 20, 40, 60):
            print(f"{index:6} {spent / minute * 1e6:10.1f} {held / 1024:7.0f}")
    tracemalloc.stop()


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
    parser.add_argument("--shards", type=Path, nargs="+", default=[])
    parser.add_argument("--limit", type=int, help="clips of each shard")
    parser.add_argument("--hour", action="store_true", help="time and memory over an hour")
    parser.add_argument("--sweep", action="store_true", help="word error rates over the settings")
    parser.add_argument("--beams", type=int, nargs="+", default=[8, 25])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--betas", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    parser.add_argument("--live", action="store_true", help="with a live stream's rules too")
    settings = parser.parse_args()
    model = build_model(ModelConfig(name=settings.model, dtype="float32"))
    labels, ngrams = model.labels, load_ngrams(settings.lm)
    found = recordings(settings.shards, settings.limit)
    answers = offline(model, found)
    if settings.sweep:
        sweep(labels, ngrams, found, answers, settings)
    elif settings.hour:
        hour(labels, ngrams)
    else:
        speed(labels, ngrams, np.concatenate(answers) if answers else None)


if __name__ == "__main__":
    main()
