"""The same recordings heard under several conditions: offline, and streamed in several ways.

Owns what is kept of each recording under each condition, and the batches. Must not know: how a
model is built, how results are shown.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamer.core.endpoint import EndpointRules
from streamer.core.options import DecodingOptions
from streamer.core.recognizer import Model
from streamer.evaluation import measures, offline, simulation
from streamer.evaluation.manifest import Recording
from streamer.evaluation.measures import Edits, Hits, Timeline
from streamer.evaluation.normalization import Normalize
from streamer.evaluation.offline import OfflineModel, Times
from streamer.evaluation.simulation import Pace, Progress, Way, no_options

if TYPE_CHECKING:
    from jiwer import AlignmentChunk

BATCH_AUDIO_S = 320.0  # of one offline pass, padding included
PACE_AUDIO_S = 20.0  # for which a single stream is timed


@dataclass(frozen=True, slots=True)
class Item:
    """A recording, how long it is, what is said in it, normalised, and what to expect in it."""

    recording: Recording
    duration_s: float
    reference: tuple[str, ...]
    hotwords: frozenset[str] = frozenset()  # normalised words, whether they are said or not


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recording under one condition; the latencies are empty for offline."""

    words: tuple[str, ...]
    right: tuple[bool, ...]  # whether each word equals its reference word
    confidences: tuple[float, ...]
    chunks: "tuple[AlignmentChunk, ...]"  # of words; empty without a reference
    word_edits: Edits
    character_edits: Edits
    first_token_s: float | None = None
    final_s: float | None = None
    emission_s: tuple[float, ...] = ()
    commit_s: tuple[float, ...] = ()
    unstable_words: int = 0
    erased_words: int = 0
    hotwords: Hits = Hits()


@dataclass(frozen=True, slots=True)
class Setting:
    """A condition to come: its name, its model for a number of slots, and what streams ask for."""

    name: str
    build: Callable[[int], Model]
    options: Callable[[Recording], DecodingOptions] = no_options


@dataclass(frozen=True, slots=True)
class Condition:
    """Every item's outcome, in the items' order, and what it took."""

    name: str
    outcomes: tuple[Outcome, ...]
    computing_s: float  # in batches, as if it had been the only one
    streams: int  # side by side
    latency_s: float | None = None  # of the algorithm; None offline
    pace: Pace | None = None  # of one stream alone


class Experiment:
    """Recordings heard again and again.

    `batch` is the number of streams side by side; `progress` takes seconds of audio that are done.
    """

    def __init__(
        self,
        items: Sequence[Item],
        normalize: Normalize,
        rules: EndpointRules,
        batch: int,
        progress: Progress,
    ) -> None:
        self.items = sorted(items, key=lambda item: -item.duration_s)  # even batches
        self._recordings = [item.recording for item in self.items]
        self._normalize = normalize
        self._rules = rules
        self._batch = batch
        self._progress = progress
        self._times: list[tuple[Times | None, ...]] = []  # of each item's reference words

    def offline(self, model: OfflineModel, name: str = "offline") -> Condition:
        """Every recording at once with full context; comes first, since it gives word times."""
        seen: list[Timeline] = []
        self._times, began = [], time.perf_counter()
        for group in batches(self.items, self._batch):
            samples = [item.recording.samples() for item in group]
            for heard in offline.transcribe(model, samples, [item.reference for item in group]):
                spoken = measures.normalized(heard.words, self._normalize)
                seen.append(Timeline([text for text, _ in spoken], [value for _, value in spoken]))
                self._times.append(heard.reference_times)
            self._progress(sum(item.duration_s for item in group))
        computing_s = time.perf_counter() - began
        streams = min(self._batch, len(self.items))
        return Condition(name, judge(self.items, seen, self._times), computing_s, streams)

    def streamed(self, settings: Sequence[Setting]) -> list[Condition]:
        """Every recording as a live stream under each setting.

        Their models are of the same network and geometry and differ in how its frames are decoded:
        the network hears every recording once.
        """
        assert len(self._times) == len(self.items), "the offline pass comes first"
        paces, ways = zip(*map(self._alone, settings), strict=True)
        searching = [way.search is not None for way in ways]  # such a model gives all log-probs
        chosen = settings[searching.index(True) if any(searching) else 0]
        model = chosen.build(min(self._batch, len(self.items)))
        began = time.perf_counter()
        heard = simulation.simulate(model, self._recordings, self._rules, self._progress, ways)
        shared_s = time.perf_counter() - began - sum(each.computing_s for each in heard)
        latency_s = model.context.latency_s(model.grid)
        conditions = []
        for setting, alone, each in zip(settings, paces, heard, strict=True):
            seen = [measures.timeline(events, self._normalize) for events in each.events]
            outcomes = judge(self.items, seen, self._times)
            took_s = shared_s + each.computing_s
            conditions.append(
                Condition(setting.name, outcomes, took_s, model.slots, latency_s, alone)
            )
        return conditions

    def _alone(self, setting: Setting) -> tuple[Pace, Way]:
        """How fast one stream is under a setting, and the way in which it is decoded."""
        model, options = setting.build(1), setting.options
        alone = simulation.pace(model, self._recordings, self._rules, PACE_AUDIO_S, options)
        return alone, Way.of(model, options)


