"""A WAV file that is sent as it is where PCM was announced: its header says what follows.

Owns the reading of the header, however it is cut. Must not know: where the bytes come from.
"""

import struct
from dataclasses import replace

import numpy as np

from streamer.audio import AudioError, PcmDecoder, Samples, UnsupportedAudioError
from streamer.messages import AudioFormat, Encoding, MessageError

MAX_HEADER_BYTES = 64 << 10  # a header without audio behind it is refused
ENDLESS = (0, 0xFFFFFFFF)  # sizes that programs write which do not know them yet
EXTENSIBLE = 0xFFFE
ENCODINGS: dict[tuple[int, int], Encoding] = {  # by format tag and bits
    (1, 16): "pcm_s16le",
    (3, 32): "pcm_f32le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}


class SniffingDecoder:
    """Decodes one stream of bytes: PCM as announced, or the WAV file that it turns out to be.

    Used as PcmDecoder is. What follows the data of a WAV file is no audio and is dropped. Raises
    AudioError for a header of something else than PCM16, float32, μ-law or A-law.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self._announced = audio
        self._head: bytes | None = b""  # what may be a header; None when that is known
        self._left_bytes: int | None = None  # of a WAV file's audio
        self._pcm = PcmDecoder(audio)

    @property
    def replaced(self) -> int:
        """Samples that were no numbers."""
        return self._pcm.replaced

    @property
    def leftover_bytes(self) -> int:
        """Bytes of a sample that never became complete."""
        return self._pcm.leftover_bytes

    def accept(self, data: bytes | memoryview) -> Samples:
        """Take any number of bytes, give the 16 kHz samples that are ready, as PcmDecoder does."""
        if self._head is not None:
            data = self._head + bytes(data)
            self._head = data
            if _may_become_wav(data) and not self._is_header_read(data):
                return self._pcm.accept(b"")
            data, self._head = self._head, None
        if self._left_bytes is not None:
            data = data[: self._left_bytes]
            self._left_bytes -= len(data)
        return self._pcm.accept(data)

    def finish(self) -> Samples:
        """Give what was held back; nothing may be accepted afterwards."""
        held, self._head = self._head, None
        if held and not _may_become_wav(held[:12].ljust(12)):
            return np.concatenate([self._pcm.accept(held), self._pcm.finish()])
        return self._pcm.finish()

    def _is_header_read(self, data: bytes) -> bool:
        """Whether the audio begins in `data`; then `_head` is what comes behind the header."""
        at, audio = 12, None
        while len(data) >= at + 8:
            name, size = struct.unpack_from("<4sI", data, at)
            at += 8
            if name == b"data":
                if audio is None:
                    raise AudioError("expected a WAV file whose format comes before its data")
                self._pcm = PcmDecoder(audio)
                self._left_bytes = None if size in ENDLESS else size
                self._head = data[at:]
                return True
            if name == b"fmt " and len(data) >= at + size:
                audio = self._as_announced(_format(data[at : at + size]))
            at += size + size % 2  # chunks begin at even places
            if at > MAX_HEADER_BYTES:
                raise AudioError(
                    f"expected the audio of a WAV file within {MAX_HEADER_BYTES} bytes"
                )
        return False

    def _as_announced(self, audio: AudioFormat) -> AudioFormat:
        """The file's format; its channels stay apart where that was announced."""
        wanted = self._announced
        if wanted.separate and audio.channels != wanted.channels:
            raise UnsupportedAudioError(
                f"expected a WAV file of {wanted.channels} channels, got {audio.channels}"
            )
        return replace(audio, separate=wanted.separate)


def _may_become_wav(data: bytes) -> bool:
    """Whether these first bytes of a stream are, or may become, the beginning of a WAV file."""
    return b"RIFF".startswith(data[:4]) and (len(data) < 9 or b"WAVE".startswith(data[8:12]))


def _format(chunk: bytes) -> AudioFormat:
    """What the format chunk says; raises AudioError for what is not decoded."""
    if len(chunk) < 16:
        raise AudioError("expected a WAV file with a format chunk of 16 bytes or more")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    encoding = ENCODINGS.get((tag, bits))
    if encoding is None:
        raise UnsupportedAudioError(
            f"expected a WAV file of PCM16, float32, μ-law or A-law, got format {tag}, {bits} bits"
        )
    try:
        return AudioFormat(encoding, rate, channels)
    except MessageError as error:
        raise UnsupportedAudioError(f"the WAV file: {error}") from error
