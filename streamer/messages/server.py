"""Messages from the server, besides the recogniser's events, which are messages as they are.

Owns their names and types. Must not know: JSON, sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from streamer.core.hypothesis import Closed, Final, Flushed, Gap, Partial, SpeechStart


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


# The recognizer's events are messages as they are.
ServerMessage = Ready | Ack | Error | SpeechStart | Partial | Final | Flushed | Gap | Closed

SERVER: Mapping[str, type] = {
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
