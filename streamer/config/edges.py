"""The settings of the outside world: who is listened to, who hears of it, what is written down."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from streamer.schema import check_range, setting


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """That a server cannot have this address, and why, in one sentence for the user."""
    is_ours = (error.errno or 0) > 0  # else of the look-up of a name
    reason = os.strerror(error.errno or 0) if is_ours else error.strerror or str(error)
    return f"cannot listen on {host}:{port}: {reason}"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the websocket server listens and what it accepts from a peer."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8765, "port to listen on; 0 takes a free one")
    allowed_origins: tuple[str, ...] = setting((), "web origins allowed beside loopback ones")
    allowed_hosts: tuple[str, ...] = setting((), "Host names allowed beside loopback ones")
    token_file: str = setting("", "file of bearer tokens, else STREAMER_TOKENS; without: none")
    tls_cert: str = setting("", "certificate, in PEM; without: no TLS")
    tls_key: str = setting("", "its key, in PEM, if the certificate's file does not have it")
    allow_anonymous: bool = setting(False, "serve other machines without asking for a token")
    allow_plaintext: bool = setting(False, "serve other machines without TLS, as behind a proxy")
    trusted_proxies: tuple[str, ...] = setting((), "proxies whose X-Forwarded-For is believed")
    max_per_address: int = setting(64, "connections of one address; loopback has no limit")
    max_per_token: int = setting(0, "connections of one token; 0: as many as there are")
    max_new_per_minute: int = setting(600, "new connections of one address or token a minute")
    max_connections: int = setting(256, "open connections, with or without a session")
    max_viewers: int = setting(128, "of these, the ones that only watch captions")
    max_frame_bytes: int = setting(1 << 20, "bytes of one audio frame")
    max_text_bytes: int = setting(16 << 10, "bytes of one JSON message")
    max_messages_per_s: int = setting(
        1_000, "messages read per second and connection; a long text is several"
    )
    start_timeout_s: float = setting(5.0, "seconds a client has for its start message")
    idle_timeout_s: float = setting(60.0, "seconds a client may send nothing before its stop")
    max_session_s: float = setting(14_400.0, "seconds a session may last; 0: any number")
    max_speed: float = setting(0.0, "times real time that audio may come for long; 0: any")
    send_timeout_s: float = setting(3.0, "seconds a client may leave a message unread")
    drain_timeout_s: float = setting(25.0, "seconds open sessions have to finish at shutdown")
    resume_window_s: float = setting(
        60.0, "seconds a session is kept when its connection is lost; 0: not at all"
    )
    max_detached: int = setting(64, "sessions kept without a connection")
    max_unconfirmed_events: int = setting(1_024, "events kept for a client that may come back")

    def __post_init__(self) -> None:
        check_range("port", self.port, 0, 65_535)
        if self.tls_key and not self.tls_cert:
            raise ValueError("expected tls_cert, since there is a tls_key")
        for proxy in self.trusted_proxies:
            ipaddress.ip_address(proxy)  # a ValueError of its own says what is wrong
        check_range("max_per_address", self.max_per_address, 1, 1_000_000)
        check_range("max_per_token", self.max_per_token, 0, 1_000_000)
        check_range("max_new_per_minute", self.max_new_per_minute, 1, 1_000_000)
        check_range("max_connections", self.max_connections, 1, 1_000_000)
        check_range("max_viewers", self.max_viewers, 0, 1_000_000)
        check_range("max_frame_bytes", self.max_frame_bytes, 1 << 10, 64 << 20)
        check_range("max_text_bytes", self.max_text_bytes, 1 << 8, self.max_frame_bytes)
        check_range("max_messages_per_s", self.max_messages_per_s, 1, 1_000_000)
        check_range("max_session_s", self.max_session_s, 0.0, 604_800.0)
        if self.max_speed:
            check_range("max_speed", self.max_speed, 1.0, 1_000.0)
        check_range("resume_window_s", self.resume_window_s, 0.0, 3_600.0)
        check_range("max_detached", self.max_detached, 0, 1_000_000)
        check_range("max_unconfirmed_events", self.max_unconfirmed_events, 16, 1_000_000)
        for name in ("start_timeout_s", "idle_timeout_s", "send_timeout_s", "drain_timeout_s"):
            check_range(name, getattr(self, name), 0.01, 3_600.0)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """Which broker hears and is heard, and what waits for it; docs/mqtt.md has the topics."""

    url: str = setting("", "broker, as mqtt://host or mqtts://user@host:8883", "--mqtt")
    password_file: str = setting(
        "", "file with its password, else STREAMER_MQTT_PASSWORD", "--mqtt-password-file"
    )
    ca_file: str = setting(
        "", "certificates of who signed the broker's, else the system's", "--mqtt-ca-file"
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
    discovery_topic: str = setting(
        "",
        "topic to tell Home Assistant under, homeassistant unless changed there",
        "--mqtt-discovery",
    )
    withdraws_discovery: bool = setting(
        False, "take that back at the end", "--mqtt-discovery-withdraw"
    )

    def __post_init__(self) -> None:
        if self.url:
            _check_broker(self.url)
        for name in ("topic", "discovery_topic") if self.discovery_topic else ("topic",):
            value = getattr(self, name)
            if not value or value[0] in "/$" or any(c in "+#\0" for c in value):
                raise ValueError(f"expected {name} without + # and / $ at its start, got {value!r}")
        if self.withdraws_discovery and not self.discovery_topic:
            raise ValueError("expected discovery_topic, since it is to be withdrawn")
        if self.hermes_sites and not self.url:
            raise ValueError("expected url of a broker, since there are hermes_sites")
        for site in self.hermes_sites:
            if not site or any(c in "+#/\0" for c in site):
                raise ValueError(f"expected hermes_sites without + # /, got {site!r}")
        check_range("max_outbox_messages", self.max_outbox_messages, 1, 10_000_000)
        check_range("idle_timeout_s", self.idle_timeout_s, 0.1, 3_600.0)


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
    allow_anonymous: bool = setting(
        False,
        "serve other machines, though Wyoming has neither tokens nor TLS",
        "--wyoming-allow-anonymous",
    )
    language: str = setting("en", "language of the model, as they are told", "--wyoming-language")
    endpointing: Literal["client", "server"] = setting(
        "client", "who ends an utterance: audio-stop, or our endpoint", "--wyoming-endpointing"
    )
    zeroconf: Literal["auto", "on", "off"] = setting(
        "auto", "tell the network; auto: beyond loopback", "--wyoming-zeroconf"
    )
    max_audio_s: float = setting(300.0, "audio of one transcription", "--wyoming-max-audio-s")
    max_connections: int = setting(64, "open connections", "--wyoming-max-connections")

    def __post_init__(self) -> None:
        check_range("port", self.port, 0, 65_535)
        check_range("max_audio_s", self.max_audio_s, 1.0, 3_600.0)
        check_range("max_connections", self.max_connections, 1, 100_000)


@dataclass(frozen=True, slots=True)
class CaptionsConfig:
    """Where the captions of every session are kept; docs/captions.md has the formats."""

    folder: str = setting("", "folder for caption files of every session", "--captions-dir")
    formats: tuple[str, ...] = setting(("vtt",), "vtt, srt, txt, jsonl", "--captions-formats")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the log of a server looks like; it goes to stderr."""

    format: Literal["text", "json"] = setting("text", "lines for people, or JSON", "--log-format")
    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "the least that is logged", "--log-level"
    )
