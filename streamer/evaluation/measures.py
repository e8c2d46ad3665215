"""The figures: error rates, when words were shown and stayed, flicker, calibration.

Owns every definition that docs/evaluation.md states. Pure: texts, events and times in, numbers
out. Must not know: audio, models, files.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamer.core.hypothesis import Final, Partial, Word
from streamer.evaluation.normalization import Normalize

if TYPE_CHECKING:
    from jiwer import AlignmentChunk

CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Edits:
    """What turns references into hypotheses; `length` counts reference words or characters."""

    length: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: "Edits") -> "Edits":
        return Edits(
            self.length + other.length,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def errors(self) -> int:
        """All three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per reference word or character; None without any."""
        return self.errors / self.length if self.length else None


def compare_words(
    references: Sequence[str], hypotheses: Sequence[str]
) -> "list[list[AlignmentChunk]]":
    """Where each hypothesis equals, replaces, lacks or adds words; references are not empty."""
    import jiwer

    return jiwer.process_words(list(references), list(hypotheses)).alignments if references else []


def compare_characters(
    references: Sequence[str], hypotheses: Sequence[str]
) -> "list[list[AlignmentChunk]]":
    """The same for characters, spaces included."""
    import jiwer

    if not references:
        return []
    return jiwer.process_characters(list(references), list(hypotheses)).alignments


def count_edits(chunks: "Iterable[AlignmentChunk]") -> Edits:
    """Edits of one text."""
    counts = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:
        spans = (
            chunk.ref_end_idx - chunk.ref_start_idx,
            chunk.hyp_end_idx - chunk.hyp_start_idx,
        )
        counts[chunk.type] += max(spans)
    length = counts["equal"] + counts["substitute"] + counts["delete"]
    return Edits(length, counts["substitute"], counts["delete"], counts["insert"])


def matches(chunks: "Iterable[AlignmentChunk]") -> list[tuple[int, int]]:
    """(reference index, hypothesis index) of each word that is right."""
    return [
        (chunk.ref_start_idx + offset, chunk.hyp_start_idx + offset)
        for chunk in chunks
        if chunk.type == "equal"
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


@dataclass(frozen=True, slots=True)
class Hits:
    """How often expected words were said, heard, and heard where they were said."""

    said: int = 0
    heard: int = 0
    right: int = 0

    def __add__(self, other: "Hits") -> "Hits":
        return Hits(self.said + other.said, self.heard + other.heard, self.right + other.right)

    @property
    def recall(self) -> float | None:
        """Of those said, the share that is right; None without any."""
        return self.right / self.said if self.said else None

    @property
    def precision(self) -> float | None:
        """Of those heard, the share that is right; None without any."""
        return self.right / self.heard if self.heard else None


def hits(
    expected: Collection[str], said: Sequence[str], heard: Sequence[str], right: Collection[int]
) -> Hits:
    """Count `expected` words; `right` are the places of the words that were heard rightly."""
    places = [place for place, word in enumerate(heard) if word in expected]
    return Hits(
        sum(word in expected for word in said), len(places), sum(place in right for place in places)
    )


@dataclass(slots=True)
class Timeline:
    """What a listener of one stream saw, in normalised words and seconds of received audio.

    The first four lists have one value for each word of all finals. `shown_s` is when the word was
    first shown at its place and stayed, `committed_s` when it could not change any more.
    `unstable_words` counts words of a display that the next display has not at the same place,
    `erased_words` all words of a display from the first difference on.
    """

    words: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    shown_s: list[float] = field(default_factory=list)
    committed_s: list[float] = field(default_factory=list)
    first_shown_s: float | None = None
    final_s: float | None = None  # of the last final, unless only the end of the audio made it
    unstable_words: int = 0
    erased_words: int = 0


@dataclass(slots=True)
class _Display:
    """The words of the utterance in progress; for each, since when it stands there."""

    words: list[str] = field(default_factory=list)
    since_s: list[float] = field(default_factory=list)
    committed_s: list[float] = field(default_factory=list)

    def show(self, at_s: float, words: list[str], committed: int) -> None:
        """Show these words instead, of which the first `committed` stand for good."""
        same = [i < len(self.words) and self.words[i] == word for i, word in enumerate(words)]
        self.since_s = [self.since_s[i] if stays else at_s for i, stays in enumerate(same)]
        self.committed_s += [at_s] * (committed - len(self.committed_s))
        self.words = words


def timeline(events: Iterable[tuple[float, Partial | Final]], normalize: Normalize) -> Timeline:
    """Follow the events of one stream, each with the seconds of audio received when it came out."""
    seen, display = Timeline(), _Display()
    for at_s, event in events:
        if isinstance(event, Partial):
            words = normalize(f"{event.committed} {event.tail}").split()
            _count_changes(seen, display.words, words)
            display.show(at_s, words, len(normalize(event.committed).split()))
        else:
            display = _end_utterance(seen, display, at_s, event, normalize)
        if seen.first_shown_s is None and (display.words or seen.words):
            seen.first_shown_s = at_s
    return seen


def _end_utterance(
    seen: Timeline, display: _Display, at_s: float, final: Final, normalize: Normalize
) -> _Display:
    """Take the words of a final into the timeline; returns the display of the next utterance."""
    spoken = normalized(final.words, normalize)
    words, after = [text for text, _ in spoken], _Display()
    if final.reason == "length":  # the words behind it only move to the next utterance
        after = _Display(display.words[len(words) :], display.since_s[len(words) :])
    _count_changes(seen, display.words[: len(display.words) - len(after.words)], words)
    display.show(at_s, words, len(words))
    seen.words += words
    seen.confidences += [confidence for _, confidence in spoken]
    seen.shown_s += display.since_s
    seen.committed_s += display.committed_s
    if final.reason != "end":
        seen.final_s = at_s
    return after


def normalized(words: Iterable[Word], normalize: Normalize) -> list[tuple[str, float]]:
    """Normalised words with their confidences; a word may become none, or several."""
    return [(text, word.confidence) for word in words for text in normalize(word.word).split()]


def _count_changes(seen: Timeline, before: Sequence[str], after: Sequence[str]) -> None:
    changed = [i for i, word in enumerate(before) if i >= len(after) or after[i] != word]
    if changed:
        seen.unstable_words += len(changed)
        seen.erased_words += len(before) - changed[0]


def calibration(
    confidences: Sequence[float], right: Sequence[bool]
) -> tuple[float | None, list[tuple[float, float, int]]]:
    """The expected calibration error, and (mean confidence, share right, words) of each bin.

    Ten bins of equal width; empty ones are left out. None without words.
    """
    assert len(confidences) == len(right)
    if not confidences:
        return None, []
    values, hits = np.array(confidences), np.array(right, float)
    places = np.clip((values * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    bins = [
        (float(values[inside].mean()), float(hits[inside].mean()), int(inside.sum()))
        for place in range(CALIBRATION_BINS)
        for inside in [places == place]
        if inside.any()
    ]
    gap = sum(count * abs(said - was) for said, was, count in bins)
    return gap / len(confidences), bins


def calibrating_exponent(confidences: Sequence[float], right: Sequence[bool]) -> float | None:
    """The power of the confidences under which what was right or wrong is most probable.

    One of 121 from 1/16 to 64, evenly spaced by ratio; None without words of both kinds.
    """
    if len(set(right)) < 2:
        return None
    logs = np.log(np.clip(np.array(confidences), 1e-9, 1.0 - 1e-6))
    hits = np.array(right)
    exponents = 2.0 ** np.linspace(-4.0, 6.0, 121)
    powers = exponents[:, None] * logs
    likelihoods = np.where(hits, powers, np.log(-np.expm1(powers))).sum(axis=1)
    return float(exponents[likelihoods.argmax()])


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the 95th percentile of `count` values."""

    p50: float
    p95: float
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """None without values; between two values, the percentile is interpolated."""
    if not values:
        return None
    p50, p95 = np.percentile(values, (50, 95))
    return Spread(float(p50), float(p95), len(values))
