"""The wire protocol of `/v1/stream`: JSON texts to frozen dataclasses and back.

Owns the names, types and ranges of every message in both directions. Knows no socket, no clock and
no session: binary frames, limits of rate and order ("start comes first") belong to the server edge.
The events of the recognizer are server messages as they are; this module re-exports them.

Times travel in seconds rounded to a millisecond, confidences to three decimals.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from streamer.core.hypothesis import Closed, Event, Final, Flushed, Gap, Partial, SpeechStart, Word

# fmt: off
__all__ = [
    "Ack", "AudioFormat", "ClientMessage", "Closed", "Configure", "Encoding", "EndpointPatch",
    "Error", "Event", "Final", "Flush", "Flushed", "Gap", "Limits", "MessageError", "Partial",
    "Ready", "ServerMessage", "SpeechStart", "Start", "Stop", "Word",
    "decode_client", "decode_server", "encode",
]
# fmt: on

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 48_000  # Hz
MAX_CHANNELS = 8
MAX_ID_LENGTH = 128  # characters of a flush id
MAX_HOTWORDS, MAX_HOTWORD_LENGTH = 100, 64
MIN_SILENCE_MS, MAX_SILENCE_MS = 100, 60_000
MIN_UTTERANCE_MS, MAX_UTTERANCE_MS = 1_000, 600_000


class MessageError(ValueError):
    """A text that is not a valid message; `code` and `fatal` go into the error sent back."""

    def __init__(self, message: str, *, code: str = "bad_request", fatal: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal


# --- checks at birth, of what a peer sends and of what a caller builds ----------------------------


def _check(valid: bool, name: str, expected: str, got: object) -> None:
    if not valid:
        raise MessageError(f"{name}: expected {expected}, got {_shown(got)}")


def _check_range(name: str, value: int | None, low: int, high: int) -> None:
    valid = value is None or low <= value <= high
    _check(valid, name, f"a whole number from {low} to {high}", value)


def _check_hotwords(hotwords: tuple[str, ...]) -> None:
    _check(len(hotwords) <= MAX_HOTWORDS, "hotwords", f"at most {MAX_HOTWORDS}", len(hotwords))
    for word in hotwords:
        expected = f"1 to {MAX_HOTWORD_LENGTH} characters each"
        _check(0 < len(word) <= MAX_HOTWORD_LENGTH, "hotwords", expected, word)


def _shown(value: object) -> str:
    """Show a peer's value in an error message, cut short."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- client → server ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the binary frames hold: interleaved channels, mixed down by the server."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = 16_000  # Hz
    channels: int = 1

    def __post_init__(self) -> None:
        expected = f"one of {', '.join(get_args(Encoding))}"
        _check(self.encoding in get_args(Encoding), "encoding", expected, self.encoding)
        _check_range("sample_rate", self.sample_rate, MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
        _check_range("channels", self.channels, 1, MAX_CHANNELS)


@dataclass(frozen=True, slots=True)
class EndpointPatch:
    """Endpoint rules a client wants different from the server's; None keeps the server's."""

    silence_idle_ms: int | None = None  # silence that ends an utterance without words
    silence_ms: int | None = None  # quiet silence that ends an utterance with words
    blank_ms: int | None = None  # any silence that does, however loud; at least silence_ms
    max_utterance_ms: int | None = None  # longest utterance

    def __post_init__(self) -> None:
        _check_range("silence_idle_ms", self.silence_idle_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        _check_range("silence_ms", self.silence_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        _check_range("blank_ms", self.blank_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        _check_range("max_utterance_ms", self.max_utterance_ms, MIN_UTTERANCE_MS, MAX_UTTERANCE_MS)


@dataclass(frozen=True, slots=True)
class Start:
    """First message of a connection; every key is optional."""

    audio: AudioFormat = AudioFormat()
    partials: bool = True  # send partials
    words: bool = True  # send word times and confidences
    hotwords: tuple[str, ...] = ()
    endpoint: EndpointPatch = EndpointPatch()

    def __post_init__(self) -> None:
        _check_hotwords(self.hotwords)


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise what was said so far and go on; answered by `flushed` with the same id."""

    id: str = ""

    def __post_init__(self) -> None:
        expected = f"at most {MAX_ID_LENGTH} characters"
        _check(len(self.id) <= MAX_ID_LENGTH, "id", expected, self.id)


@dataclass(frozen=True, slots=True)
class Configure:
    """Change hotwords or endpoint rules in mid-stream; None keeps what is set."""

    hotwords: tuple[str, ...] | None = None
    endpoint: EndpointPatch = EndpointPatch()

    def __post_init__(self) -> None:
        _check_hotwords(self.hotwords or ())


@dataclass(frozen=True, slots=True)
class Stop:
    """No more audio: finish, send the last finals and `closed`, then close."""


# --- server → client ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server accepts from this connection."""

    max_frame_bytes: int
    max_text_bytes: int
    max_messages_per_s: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer to `start`: a session is open and audio may come."""

    session: str
    model: str
    sample_rate: int  # Hz the model works at; `ack` counts samples at this rate
    latency_ms: int  # of the algorithm: chunk + right context + feature window
    limits: Limits


@dataclass(frozen=True, slots=True)
class Ack:
    """Samples (at 16 kHz) received so far; sent at least every 500 ms of audio."""

    received: int


@dataclass(frozen=True, slots=True)
class Error:
    """Something the peer should know; a fatal one is followed by the close code."""

    code: str
    message: str
    fatal: bool
    retry_after_s: float | None = None  # with code "capacity": when to come back


ClientMessage = Start | Flush | Configure | Stop
# The recognizer's events are messages as they are.
ServerMessage = Ready | Ack | Error | SpeechStart | Partial | Final | Flushed | Gap | Closed

_CLIENT = {"start": Start, "flush": Flush, "configure": Configure, "stop": Stop}
_SERVER: Mapping[str, type] = {
    "ready": Ready,
    "speech_start": SpeechStart,
    "partial": Partial,
    "final": Final,
    "flushed": Flushed,
    "gap": Gap,
    "ack": Ack,
    "error": Error,
    "closed": Closed,
}
_EXPECTED = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}
_NAMES = {cls: name for name, cls in (*_SERVER.items(), *_CLIENT.items())}


# --- encode and decode ----------------------------------------------------------------------------


def encode(message: ClientMessage | ServerMessage, *, words: bool = True) -> str:
    """Write a message as one line of JSON; `words=False` leaves word details out of events."""
    body = {"type": _NAMES[type(message)], **_plain(message)}
    if not words:
        body.pop("words", None)
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def decode_client(text: str) -> ClientMessage:
    """Read a client's text; raises MessageError saying what was expected and what came.

    Fatal: no JSON object, or a bad `start`. Not fatal: an unknown type, a bad `flush` or
    `configure`. Unknown fields are ignored; null means absent.
    """
    return cast("ClientMessage", _decode(text, _CLIENT))


def decode_server(text: str) -> ServerMessage:
    """Read a server's text; raises MessageError when it is no message of this protocol."""
    return cast("ServerMessage", _decode(text, _SERVER))


def _plain(value: Any) -> dict[str, Any]:
    """Fields of a dataclass as JSON values; None and empty objects are left out."""
    items = {f.name: _json_value(getattr(value, f.name)) for f in fields(value)}
    return {name: item for name, item in items.items() if item is not None and item != {}}


def _json_value(item: Any) -> Any:
    if isinstance(item, float):
        return round(item, 3)
    if isinstance(item, tuple):
        return [_json_value(each) for each in item]
    return _plain(item) if is_dataclass(item) else item


def _decode(text: str, types: Mapping[str, type]) -> object:
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"expected a JSON object, got text that is none ({error})") from error
    _check(isinstance(body, dict), "message", "a JSON object", body)
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in types:
        message = f"unknown message type {_shown(kind)}; known: {', '.join(types)}"
        raise MessageError(message, code="unknown_type", fatal=False)
    try:
        return _build(types[kind], body)
    except MessageError as error:
        raise MessageError(f"{kind}: {error}", fatal=kind == "start") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _build(cls: type, body: dict[str, Any]) -> object:
    """The dataclass `cls` from a JSON object, checked against its annotations."""
    values = {}
    for field in fields(cls):
        if body.get(field.name) is not None:
            values[field.name] = _typed(field.name, _hints(cls)[field.name], body[field.name])
        elif field.name == "words" and cls in (Partial, Final):
            values["words"] = ()  # a client may have asked for none
        elif field.default is MISSING:
            raise MessageError(f"{field.name}: missing")
    return cls(**values)


def _typed(name: str, hint: Any, value: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):  # only `X | None` occurs, and None was taken for absent
        return _typed(name, args[0], value)
    if origin is tuple:
        _check(isinstance(value, list), name, "a list", value)
        return tuple(_typed(name, args[0], item) for item in value)
    if origin is Literal:
        _check(value in args, name, f"one of {', '.join(args)}", value)
        return value
    if is_dataclass(hint):
        _check(isinstance(value, dict), name, "an object", value)
        return _build(cast("type", hint), value)
    kinds = (int, float) if hint is float else hint
    wanted = isinstance(value, kinds) and (hint is bool) == isinstance(value, bool)
    _check(wanted, name, _EXPECTED[hint], value)
    return hint(value)