def batches(items: Sequence[Item], largest: int) -> Iterator[list[Item]]:
    """Neighbours together, longest first: at most `largest`, padded to about BATCH_AUDIO_S."""
    group: list[Item] = []
    for item in items:
        padded_s = (len(group) + 1) * group[0].duration_s if group else 0.0
        if len(group) == largest or padded_s > BATCH_AUDIO_S:
            yield group
            group = []
        group.append(item)
    yield group


def judge(
    items: Sequence[Item], seen: Sequence[Timeline], times: Sequence[tuple[Times | None, ...]]
) -> tuple[Outcome, ...]:
    """Compare what was heard with the references; an item without one has insertions only."""
    spoken = [index for index, item in enumerate(items) if item.reference]
    references = [" ".join(items[index].reference) for index in spoken]
    hypotheses = [" ".join(seen[index].words) for index in spoken]
    words = dict(zip(spoken, measures.compare_words(references, hypotheses), strict=True))
    letters = dict(zip(spoken, measures.compare_characters(references, hypotheses), strict=True))
    return tuple(
        _outcome(each, times[index], words[index], letters[index], items[index])
        if index in words
        else _noise_outcome(each, items[index])
        for index, each in enumerate(seen)
    )


def _noise_outcome(seen: Timeline, item: Item) -> Outcome:
    return Outcome(
        words=tuple(seen.words),
        right=(False,) * len(seen.words),
        confidences=tuple(seen.confidences),
        chunks=(),
        word_edits=Edits(insertions=len(seen.words)),
        character_edits=Edits(insertions=len(" ".join(seen.words))),
        unstable_words=seen.unstable_words,
        erased_words=seen.erased_words,
        hotwords=measures.hits(item.hotwords, (), seen.words, ()),
    )


def _outcome(
    seen: Timeline,
    times: Sequence[Times | None],
    words: "Sequence[AlignmentChunk]",
    letters: "Sequence[AlignmentChunk]",
    item: Item,
) -> Outcome:
    pairs = measures.matches(words)
    right = {heard for _, heard in pairs}
    timed = [(times[said], heard) for said, heard in pairs] if seen.shown_s else []
    ends = [(span[1], heard) for span, heard in timed if span is not None]
    first, last = (times[0], times[-1]) if times else (None, None)
    return Outcome(
        words=tuple(seen.words),
        right=tuple(index in right for index in range(len(seen.words))),
        confidences=tuple(seen.confidences),
        chunks=tuple(words),
        word_edits=measures.count_edits(words),
        character_edits=measures.count_edits(letters),
        first_token_s=_difference(seen.first_shown_s, first and first[0]),
        final_s=_difference(seen.final_s, last and last[1]),
        emission_s=tuple(seen.shown_s[heard] - end_s for end_s, heard in ends),
        commit_s=tuple(seen.committed_s[heard] - end_s for end_s, heard in ends),
        unstable_words=seen.unstable_words,
        erased_words=seen.erased_words,
        hotwords=measures.hits(item.hotwords, item.reference, seen.words, right),
    )


def _difference(late_s: float | None, early_s: float | None) -> float | None:
    return None if late_s is None or early_s is None else late_s - early_s
