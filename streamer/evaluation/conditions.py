"""Under which conditions recordings are streamed: what a command line asks for, crossed.

Owns the names of the ways to decode and of the conditions. Must not know: networks, measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from streamer.config import (
    AUTO_LM,
    DEFAULT_BEAM,
    MODEL_LM,
    NO_LM,
    Mode,
    ModelConfig,
    Preset,
    Stability,
)

DECODINGS = ("greedy", "beam", "beam+lm", "beam+hotwords", "beam+lm+hotwords")


@dataclass(frozen=True, slots=True)
class Asked:
    """One condition: its name, its settings, and whether its streams are told hotwords."""

    name: str
    model: ModelConfig
    is_biased: bool = False


def crossed(
    model: ModelConfig,
    modes: Sequence[Mode],
    presets: Sequence[Preset],
    decodings: Sequence[str],
    stabilities: Sequence[Stability],
) -> list[list[Asked]]:
    """Conditions by geometry: one pass of the network serves all of an inner list.

    Of what is empty the model's own value is taken; a name tells what was asked for.
    """
    geometries = dict.fromkeys(product(modes or [model.mode], presets or [model.preset]))
    ways = dict.fromkeys(product(decodings or [""], stabilities or [model.stability]))
    return [
        [
            _asked(
                " ".join(filter(None, (mode, preset, decoding, stability if stabilities else ""))),
                replace(model, mode=mode, preset=preset, stability=stability),
                decoding,
            )
            for decoding, stability in ways
        ]
        for mode, preset in geometries
    ]


def _asked(name: str, model: ModelConfig, decoding: str) -> Asked:
    """The condition in which frames are decoded so; "" is as the model's settings say."""
    if not decoding:
        return Asked(name, model)
    parts = decoding.split("+")
    searches, with_lm = "beam" in parts, "lm" in parts
    chosen = replace(
        with_language_model(model),
        beam=(model.beam or DEFAULT_BEAM) if searches else 0,
        n_best=model.n_best if searches else 1,
    )
    if not with_lm:
        chosen = replace(chosen, lm=NO_LM)
    return Asked(name, chosen, "hotwords" in parts)


def with_language_model(model: ModelConfig) -> ModelConfig:
    """The same with the language model that it names, or else the checkpoint's own."""
    return replace(model, lm=MODEL_LM) if model.lm in (AUTO_LM, NO_LM) else model
