"""The synthetic voices: espeak-ng, flite, festival and SVOX Pico behind one function.

Owns which voices there are, how one is drawn and how it is made to speak; knows nothing of texts or
shards. The programs come from the system (Debian: espeak-ng, flite, festival with
festvox-us-slt-hts, festvox-kallpc16k and festvox-kdlpc16k), Pico from ``pip install ttspico``.
"""

from __future__ import annotations

import io
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.training.data import SAMPLE_RATE

ACCENTS = (
    "en-us",
    "en-us",
    "en-us",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-029",
)
UNUSABLE = ("whisper", "croak", "robo", "Robot", "Demonic", "Tweaky", "fast", "Storm", "kaukovalta")
FLITE_VOICES = ("awb", "rms", "slt", "kal16")
FLITE_SHARE = 0.4  # flite's voices are built from people, espeak's from formants: weigh them up
FESTIVAL_VOICES = ("cmu_us_slt_arctic_hts", "ked_diphone", "kal_diphone")
PICO_LANGUAGES = ("en-US", "en-GB")
SHARES = {"pico": 0.25, "festival": 0.1}  # each of what the engines before it leave
DRAWN = ("pico", "festival", "flite", "espeak")  # in this order; the last one takes what is left
WORDS_PER_MINUTE = (120, 210)
USUAL_WORDS_PER_MINUTE = 175  # of flite, festival and Pico at their normal rate


@dataclass(frozen=True, slots=True)
class Voice:
    """One way to speak.

    ``warp`` resamples the result, which moves pitch and formants together.
    """

    engine: str
    name: str
    words_per_minute: int
    pitch: int  # espeak's 0..99
    warp: float

    @property
    def label(self) -> str:
        """The voice in one word, for the shard's table."""
        return f"{self.engine}:{self.name}:{self.words_per_minute}:{self.pitch}:{self.warp:.2f}"

    @property
    def stretch(self) -> float:
        """How much longer than usual the engine must speak for the rate to hold after the warp."""
        return USUAL_WORDS_PER_MINUTE / self.words_per_minute * self.warp


@cache
def espeak_variants() -> list[str]:
    """The usable voice variants of the installed espeak-ng."""
    listing = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    )
    names = [line.split()[4].removeprefix("!v/") for line in listing.stdout.splitlines()[1:]]
    return sorted(name for name in names if not any(word in name for word in UNUSABLE))


def draw_voice(rng: random.Random, engines: Sequence[str]) -> Voice:
    """Draw a voice of one of ``engines``, its rate, its pitch and its warp."""
    last = [engine for engine in DRAWN if engine in engines][-1]
    for engine, names in (("pico", PICO_LANGUAGES), ("festival", FESTIVAL_VOICES)):
        if engine in engines and (rng.random() < SHARES[engine] or engine == last):
            rate = rng.randint(*WORDS_PER_MINUTE)
            return Voice(engine, rng.choice(names), rate, 50, rng.uniform(0.86, 1.18))
    rate = rng.randint(*WORDS_PER_MINUTE)
    if last == "flite" or ("flite" in engines and rng.random() < FLITE_SHARE):
        return Voice("flite", rng.choice(FLITE_VOICES), rate, 50, rng.uniform(0.86, 1.18))
    name = f"{rng.choice(ACCENTS)}+{rng.choice(espeak_variants())}"
    return Voice("espeak", name, rate, rng.randint(20, 80), rng.uniform(0.93, 1.07))


def speak(text: str, voice: Voice) -> NDArray[np.int16]:
    """``text`` in ``voice`` as int16 (S,) at 16 kHz; the rate holds after the warp.

    ``text`` is normalised: letters, apostrophes, spaces.
    """
    samples, rate = ENGINES[voice.engine](text, voice)
    return resample(samples, rate, voice.warp)


def _espeak(text: str, voice: Voice) -> tuple[NDArray[np.int16], int]:
    rate = str(round(voice.words_per_minute / voice.warp))
    command = ["espeak-ng", "-v", voice.name, "-s", rate, "-p", str(voice.pitch), "--stdout", text]
    return parse_wave(subprocess.run(command, capture_output=True, check=True).stdout)


def _flite(text: str, voice: Voice) -> tuple[NDArray[np.int16], int]:
    command = ["flite", "-voice", voice.name, "--setf", f"duration_stretch={voice.stretch:.3f}"]
    command += ["-t", text, "-o", "/dev/stdout"]
    return parse_wave(subprocess.run(command, capture_output=True, check=True).stdout)


def _festival(text: str, voice: Voice) -> tuple[NDArray[np.int16], int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        script = f"""(voice_{voice.name})
(Parameter.set 'Duration_Stretch {voice.stretch:.3f})
(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}" 'riff)
"""
        subprocess.run(["festival", "--pipe"], input=script.encode(), check=True)
        samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="int16")
    return samples, rate


@cache
def _pico_engine(language: str) -> object:
    import ttspico  # an optional engine

    return ttspico.TtsEngine(language)


def _pico(text: str, voice: Voice) -> tuple[NDArray[np.int16], int]:
    engine = _pico_engine(voice.name)
    engine.rate = round(100 / voice.stretch)  # type: ignore[attr-defined]
    pcm: bytes = engine.speak(text)  # type: ignore[attr-defined]
    return np.frombuffer(pcm, dtype="<i2"), SAMPLE_RATE


ENGINES: dict[str, Callable[[str, Voice], tuple[NDArray[np.int16], int]]] = {
    "espeak": _espeak,
    "flite": _flite,
    "festival": _festival,
    "pico": _pico,
}


def parse_wave(wave: bytes) -> tuple[NDArray[np.int16], int]:
    """Samples and rate of a WAV written to a pipe, whose length fields may be wrong."""
    rate = int.from_bytes(wave[24:28], "little")
    start = wave.index(b"data") + 8
    body = wave[start : start + (len(wave) - start) // 2 * 2]
    return np.frombuffer(body, dtype="<i2"), rate


def resample(samples: NDArray[np.int16], rate: int, warp: float = 1.0) -> NDArray[np.int16]:
    """Int16 at ``rate`` to int16 at 16 kHz, played ``warp`` times faster."""
    return np.asarray(
        soxr.resample(samples, rate * warp, SAMPLE_RATE, quality="HQ"), dtype=np.int16
    )
