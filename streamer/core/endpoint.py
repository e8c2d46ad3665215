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
    """The rules of Kaldi and sherpa, in seconds of audio, with a fast one beside them.

    Silence is a run of frames without a visible token: blanks, word delimiters, silent ids. A CTC
    model emits such runs within long sounds too, so a short one counts only if it is also quiet:
    of low energy against the noise floor of the stream, or, where `vad` is on, without speech as a
    detector hears it. A long one ends an utterance however loud it is. `blank_s` is `silence_s` if
    that is more. Defaults as in sherpa but for `silence_s`.
    """

    silence_idle_s: float = _seconds(2.4, "silence before any word: the length starts again")
    silence_s: float = _seconds(0.6, "quiet without a word: the utterance is over")
    blank_s: float = _seconds(1.2, "no word, however loud (at least silence_s): it is over too")
    max_utterance_s: float = _seconds(20.0, "the longest utterance: then it is cut at a pause")
    vad: bool = field(default=False, metadata={"help": "a voice detector tells what quiet is"})

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool):
                continue
            if not (0 < value <= LONGEST_S and Grid.samples_in(value) >= 1):
                raise ValueError(f"expected {each.name} > 0 and <= {LONGEST_S:g}, got {value}")


DEFAULT_RULES = EndpointRules()


def next_endpoint(
    rules: EndpointRules,
    *,
    decoded: bool,
    start_sample: int,
    last_sample: int,
    quiet_sample: int,
) -> tuple[int, Literal["idle", "endpoint", "length"]]:
    """The sample at which an utterance ends if nothing more is decoded, and by which rule.

    `decoded`: whether it has any text. `start_sample`: where its length is counted from.
    `last_sample`: the end of its last visible token. `quiet_sample`: the end of the first quiet of
    `silence_s` behind that. "idle" ends nothing: the length of an utterance without text is
    counted from there on.
    """
    too_long = start_sample + Grid.samples_in(rules.max_utterance_s)
    if not decoded:
        return min(start_sample + Grid.samples_in(rules.silence_idle_s), too_long), "idle"
    blank = last_sample + Grid.samples_in(max(rules.blank_s, rules.silence_s))
    over = min(quiet_sample, blank)
    return (over, "endpoint") if over <= too_long else (too_long, "length")
