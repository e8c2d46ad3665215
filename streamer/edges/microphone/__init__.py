"""The sound card: `device` opens and reads one, `lasting` opens it again when it goes away."""

from streamer.edges.microphone.device import (
    Block,
    Heard,
    InputDevice,
    Microphone,
    MicrophoneError,
    devices,
    find,
)
from streamer.edges.microphone.lasting import LastingMicrophone

__all__ = [
    "Block",
    "Heard",
    "InputDevice",
    "LastingMicrophone",
    "Microphone",
    "MicrophoneError",
    "devices",
    "find",
]
