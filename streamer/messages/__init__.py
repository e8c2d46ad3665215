"""The wire protocol of `/v1/stream`: JSON texts to frozen dataclasses and back.

Owns the names, types and ranges of every message in both directions. Knows no socket, no clock and
no session: binary frames, limits of rate and order ("start comes first") belong to the server edge.
The events of the recognizer are server messages as they are; this package re-exports them.
"""

from streamer.core.hypothesis import (
    Closed,
    Event,
    Final,
    Flushed,
    Gap,
    Keyword,
    Partial,
    SpeechStart,
    Word,
)
from streamer.core.options import Hotword
from streamer.messages.checks import MessageError
from streamer.messages.client import (
    CONTAINERS,
    MAX_CHANNELS,
    AudioFormat,
    ClientMessage,
    Configure,
    Confirm,
    DecodingPatch,
    Encoding,
    EndpointPatch,
    Flush,
    KeywordWish,
    Resume,
    Start,
    Stop,
    TextWishes,
    expected_words,
)
from streamer.messages.codec import decode_client, decode_numbered, decode_server, encode
from streamer.messages.growing import GrowingText
from streamer.messages.server import (
    Ack,
    Append,
    Configured,
    Error,
    GoAway,
    Limits,
    Ready,
    Resumed,
    ServerMessage,
)

# fmt: off
__all__ = [
    "CONTAINERS", "MAX_CHANNELS", "Ack", "Append", "AudioFormat", "ClientMessage", "Closed",
    "Configure", "Configured", "Confirm", "DecodingPatch", "Encoding", "EndpointPatch", "Error",
    "Event", "Final", "Flush", "Flushed", "Gap", "GoAway", "GrowingText", "Hotword", "Keyword",
    "KeywordWish", "Limits", "MessageError", "Partial", "Ready", "Resume", "Resumed",
    "ServerMessage", "SpeechStart", "Start", "Stop", "TextWishes", "Word", "decode_client",
    "decode_numbered", "decode_server", "encode", "expected_words",
]
# fmt: on
