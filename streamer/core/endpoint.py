"""When an utterance is over.

Owns the rules and their arithmetic. Must not know: text, frames, events.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from streamer.core.context import Grid

LONGEST_S = 3600.0


def _seconds(default: float, text: str) -> Any:
    """A field with its help text, as the command line shows it."""
    return field(default=default, metadata={"help": f"seconds of {text}"})


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """The three rules of Kaldi and sherpa, with sherpa's defaults, in seconds of audio.

    Silence is a run of frames without a visible token: blanks, word delimiters, silent ids.
    """

    silence_idle_s: float = _seconds(2.4, "silence before any word: the length starts again")
    silence_s: float = _seconds(1.2, "silence after a word: the utterance is over")
    max_utterance_s: float = _seconds(20.0, "the longest utterance: then it is cut at a pause")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (0 < value <= LONGEST_S and Grid.samples_in(value) >= 1):
                raise ValueError(f"expected {each.name} > 0 and <= {LONGEST_S:g}, got {value}")


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
