"""Messages from the server, besides the recogniser's events, which are messages as they are.

Owns their names and types. Must not know: JSON, sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from streamer.core.hypothesis import Closed, Final, Flushed, Gap, Keyword, Partial, SpeechStart


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
    token: str | None = None  # what `resume` must show; None: the session cannot be resumed
    resume_window_s: float | None = None  # how long it is kept without a connection


@dataclass(frozen=True, slots=True)
class Resumed:
    """The answer to `resume`: the session goes on from here; the events missed follow."""

    session: str
    audio_bytes: int  # of the client's audio that were taken: it goes on with the next
    messages: int  # `flush`, `configure` and `stop` that were taken


@dataclass(frozen=True, slots=True)
class Ack:
    """Samples (at 16 kHz) received so far; sent at least every 500 ms of audio."""

    received: int
    audio_bytes: int | None = None  # taken, and never asked for again; of sessions with a token
    messages: int | None = None  # `flush`, `configure` and `stop` taken


@dataclass(frozen=True, slots=True)
class Configured:
    """The answer to `configure`: it holds from this sample (at 16 kHz) on, and from there only."""

    sample: int


@dataclass(frozen=True, slots=True)
class Append:
    """For `append_only`: what is new of the text that only grows, behind all texts before it.

    A text begins with the space that parts it from the one before.
    """

    utterance: int
    text: str
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """Something the peer should know; a fatal one is followed by the close code."""

    code: str
    message: str
    fatal: bool
    retry_after_s: float | None = None  # when to come back
    retryable: bool | None = None  # of a fatal one: another session may go well
    resume: bool | None = None  # of a fatal one: this session waits for a `resume`


@dataclass(frozen=True, slots=True)
class GoAway:
    """The session ends soon: speak on to the end of the utterance; `closed` follows by itself."""

    code: str  # why: "restart" or "too_long"
    message: str
    time_left_s: float  # at most
    retryable: bool  # another session may go well
    resume: bool  # this one waits for a `resume`
    retry_after_s: float | None = None  # when to come back


# The recognizer's events are messages as they are.
ServerMessage = (
    Ready
    | Resumed
    | Ack
    | Configured
    | Append
    | Error
    | GoAway
    | SpeechStart
    | Partial
    | Final
    | Keyword
    | Flushed
    | Gap
    | Closed
)

SERVER: Mapping[str, type] = {
    "ready": Ready,
    "resumed": Resumed,
    "speech_start": SpeechStart,
    "partial": Partial,
    "final": Final,
    "keyword": Keyword,
    "flushed": Flushed,
    "gap": Gap,
    "ack": Ack,
    "configured": Configured,
    "append": Append,
    "error": Error,
    "goaway": GoAway,
    "closed": Closed,
}
