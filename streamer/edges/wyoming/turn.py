"""One transcription of a Wyoming client: what it wishes, and its audio on the way to a session.

Owns how events become rules, hotwords and samples. Must not know: sockets, answers.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from streamer.audio import PcmDecoder, bytes_per_sample
from streamer.config import EndpointRules
from streamer.engine.session import Session
from streamer.messages import AudioFormat, MessageError

SLICES_PER_S = 4  # a large chunk is decoded in slices, so that others get their turn
LONGEST_S = 3_600.0  # that a rule may wait
SAMPLE_BYTES = 2  # the width that is served
MAX_HOTWORDS, MAX_HOTWORD_LENGTH = 100, 64  # further ones, and longer ones, are left out
PATIENCE = {"relaxed": 2.0, "aggressive": 0.5}  # by vad_sensitivity: so much more silence


class ClientError(Exception):
    """The connection must end with this error."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a `transcribe` asks for; anything odd in it is as if it were not there."""

    hotwords: tuple[str, ...] = ()
    patience: float = 1.0

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Wishes":
        """Read the event's data: names come before terms, as the protocol ranks them."""
        words: list[str] = []
        for key in ("transcript_names", "transcript_terms"):
            given = data.get(key)
            words += (
                [each for each in given if _is_hotword(each)] if isinstance(given, list) else []
            )
        sensitivity = data.get("vad_sensitivity")
        patience = PATIENCE.get(sensitivity, 1.0) if isinstance(sensitivity, str) else 1.0
        return cls(tuple(dict.fromkeys(words))[:MAX_HOTWORDS], patience)

    def rules(self, rules: EndpointRules) -> EndpointRules:
        """The server's rules, with the client's patience."""
        silence_s, blank_s = (
            min(seconds * self.patience, LONGEST_S) for seconds in (rules.silence_s, rules.blank_s)
        )
        return replace(rules, silence_s=silence_s, blank_s=blank_s)


class Turn:
    """One transcription: its session, its audio so far, and the task that answers."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.answering: asyncio.Task[None]
        self._decoder: PcmDecoder | None = None
        self._audio: AudioFormat | None = None

    async def hear(self, audio: AudioFormat, data: bytes) -> None:
        """Take a chunk, in whatever format it says it has."""
        if self._decoder is None or audio != self._audio:
            await self.end_format()
            self._decoder, self._audio = PcmDecoder(audio), audio
        slice_bytes = bytes_per_sample(audio) * (audio.sample_rate // SLICES_PER_S)
        for at in range(0, len(data), slice_bytes):
            await self.session.send(self._decoder.accept(data[at : at + slice_bytes]))

    async def end_format(self) -> None:
        """Take what the resampler holds back."""
        if self._decoder is not None:
            await self.session.send(self._decoder.finish())
            self._decoder = None


def audio_format(data: dict[str, Any]) -> AudioFormat:
    """The format of a chunk, which says it itself; raises ClientError."""
    rate, width, channels = (data.get(name) for name in ("rate", "width", "channels"))
    if width != SAMPLE_BYTES:
        raise ClientError("bad-request", "expected audio of width 2 (16 bits)")
    if not (isinstance(rate, int) and isinstance(channels, int)):
        raise ClientError("bad-request", "expected whole numbers for rate and channels")
    try:
        return AudioFormat("pcm_s16le", rate, channels)
    except MessageError as error:
        raise ClientError("bad-request", str(error)) from error


def _is_hotword(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= MAX_HOTWORD_LENGTH
