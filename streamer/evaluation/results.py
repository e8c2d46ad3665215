"""The figures of an evaluation, pooled: what the table, the JSON and the report are made of.

Owns pooling over all recordings, by source and by speaker. Must not know: models, how figures look.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

from streamer.evaluation import measures
from streamer.evaluation.experiment import Condition, Item, Outcome
from streamer.evaluation.measures import Edits, Hits, Spread


@dataclass(frozen=True, slots=True)
class Errors:
    """Of words and of characters."""

    words: Edits
    characters: Edits


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of audio, of a live stream; None where nothing could be measured."""

    algorithm_s: float
    first_token_s: Spread | None
    emission_s: Spread | None
    commit_s: Spread | None
    final_s: Spread | None


@dataclass(frozen=True, slots=True)
class Flicker:
    """Words taken back per word of the finals; None without any."""

    unstable_word_ratio: float | None
    normalized_erasure: float | None


@dataclass(frozen=True, slots=True)
class Computing:
    """Computing time per second of audio: the pass itself, and one stream alone."""

    streams: int  # side by side in the pass
    real_time_factor: float
    alone_real_time_factor: float | None
    alone_step_s: Spread | None


@dataclass(frozen=True, slots=True)
class Figures:
    """One condition; error rates and calibration over recordings in which words are said."""

    name: str
    errors: Errors
    by_source: dict[str, Errors]  # empty unless there are two or more
    by_speaker: dict[str, Errors]
    spurious_words_per_min: float | None  # of recordings in which none are said
    calibration_error: float | None
    calibration: tuple[tuple[float, float, int], ...]  # mean confidence, share right, words
    calibrating_exponent: float | None  # of the confidences as they were
    computing: Computing
    latency: Latency | None  # None offline
    flicker: Flicker | None
    hotwords: Hits  # none said or heard unless some are expected


@dataclass(frozen=True, slots=True)
class Results:
    """All of it. `about` says what was measured, how and where, for people, in its order."""

    about: dict[str, str]
    items: Sequence[Item]
    conditions: Sequence[Condition]
    figures: Sequence[Figures]

    def to_json(self) -> dict[str, Any]:
        """Plain values: settings, figures, and every recording's texts. Times in seconds."""
        return {
            "about": self.about,
            "conditions": [_with_rates(asdict(each)) for each in self.figures],
            "recordings": [self._recording(index) for index in range(len(self.items))],
        }

    def _recording(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        return {
            "id": item.recording.id,
            "source": item.recording.source,
            "speaker": item.recording.speaker,
            "duration_s": round(item.duration_s, 3),
            "reference": " ".join(item.reference),
            "hypotheses": {
                each.name: " ".join(each.outcomes[index].words) for each in self.conditions
            },
        }


def _with_rates(tree: dict[str, Any]) -> dict[str, Any]:
    """The same tree with rates beside the counts of edits and of hotwords."""
    if "substitutions" in tree:
        return {"rate": Edits(**tree).rate, **tree}
    if "said" in tree:
        hits = Hits(**tree)
        return {"recall": hits.recall, "precision": hits.precision, **tree}
    return {
        key: _with_rates(value) if isinstance(value, dict) else value for key, value in tree.items()
    }


def summarize(condition: Condition, items: Sequence[Item]) -> Figures:
    """Pool the outcomes of one condition; `items` in the outcomes' order."""
    outcomes = condition.outcomes
    pairs = list(zip(outcomes, items, strict=True))
    spoken = [each for each, item in pairs if item.reference]
    noise_s = sum(item.duration_s for item in items if not item.reference)
    spurious = sum(len(each.words) for each, item in pairs if not item.reference)
    confidences = [value for each in spoken for value in each.confidences]
    right = [value for each in spoken for value in each.right]
    gap, bins = measures.calibration(confidences, right)
    return Figures(
        name=condition.name,
        errors=pooled(spoken),
        by_source=_grouped(pairs, lambda item: item.recording.source),
        by_speaker=_grouped(pairs, lambda item: item.recording.speaker),
        spurious_words_per_min=60 * spurious / noise_s if noise_s else None,
        calibration_error=gap,
        calibration=tuple(bins),
        calibrating_exponent=measures.calibrating_exponent(confidences, right),
        computing=_computing(condition, sum(item.duration_s for item in items)),
        latency=_latency(condition.latency_s, spoken) if condition.latency_s is not None else None,
        flicker=_flicker(outcomes) if condition.latency_s is not None else None,
        hotwords=reduce(add, (each.hotwords for each in outcomes), Hits()),
    )


def pooled(outcomes: Iterable[Outcome]) -> Errors:
    """All together: the edits are added up, not the rates."""
    kept = list(outcomes)
    return Errors(
        reduce(add, (each.word_edits for each in kept), Edits()),
        reduce(add, (each.character_edits for each in kept), Edits()),
    )


def _latency(algorithm_s: float, spoken: Sequence[Outcome]) -> Latency:
    return Latency(
        algorithm_s,
        measures.spread([each.first_token_s for each in spoken if each.first_token_s is not None]),
        measures.spread([value for each in spoken for value in each.emission_s]),
        measures.spread([value for each in spoken for value in each.commit_s]),
        measures.spread([each.final_s for each in spoken if each.final_s is not None]),
    )


def _flicker(outcomes: Sequence[Outcome]) -> Flicker:
    words = sum(len(each.words) for each in outcomes)
    if not words:
        return Flicker(None, None)
    return Flicker(
        sum(each.unstable_words for each in outcomes) / words,
        sum(each.erased_words for each in outcomes) / words,
    )


def _computing(condition: Condition, audio_s: float) -> Computing:
    alone = condition.pace
    return Computing(
        condition.streams,
        condition.computing_s / audio_s,
        alone.real_time_factor if alone else None,
        measures.spread(alone.steps_s) if alone else None,
    )


def _grouped(
    pairs: Sequence[tuple[Outcome, Item]], key: Callable[[Item], str]
) -> dict[str, Errors]:
    """Errors by name, of recordings with words."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome, item in pairs:
        if item.reference:
            groups[key(item) or "(none given)"].append(outcome)
    if len(groups) < 2:
        return {}
    return {name: pooled(group) for name, group in sorted(groups.items())}
