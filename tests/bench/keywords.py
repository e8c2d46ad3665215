"""Keywords heard and missed, and false alarms, by threshold.

    python -m tests.bench.keywords

Two lists: the wake words of ../shared/data, and commands for ordering coffee. People: its wake-word
clips of the development set (other speakers than in training), and its 500 orders (never trained
on), whose slots say which commands are in them. Synthetic: every phrase by drawn voices of
espeak-ng and flite, in a sentence. A false alarm is any detection in a clip that does not hold the
phrase: all development clips and all orders count for the hours. A detection anywhere in its clip
is a hit: the clips do not say where the phrase is.

Each clip is streamed by itself, once; every threshold then hears the same log-probabilities. One
table a list: a column a threshold, rows of hits of all that were there, and false alarms an hour of
the whole list.
"""

import argparse
import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.training.data import read_audio
from models.training.voices import draw_voice, speak
from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core import keywords
from streamer.core.context import SAMPLE_RATE, Grid
from streamer.core.keywords import Phrase
from streamer.core.listener import PAUSE_S, REST_S
from streamer.core.stream import Stream
from streamer.engine.runner import ModelRunner
from streamer.reporting.table import Row, as_text

DATA = Path("../shared/data")
THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.1)
WAKE_WORDS = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")
COMMANDS = (
    *("americano", "espresso", "cappuccino", "mocha", "latte", "single shot", "double shot"),
    *("triple shot", "light roast", "medium roast", "dark roast", "brown sugar", "skim milk"),
    *("twelve ounce", "iced coffee"),
)
SENTENCES = ("{}", "please {} now", "well {}", "i would like the {} today", "hey {} come here")
VOICES = 12  # for each phrase
SEED = 31
SLOTS = 16  # clips streamed side by side


@dataclass(slots=True)
class Clip:
    """A recording, and what is known to be said in it."""

    source: str
    samples: np.ndarray  # float32 (S,)
    text: str
    log_probs: np.ndarray | None = None  # (T, V)


def people() -> Iterator[Clip]:
    """The development clips and the orders."""
    for name, column in (("manifest.tsv", "transcript"), ("slots.tsv", "slot_values")):
        with (DATA / name).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                if "/train/" not in row["path"]:
                    samples = read_audio(DATA / row["path"]).astype(np.float32) / 32768.0
                    yield Clip("people", samples, row[column].replace("|", " , "))


def synthetic(phrases: Sequence[str]) -> Iterator[Clip]:
    """Each phrase by voices of its own."""
    rng = random.Random(SEED)
    for phrase in phrases:
        for _ in range(VOICES):
            text = rng.choice(SENTENCES).format(phrase)
            samples = speak(text, draw_voice(rng, ("espeak", "flite")))
            yield Clip("synthetic", samples.astype(np.float32) / 32768.0, text)


def stream(model: ModelRunner, clips: Sequence[Clip]) -> None:
    """Give each clip its log-probabilities, as streamed, SLOTS clips at a time."""
    for at in range(0, len(clips), SLOTS):
        batch = clips[at : at + SLOTS]
        model.reset(list(range(len(batch))))
        streams = [Stream(model.context, model.grid, model.labels) for _ in batch]
        pieces: list[list[np.ndarray]] = [[] for _ in batch]
        for each, clip in zip(streams, batch, strict=True):
            each.accept_waveform(clip.samples)
            each.input_finished()
        while slots := [slot for slot, each in enumerate(streams) if each.is_ready()]:
            windows = [streams[slot].next_window()._replace(wants_all=True) for slot in slots]
            for slot, window, frames in zip(slots, windows, model.run(slots, windows), strict=True):
                assert frames.all_log_probs is not None
                chunk = frames.all_log_probs[window.left : window.left + window.chunk]
                pieces[slot].append(chunk.astype(np.float32))
                streams[slot].accept_frames(frames)
        for clip, chunks in zip(batch, pieces, strict=True):
            clip.log_probs = np.concatenate(chunks)


def heard(model: ModelRunner, phrases: Sequence[Phrase], clip: Clip) -> Counter[int]:
    """How often each phrase was spotted in a clip, by its place in the list."""

    def frames(seconds: float) -> int:
        return model.grid.covering_frames(Grid.samples_in(seconds))

    search = keywords.spotter(
        phrases, model.labels, pause_frames=frames(PAUSE_S), rest_frames=frames(REST_S)
    )
    assert clip.log_probs is not None
    state, spotted = keywords.fold(keywords.start(search), clip.log_probs, search)
    return Counter(each.index for each in spotted + keywords.finish(state, search)[1])


def table(model: ModelRunner, texts: Sequence[str], clips: Sequence[Clip]) -> str:
    """Hits by source and by phrase, and false alarms an hour."""
    phrases = [Phrase(text, threshold) for text in texts for threshold in THRESHOLDS]
    said: Counter[tuple[str, str]] = Counter()
    hits: Counter[tuple[str, str, float]] = Counter()
    alarms: Counter[tuple[str, float]] = Counter()
    hours: Counter[str] = Counter()
    for clip in clips:
        hours[clip.source] += len(clip.samples) / SAMPLE_RATE / 3600
        said.update((clip.source, text) for text in texts if f" {text} " in f" {clip.text} ")
        for index, count in heard(model, phrases, clip).items():
            phrase = phrases[index]
            if f" {phrase.text} " in f" {clip.text} ":
                hits[clip.source, phrase.text, phrase.threshold] += 1
            else:
                alarms[clip.source, phrase.threshold] += count
    rows = [Row("threshold", tuple(f"{threshold:g}" for threshold in THRESHOLDS))]
    for source in hours:
        for name, group in [*((text, (text,)) for text in texts), ("all", texts)]:
            there = sum(said[source, text] for text in group)
            found = [sum(hits[source, text, t] for text in group) for t in THRESHOLDS]
            if there and (source == "people" or name == "all"):
                cells = tuple(f"{count / there:.0%}" for count in found)
                rows.append(Row(f"{source}, {name} ({there})", cells))
        rates = tuple(f"{alarms[source, t] / hours[source]:.1f}" for t in THRESHOLDS)
        rows.append(Row(f"{source}, false alarms an hour ({hours[source]:.2f} h)", rates))
    return as_text(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--preset", default="default")
    arguments = parser.parse_args()
    config = replace(ModelConfig(), name=arguments.model, preset=arguments.preset)
    model = build_model(config, SLOTS)
    found = list(people()) if DATA.is_dir() else []
    if not found:
        print(f"{DATA} is absent: synthetic clips only")
    clips = found + list(synthetic((*WAKE_WORDS, *COMMANDS)))
    clips.sort(key=lambda clip: (clip.source, len(clip.samples)))  # neighbours end together
    stream(model, clips)
    for title, texts in (("Wake words", WAKE_WORDS), ("Commands", COMMANDS)):
        print(f"\n{title}, {len(texts)} phrases\n{table(model, texts, clips)}", flush=True)


if __name__ == "__main__":
    main()
