"""What else an utterance may have been: the n-best of its parts, put together.

A search settles an utterance part by part, at its pauses; what it has settled it does not weigh
again, so the parts' scores add up. Must not know: beams, frames, events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from streamer.core.hypothesis import Alternative, Word


@dataclass(frozen=True, slots=True)
class Part:
    """Words over [start, end) seconds, and the texts that they may have been, with their scores.

    The best comes first, at 0: it is what the words say.
    """

    start: float
    end: float
    texts: tuple[tuple[str, float], ...]


def n_best(words: Sequence[Word], parts: Sequence[Part], count: int) -> tuple[Alternative, ...]:
    """The `count` best texts, the words themselves first; parts that a cut has divided count not.

    Work grows with parts times `count` squared.
    """
    found: dict[str, float] = {"": 0.0}
    rest = list(words)
    for part in parts:
        before = [word for word in rest if word.end <= part.start]
        within = [word for word in rest[len(before) :] if word.end <= part.end]
        if within and _text(within) == part.texts[0][0]:
            found = _extended(found, ((_text(before), 0.0),), count)
            found = _extended(found, part.texts, count)
            rest = rest[len(before) + len(within) :]
    found = _extended(found, ((_text(rest), 0.0),), count)
    return tuple(Alternative(text, score) for text, score in found.items())


def _extended(
    found: dict[str, float], texts: Sequence[tuple[str, float]], count: int
) -> dict[str, float]:
    """Each text behind each that was found, the best of them; of equal ones the better."""
    longer: dict[str, float] = {}
    for before, score in found.items():
        for text, more in texts:
            whole = f"{before} {text}".strip()
            longer[whole] = max(score + more, longer.get(whole, score + more))
    best = sorted(longer.items(), key=lambda each: -each[1])
    return dict(best[:count])


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.word for word in words)
