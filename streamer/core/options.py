"""How a stream is decoded, as far as that may be asked for: at its start and in mid-stream.

Owns names, units, ranges. Must not know: how any of it is done.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Stability: TypeAlias = Literal["low", "medium", "high"]
"""What of the tail is shown: all of it, what two hypotheses in a row agree on, or nothing."""

MAX_BEAM = 100
MAX_N_BEST = 20
MAX_LM_ALPHA = 10.0
MAX_LM_BETA = 10.0  # either way
MAX_HOTWORDS, MAX_HOTWORD_LENGTH = 100, 64  # length in characters
MAX_HOTWORD_WEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class Hotword:
    """A word or phrase to expect: each word of it scores `weight` more, a natural logarithm.

    None: as much for each of its letters as the recogniser has it. Raises ValueError for a text or
    weight out of range.
    """

    text: str
    weight: float | None = None

    def __post_init__(self) -> None:
        if not (self.text.split() and len(self.text) <= MAX_HOTWORD_LENGTH):
            expected = f"1 to {MAX_HOTWORD_LENGTH} characters each"
            raise ValueError(f"hotwords: expected {expected}, got {self.text[:64]!r}")
        _check("hotwords: weight", self.weight, 0, MAX_HOTWORD_WEIGHT)


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What a stream may ask of its decoding; None is what the recogniser has.

    `beam` to `hotwords` need a beam search, `lm_alpha` and `lm_beta` a language model too.
    Raises ValueError for values out of range.
    """

    beam: int | None = None  # hypotheses that are kept
    lm_alpha: float | None = None  # weight of the language model
    lm_beta: float | None = None  # what every word scores beside it
    n_best: int = 1  # hypotheses that a final tells
    hotwords: tuple[Hotword, ...] = ()
    stability: Stability = "low"

    def __post_init__(self) -> None:
        _check("beam", self.beam, 1, MAX_BEAM)
        _check("lm_alpha", self.lm_alpha, 0, MAX_LM_ALPHA)
        _check("lm_beta", self.lm_beta, -MAX_LM_BETA, MAX_LM_BETA)
        _check("n_best", self.n_best, 1, MAX_N_BEST)
        if len(self.hotwords) > MAX_HOTWORDS:
            raise ValueError(f"hotwords: expected at most {MAX_HOTWORDS}, got {len(self.hotwords)}")
        if self.stability not in get_args(Stability):
            expected = ", ".join(get_args(Stability))
            raise ValueError(f"stability: expected one of {expected}, got {self.stability!r}")


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name}: expected {low:g} to {high:g}, got {value:g}")


DEFAULT_OPTIONS = DecodingOptions()
