"""Every setting of the program: frozen dataclasses in one tree, each with its default and check.

Owns names, units, defaults and ranges, and how a TOML file and command-line flags become a tree:
file first, then flags; an unknown key is an error that names the nearest valid one. Must not know:
what the settings do. Each object of the house receives its own section only.
"""

import argparse
import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from streamer.core.context import SAMPLE_RATE
from streamer.core.endpoint import EndpointRules

__all__ = [
    "SAMPLE_RATE",
    "Config",
    "ConfigError",
    "EndpointRules",
    "EngineConfig",
    "ModelConfig",
    "MqttConfig",
    "ServerConfig",
    "WyomingConfig",
    "add_flags",
    "from_mapping",
    "load",
]

NO_LM, MODEL_LM = "none", "model"

T = TypeVar("T")
Mode = Literal["cache", "window"]
Preset = Literal["low", "default", "accurate"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class ConfigError(ValueError):
    """A setting that does not exist or has a wrong value, in one sentence for the user."""


def setting(default: Any, text: str, flag: str | None = None) -> Any:
    """A field with its help text; `flag` where the option has another name than the field."""
    return field(default=default, metadata={"help": text, "flag": flag})


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is outside of every range
        raise ValueError(f"expected {name} from {low} to {high}, got {value}")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model listens, and how its windows are cut."""

    name: str = setting("tiny-en", "shipped model, directory or hub id", "--model")
    mode: Mode = setting("cache", "cache: state between chunks; window: any checkpoint, re-encoded")
    preset: Preset = setting(
        "default", "latency: low 160 ms, default 320 ms, accurate 640 + 320 ms"
    )
    left_context_s: float = setting(3.2, "seconds before the chunk that the encoder sees")
    device: Device = setting("auto", "where the model runs")
    dtype: Dtype = setting("auto", "number format of the model")
    lm: str = setting(NO_LM, "language model: none, model (the checkpoint's own), or a file")
    lm_alpha: float = setting(0.5, "weight of the language model")
    lm_beta: float = setting(1.0, "what every word scores beside it")
    beam: int = setting(0, "beams of the search; 0: 25 with a language model, greedy without")
    hotword_weight: float = setting(10.0, "what a word scores that a client expects, with beams")

    def __post_init__(self) -> None:
        _check_range("left_context_s", self.left_context_s, 0.0, 60.0)
        _check_range("lm_alpha", self.lm_alpha, 0.0, 10.0)
        _check_range("lm_beta", self.lm_beta, -10.0, 10.0)
        _check_range("beam", self.beam, 0, 500)
        _check_range("hotword_weight", self.hotword_weight, 0.0, 100.0)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much work one engine takes on."""

    max_sessions: int = setting(32, "sessions open at once; more are refused")
    max_batch: int = setting(32, "windows of one batch")
    max_backlog_s: float = setting(10.0, "undecoded audio of one session; more makes it wait")

    def __post_init__(self) -> None:
        _check_range("max_sessions", self.max_sessions, 1, 100_000)
        _check_range("max_batch", self.max_batch, 1, 4_096)
        _check_range("max_backlog_s", self.max_backlog_s, 1.0, 600.0)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the websocket server listens and what it accepts from a peer."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8765, "port to listen on; 0 takes a free one")
    allowed_origins: tuple[str, ...] = setting((), "web origins allowed beside loopback ones")
    allowed_hosts: tuple[str, ...] = setting((), "Host names allowed beside loopback ones")
    max_connections: int = setting(256, "open connections, with or without a session")
    max_viewers: int = setting(128, "of these, the ones that only watch captions")
    max_frame_bytes: int = setting(1 << 20, "bytes of one audio frame")
    max_text_bytes: int = setting(16 << 10, "bytes of one JSON message")
    max_messages_per_s: int = setting(1_000, "messages read per second and connection")
    start_timeout_s: float = setting(5.0, "seconds a client has for its start message")
    idle_timeout_s: float = setting(60.0, "seconds a client may send nothing before its stop")
    send_timeout_s: float = setting(3.0, "seconds a client may leave a message unread")
    drain_timeout_s: float = setting(10.0, "seconds open sessions have to finish at shutdown")

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65_535)
        _check_range("max_connections", self.max_connections, 1, 1_000_000)
        _check_range("max_viewers", self.max_viewers, 0, 1_000_000)
        _check_range("max_frame_bytes", self.max_frame_bytes, 1 << 10, 64 << 20)
        _check_range("max_text_bytes", self.max_text_bytes, 1 << 8, self.max_frame_bytes)
        _check_range("max_messages_per_s", self.max_messages_per_s, 1, 1_000_000)
        for name in ("start_timeout_s", "idle_timeout_s", "send_timeout_s", "drain_timeout_s"):
            _check_range(name, getattr(self, name), 0.01, 3_600.0)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """Which broker hears and is heard, and what waits for it; docs/mqtt.md has the topics."""

    url: str = setting("", "broker, as mqtt://host or mqtts://user@host:8883", "--mqtt")
    password_file: str = setting(
        "", "file with its password, else STREAMER_MQTT_PASSWORD", "--mqtt-password-file"
    )
    topic: str = setting("streamer", "what every topic begins with", "--mqtt-topic")
    outbox: str = setting(
        "~/.local/state/streamer/mqtt-outbox.db", "file of unsent finals", "--mqtt-outbox"
    )
    max_outbox_messages: int = setting(
        100_000, "unsent events; one more loses the oldest", "--mqtt-max-outbox-messages"
    )
    idle_timeout_s: float = setting(
        30.0, "seconds without audio that end a source over MQTT", "--mqtt-idle-timeout-s"
    )
    hermes_sites: tuple[str, ...] = setting((), "Rhasspy or Snips sites to hear", "--hermes")

    def __post_init__(self) -> None:
        if self.url:
            _check_broker(self.url)
        if not self.topic or self.topic[0] in "/$" or any(c in "+#\0" for c in self.topic):
            raise ValueError(f"expected topic without + # / $ at its start, got {self.topic!r}")
        if self.hermes_sites and not self.url:
            raise ValueError("expected url of a broker, since there are hermes_sites")
        for site in self.hermes_sites:
            if not site or any(c in "+#/\0" for c in site):
                raise ValueError(f"expected hermes_sites without + # /, got {site!r}")
        _check_range("max_outbox_messages", self.max_outbox_messages, 1, 10_000_000)
        _check_range("idle_timeout_s", self.idle_timeout_s, 0.1, 3_600.0)


