"""Every setting of the program: frozen dataclasses in one tree, each with its default and check.

Owns names, units, defaults and ranges (`recognizer` and `edges` have the sections), and in which
order a file and flags are heard: file first, then flags. Must not know: what the settings do, how a
value is read (`schema`). Each object of the house receives its own section only.
"""

import argparse
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer import schema
from streamer.config.edges import (
    CaptionsConfig,
    LogConfig,
    MqttConfig,
    ServerConfig,
    WyomingConfig,
    cannot_listen,
)
from streamer.config.recognizer import (
    AUTO_LM,
    AUTO_WORKERS,
    DEFAULT_BEAM,
    MODEL_LM,
    NO_LM,
    Dtype,
    EngineConfig,
    KeywordConfig,
    Mode,
    ModelConfig,
    Preset,
    TextConfig,
)
from streamer.core.context import SAMPLE_RATE
from streamer.core.endpoint import EndpointRules
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions, Stability
from streamer.schema import ConfigError, from_mapping

__all__ = [
    "AUTO_LM",
    "AUTO_WORKERS",
    "DEFAULT_BEAM",
    "MODEL_LM",
    "NO_LM",
    "SAMPLE_RATE",
    "CaptionsConfig",
    "Config",
    "ConfigError",
    "DecodingOptions",
    "Dtype",
    "EndpointRules",
    "EngineConfig",
    "KeywordConfig",
    "LogConfig",
    "Mode",
    "ModelConfig",
    "MqttConfig",
    "Phrase",
    "Preset",
    "ServerConfig",
    "Stability",
    "TextConfig",
    "WyomingConfig",
    "add_flags",
    "cannot_listen",
    "from_mapping",
    "load",
]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree."""

    model: ModelConfig = ModelConfig()
    endpoint: EndpointRules = EndpointRules()
    text: TextConfig = TextConfig()
    keywords: KeywordConfig = KeywordConfig()
    engine: EngineConfig = EngineConfig()
    server: ServerConfig = ServerConfig()
    mqtt: MqttConfig = MqttConfig()
    wyoming: WyomingConfig = WyomingConfig()
    captions: CaptionsConfig = CaptionsConfig()
    log: LogConfig = LogConfig()


def load(path: Path | None, flags: Mapping[str, Any]) -> Config:
    """The configuration from a TOML file (None: defaults), then flags as "section.key": value.

    Raises ConfigError for a file that cannot be read, an unknown key or a wrong value.
    """
    tree = {} if path is None else _read_toml(path)
    for dotted, value in flags.items():
        section, _, key = dotted.partition(".")
        table = tree.setdefault(section, {})
        if isinstance(table, dict):  # else it is refused below
            table[key] = value
    return from_mapping(Config, tree)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def add_flags(
    parser: argparse.ArgumentParser, *sections: str, repeated: Collection[str] = ()
) -> None:
    """Give the parser one option for each setting of the sections (see `schema.add_flags`)."""
    schema.add_flags(parser, Config, *sections, repeated=repeated)
