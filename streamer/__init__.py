"""Streaming speech recognition: words while they are being spoken.

The names below are loaded when first used, so that importing the package loads no network library
and no torch. A file in three lines:

    import streamer
    for final in streamer.transcribe("talk.wav"):
        print(f"{final.start:7.2f} {final.text}")

The other ways in are described in `streamer.api`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamer.api import listen, open_engine, recognize, recognize_channels, transcribe
    from streamer.config import (
        Config,
        ConfigError,
        EndpointRules,
        EngineConfig,
        KeywordConfig,
        ModelConfig,
        TextConfig,
    )
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
    from streamer.core.options import DecodingOptions, Hotword
    from streamer.edges.audio_file import AudioFile, AudioFileError, stream
    from streamer.edges.microphone import Microphone, MicrophoneError
    from streamer.engine.engine import Engine
    from streamer.engine.errors import CapacityError, SessionError
    from streamer.engine.session import Session

__version__ = "0.1.0"

_HOMES = {
    "streamer.api": ("listen", "open_engine", "recognize", "recognize_channels", "transcribe"),
    "streamer.config": (
        "Config",
        "ConfigError",
        "EndpointRules",
        "EngineConfig",
        "KeywordConfig",
        "ModelConfig",
        "TextConfig",
    ),
    "streamer.core.hypothesis": (
        "Closed",
        "Event",
        "Final",
        "Flushed",
        "Gap",
        "Keyword",
        "Partial",
        "SpeechStart",
        "Word",
    ),
    "streamer.core.options": ("DecodingOptions", "Hotword"),
    "streamer.edges.audio_file": ("AudioFile", "AudioFileError", "stream"),
    "streamer.edges.microphone": ("Microphone", "MicrophoneError"),
    "streamer.engine.engine": ("Engine",),
    "streamer.engine.errors": ("CapacityError", "SessionError"),
    "streamer.engine.session": ("Session",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

# fmt: off
__all__ = [
    "AudioFile", "AudioFileError", "CapacityError", "Closed", "Config", "ConfigError",
    "DecodingOptions", "EndpointRules", "Engine", "EngineConfig", "Event", "Final", "Flushed",
    "Gap", "Hotword", "Keyword", "KeywordConfig", "Microphone", "MicrophoneError", "ModelConfig",
    "Partial", "Session", "SessionError", "SpeechStart", "TextConfig", "Word", "listen",
    "open_engine", "recognize", "recognize_channels", "stream", "transcribe",
]
# fmt: on


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'streamer' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