def _check_broker(url: str) -> None:
    parts = urlsplit(url)  # a ValueError of its own says what is wrong
    if parts.password is not None:
        raise ValueError("expected url without a password: use STREAMER_MQTT_PASSWORD or a file")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.port == 0:
        raise ValueError(f"expected url as mqtt://host:1883 or mqtts://host:8883, got {url!r}")


@dataclass(frozen=True, slots=True)
class WyomingConfig:
    """Where Home Assistant finds the recognizer, and who ends an utterance there."""

    port: int = setting(0, "port for Wyoming clients, by convention 10300; 0: none", "--wyoming")
    host: str = setting("127.0.0.1", "address for them", "--wyoming-host")
    language: str = setting("en", "language of the model, as they are told", "--wyoming-language")
    endpointing: Literal["client", "server"] = setting(
        "client", "who ends an utterance: audio-stop, or our endpoint", "--wyoming-endpointing"
    )
    max_audio_s: float = setting(300.0, "audio of one transcription", "--wyoming-max-audio-s")
    max_connections: int = setting(64, "open connections", "--wyoming-max-connections")

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65_535)
        _check_range("max_audio_s", self.max_audio_s, 1.0, 3_600.0)
        _check_range("max_connections", self.max_connections, 1, 100_000)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree."""

    model: ModelConfig = ModelConfig()
    endpoint: EndpointRules = EndpointRules()
    engine: EngineConfig = EngineConfig()
    server: ServerConfig = ServerConfig()
    mqtt: MqttConfig = MqttConfig()
    wyoming: WyomingConfig = WyomingConfig()


def load(path: Path | None, flags: Mapping[str, Any]) -> Config:
    """The configuration from a TOML file (None: defaults), then flags as "section.key": value.

    Raises ConfigError for a file that cannot be read, an unknown key or a wrong value.
    """
    tree = {} if path is None else _read_toml(path)
    for dotted, value in flags.items():
        section, _, key = dotted.partition(".")
        tree.setdefault(section, {})[key] = value
    return from_mapping(Config, tree)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def from_mapping(cls: type[T], tree: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `cls`; `where` is the dotted place for messages."""
    known = {each.name: each for each in fields(cast("Any", cls))}
    hints = get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise ConfigError(f"unknown setting {where}{key}{_nearest(key, known)}")
        values[key] = _typed(f"{where}{key}", hints[key], value)
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.')}: {error}") from error


def _nearest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _typed(name: str, hint: Any, value: Any) -> Any:
    """The value as its annotation wants it; integers pass for floats, nothing else converts."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: expected a table of settings, got {value!r}")
        return from_mapping(cast("type", hint), value, f"{name}.")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{name}: expected one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{name}: expected a list of strings, got {value!r}")
        return tuple(value)
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise ConfigError(f"{name}: expected {hint.__name__}, got {value!r}")
    try:
        return hint(value)
    except OverflowError as error:  # an integer that no float can hold
        raise ConfigError(f"{name}: expected a smaller number") from error


def add_flags(
    parser: argparse.ArgumentParser, *sections: str, repeated: Collection[str] = ()
) -> None:
    """Give the parser one option for each setting of the sections, absent unless typed.

    The parsed name is "section.key", as `load` takes it; those in `repeated` may be typed several
    times and give a list, which `load` does not take.
    """
    for section in sections:
        cls = get_type_hints(Config)[section]
        group = parser.add_argument_group(section)
        for each in fields(cls):
            hint = get_type_hints(cls)[each.name]
            many = get_origin(hint) is tuple
            group.add_argument(
                each.metadata.get("flag") or f"--{each.name.replace('_', '-')}",
                dest=f"{section}.{each.name}",
                action="append" if f"{section}.{each.name}" in repeated else "store",
                default=argparse.SUPPRESS,
                type=str if many or get_origin(hint) is Literal else hint,
                choices=get_args(hint) if get_origin(hint) is Literal else None,
                nargs="*" if many else None,
                metavar=None if get_origin(hint) is Literal else each.name.upper(),
                help=_help(each),
            )


def _help(each: "Field[Any]") -> str:
    default = ", ".join(each.default) if isinstance(each.default, tuple) else each.default
    text = each.metadata.get("help", "").replace("%", "%%")
    return f"{text} (default: {default})" if default not in ("", None) else text
