"""From any PCM to the one form of audio inside the house: float32, mono, 16 kHz.

Channels that are to be heard each by itself stay apart on the way, as the columns of an array.

Owns sample encodings, channel mixing and streamed resampling, for every edge alike. Pure: bytes or
samples in, samples out. Must not know: files, sockets, sound cards, sessions.
Letters: S samples, C channels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from streamer.core.context import SAMPLE_RATE
from streamer.messages import AudioFormat

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "PcmDecoder",
    "Resampler",
    "Samples",
    "UnsupportedAudioError",
    "bytes_per_sample",
    "clipped",
    "mix",
]

Samples = npt.NDArray[np.float32]  # (S,) in [-1, 1]; (S, C) where a docstring says so
FLOATS = "pcm_f32le"  # the one encoding whose samples can be anything


class AudioError(ValueError):
    """Audio that cannot be decoded, in one sentence for its sender."""


class UnsupportedAudioError(AudioError):
    """Audio of a form that is not decoded here, whatever it holds."""


class Resampler:
    """Resamples one stream; however the input is cut, the output's samples are the same.

    Uses the constant-delay form of soxr: its block form delivers in bursts of up to 115 ms at
    8 kHz, this one holds back 12 ms (48 kHz) to 30 ms (8 kHz) of the newest audio until `finish`.
    In all it gives ceil(S * 16000 / source_rate) samples for S, so that time keeps its length.
    """

    def __init__(self, source_rate: int) -> None:
        if source_rate < 1:
            raise ValueError(f"expected source_rate >= 1 Hz, got {source_rate}")
        self._stream = (
            None
            if source_rate == SAMPLE_RATE
            else soxr.ResampleStream(source_rate, SAMPLE_RATE, 1, dtype="float32", vr=True)
        )
        self._source_rate = source_rate
        self._accepted = self._given = 0  # samples at the source rate, at 16 kHz

    def accept(self, samples: Samples) -> Samples:
        """Take (S,) samples at the source rate, give those that are ready at 16 kHz."""
        if self._stream is None:
            return samples
        ready = np.asarray(self._stream.resample_chunk(samples), np.float32)
        self._accepted += len(samples)
        self._given += len(ready)
        return ready

    def finish(self) -> Samples:
        """Give what was held back; nothing may be accepted afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        owed = -(-self._accepted * SAMPLE_RATE // self._source_rate) - self._given
        padded = np.zeros(max(owed, 0), np.float32)  # soxr may round the end by a sample or two
        padded[: len(rest)] = rest[: len(padded)]
        return padded


class PcmDecoder:
    """Decodes one stream of PCM bytes, cut anywhere; an incomplete sample waits for its rest.

    Non-finite samples become silence and the others are clipped to [-1, 1]: a broken client
    spoils its own words only. `replaced` counts the non-finite ones.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self.replaced = 0
        self._audio = audio
        self._carry = b""  # an incomplete sample of all channels, < 32 bytes
        count = audio.channels if audio.separate else 1
        self._resamplers = [Resampler(audio.sample_rate) for _ in range(count)]

    @property
    def leftover_bytes(self) -> int:
        """Bytes of a sample that never became complete."""
        return len(self._carry)

    def accept(self, data: bytes | memoryview) -> Samples:
        """Take any number of bytes, give the 16 kHz samples that are ready.

        They are mono (S,), or (S, C) of channels that are separate.
        """
        data = self._carry + bytes(data)
        whole = len(data) - len(data) % bytes_per_sample(self._audio)
        self._carry = data[whole:]
        samples = _decoded(data[:whole], self._audio.encoding)
        if self._audio.encoding != FLOATS:  # integers are finite and in range as they are
            return self._resampled(self._wanted(samples))
        finite = np.isfinite(samples)
        if not finite.all():
            self.replaced += int(samples.size - finite.sum())
            samples = np.where(finite, samples, np.float32(0))
        return self._resampled(self._wanted(clipped(samples)))

    def finish(self) -> Samples:
        """Give what was held back, as `accept` does; nothing may be accepted afterwards."""
        return clipped(self._joined([each.finish() for each in self._resamplers]))

    def _wanted(self, interleaved: Samples) -> Samples:
        frames = interleaved.reshape(-1, self._audio.channels)
        return frames if self._audio.separate else mix(frames)

    def _resampled(self, samples: Samples) -> Samples:
        if self._audio.sample_rate == SAMPLE_RATE:
            return samples
        columns = samples.T if self._audio.separate else [samples]
        pairs = zip(self._resamplers, columns, strict=True)
        return clipped(self._joined([each.accept(np.ascontiguousarray(c)) for each, c in pairs]))

    def _joined(self, columns: list[Samples]) -> Samples:
        return np.stack(columns, axis=1) if self._audio.separate else columns[0]


def clipped(samples: Samples) -> Samples:
    """Samples in [-1, 1]: a resampler rings beyond the peaks it is given."""
    return np.asarray(np.clip(samples, -1.0, 1.0), np.float32)


def bytes_per_sample(audio: AudioFormat) -> int:
    """Bytes of one sample of all channels."""
    return _DTYPES[audio.encoding].itemsize * audio.channels


def mix(samples: npt.NDArray[np.float32]) -> Samples:
    """Mean over the channels: (S, C) to (S,)."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


_DTYPES: dict[str, np.dtype[Any]] = {
    "pcm_s16le": np.dtype("<i2"),
    "pcm_f32le": np.dtype("<f4"),
    "mulaw": np.dtype("u1"),
    "alaw": np.dtype("u1"),
}


def _decoded(data: bytes, encoding: str) -> npt.NDArray[np.float32]:
    values: npt.NDArray[Any] = np.frombuffer(data, _DTYPES[encoding])
    if encoding in _G711:
        return np.take(_G711[encoding], values)
    if encoding == FLOATS:
        return values.astype(np.float32)
    return values.astype(np.float32) / np.float32(32768)


def _mulaw_table() -> Samples:
    """G.711 μ-law: sign, three bits of exponent, four of mantissa, all inverted."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((code & 0x0F).astype(np.int32) * 8 + 0x84) << ((code & 0x70) >> 4)
    return (np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84) / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """G.711 A-law: sign, three bits of exponent, four of mantissa, even bits inverted."""
    code = np.arange(256, dtype=np.uint8) ^ np.uint8(0x55)
    exponent = ((code & 0x70) >> 4).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32) * 16 + 8
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_G711 = {"mulaw": _mulaw_table(), "alaw": _alaw_table()}
