"""When an utterance is over.

Owns the rules and their arithmetic. Must not know: text, frames, events.
"""

from dataclasses import dataclass, fields
from typing import Literal

from streamer.core.context import Grid

LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """The three rules of Kaldi and sherpa, with sherpa's defaults, in seconds of audio.

    Silence is a run of frames without a visible token: blanks, word delimiters, silent ids.
    """

    silence_idle_s: float = 2.4  # nothing decoded yet: the utterance's length starts again
    silence_s: float = 1.2  # after something was decoded: the utterance is over
    max_utterance_s: float = 20.0  # longer than this: it is cut at a pause

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (0 < value <= LONGEST_S and Grid.samples_in(value) >= 1):
                raise ValueError(f"expected {field.name} > 0 and <= {LONGEST_S:g}, got {value}")


DEFAULT_RULES = EndpointRules()


def next_endpoint(
    rules: EndpointRules, *, decoded: bool, start_sample: int, last_sample: int
) -> tuple[int, Literal["idle", "endpoint", "length"]]:
    """The sample at which an utterance ends if nothing more is decoded, and by which rule.

    `decoded`: whether it has any text. `start_sample`: where its length is counted from.
    `last_sample`: the end of its last visible token. "idle" ends nothing: the length of an
    utterance without text is counted from there on.
    """
    too_long = start_sample + Grid.samples_in(rules.max_utterance_s)
    if not decoded:
        return min(start_sample + Grid.samples_in(rules.silence_idle_s), too_long), "idle"
    silent = last_sample + Grid.samples_in(rules.silence_s)
    return (silent, "endpoint") if silent <= too_long else (too_long, "length")
