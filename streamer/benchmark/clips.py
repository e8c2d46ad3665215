"""What the streams say: one long recording, which each stream joins at a place of its own.

Owns reading and, where there is nothing to read, synthesis. Must not know: sessions, sockets.
Letters: S samples.
"""

import wave
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamer.benchmark.schedule import GOLDEN
from streamer.core.chunker import Waveform
from streamer.core.context import SAMPLE_RATE, Grid

PAUSE_S = 1.0  # behind each clip: utterances end
SYNTHETIC_S = 60.0
SYLLABLE_S, PITCH_HZ, HARMONICS = 0.18, 120.0, 24


class ClipError(Exception):
    """A recording cannot be used; the message is one sentence for the user."""


class Audio:
    """The audio of every stream, at least `seconds` of it, without a copy for each.

    Two streams never say the same at the same time, as long as there are fewer of them than
    samples.
    """

    def __init__(self, clips: Sequence[Waveform], seconds: float) -> None:
        pause = np.zeros(Grid.samples_in(PAUSE_S), np.float32)
        once = np.concatenate([part for clip in clips for part in (clip, pause)])
        self._turn = len(once)
        repeats = 1 + -(-Grid.samples_in(seconds) // self._turn)
        self._samples: Waveform = np.tile(once, repeats)
        self._pcm = (self._samples * 32767).round().clip(-32768, 32767).astype("<i2")

    def samples(self, stream: int, first: int, stop: int) -> Waveform:
        """Samples [first, stop) of a stream, float32 in [-1, 1]."""
        begin = self._begin(stream)
        return self._samples[begin + first : begin + stop]

    def pcm(self, stream: int, first: int, stop: int) -> bytes:
        """The same as signed 16-bit little-endian."""
        begin = self._begin(stream)
        return self._pcm[begin + first : begin + stop].tobytes()

    def _begin(self, stream: int) -> int:
        return int(stream * GOLDEN % 1 * self._turn)


def read(paths: Sequence[Path]) -> list[Waveform]:
    """The recordings; raises ClipError for one that cannot be read.

    16 kHz mono 16-bit WAV is read everywhere; other files need the package soundfile.
    """
    return [_read(path) for path in paths]


def _read(path: Path) -> Waveform:
    if find_spec("soundfile") is not None:
        from streamer.edges import audio_file

        try:
            with audio_file.AudioFile(path) as file:
                return np.concatenate(list(file.blocks()))
        except audio_file.AudioFileError as error:
            raise ClipError(str(error)) from error
    try:
        with wave.open(str(path)) as file:
            form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            data = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError) as error:
        raise ClipError(f"{path} cannot be read without the package soundfile: {error}") from error
    if form != (SAMPLE_RATE, 1, 2):
        raise ClipError(f"{path}: expected 16 kHz mono 16-bit WAV, or the package soundfile")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def synthetic(seconds: float = SYNTHETIC_S) -> Waveform:
    """Something with the rhythm of speech and no words: voiced syllables, hisses and pauses."""
    generator = np.random.default_rng(0)
    parts: list[npt.NDArray[np.float64]] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        time_s = (
            np.arange(int(SYLLABLE_S * generator.uniform(0.6, 1.6) * SAMPLE_RATE)) / SAMPLE_RATE
        )
        envelope = np.sin(np.pi * time_s / time_s[-1])
        kind = generator.uniform()
        if kind < 0.25:
            parts.append(np.zeros_like(time_s))
        elif kind < 0.45:
            parts.append(0.1 * envelope * generator.standard_normal(len(time_s)))
        else:
            parts.append(0.2 * envelope * _voice(time_s, generator))
    return np.concatenate(parts)[: Grid.samples_in(seconds)].clip(-1, 1).astype(np.float32)


def _voice(
    time_s: npt.NDArray[np.float64], generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Harmonics under two formants."""
    pitch_hz = PITCH_HZ * generator.uniform(0.7, 1.8)
    formants_hz = generator.uniform((300, 900), (900, 2500))
    harmonics_hz = pitch_hz * np.arange(1, HARMONICS + 1)
    distances = np.abs(harmonics_hz[:, None] - formants_hz) / 200
    weights = np.exp(-0.5 * distances**2).sum(axis=1) + 0.02
    voice: npt.NDArray[np.float64] = weights @ np.sin(2 * np.pi * harmonics_hz[:, None] * time_s)
    voice /= np.abs(voice).max()
    return voice
