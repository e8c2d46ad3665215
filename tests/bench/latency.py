"""How long after a word's end it is first shown, and committed, per preset.

    python -m tests.bench.latency

espeak-ng says where each word of its speech begins (its word events), so ends are known: the next
word's beginning, and for the last word the end of the sound. Audio arrives in packets of 20 ms; an
event's time is the audio received by then plus the computing time of its step, measured here. Only
words that the final has right are counted. "algorithm" is the worst case of the geometry alone.
"""

import argparse
import ctypes
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import soxr

from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.context import SAMPLE_RATE
from streamer.core.hypothesis import Event, Final, Partial
from streamer.core.recognizer import Recognizer

PACKET_SAMPLES = SAMPLE_RATE // 50
PAUSE_S = 3.0  # behind each sentence: its final is part of the measure
SENTENCES = (
    "turn on the light in the kitchen please",
    "what is the weather going to be like tomorrow morning",
    "he took his hat and his coat and left the house without a word",
    "play the next song on my list",
    "the children were sitting under the old tree near the river",
    "remind me to call my mother at seven this evening",
    "there was nothing to be seen but the long white road",
    "how much money is left in my bank account",
    "she had never been so happy in all her life",
    "set the alarm for half past six",
    "the captain looked at the map for a long time",
    "add milk and bread and two boxes of tea to my shopping list",
)
VOICES = ("en-us+m3", "en-us+f2", "en-gb+m1", "en-gb-scotland+m7", "en-us+f5", "en-gb-x-rp+f3")
RATES = (130, 160, 190)  # words a minute


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _SpeechEvent(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_SpeechEvent)
)
END_OF_EVENTS, WORD = 0, 1
RETRIEVAL, UTF8, RATE = 1, 1, 1


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as sound, and where its words end."""

    samples: np.ndarray  # float32 (S,) at 16 kHz
    words: list[str]
    ends_s: list[float | None]  # None inside a group that espeak-ng speaks as one ("in the")


class Speaker:
    """libespeak-ng, which tells when it speaks which word."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate_hz: int = self._library.espeak_Initialize(RETRIEVAL, 200, None, 0)
        self._callback = _CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._pieces: list[np.ndarray] = []
        self._starts_s: dict[int, float] = {}  # by character of the text, from 1

    def _collect(self, wave: object, samples: int, events: object) -> int:
        if wave and samples:
            self._pieces.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        index = 0
        while events[index].type != END_OF_EVENTS:  # type: ignore[index]
            if events[index].type == WORD:  # type: ignore[index]
                event = events[index]  # type: ignore[index]
                self._starts_s[event.text_position] = event.audio_position / 1000
            index += 1
        return 0

    def say(self, text: str, voice: str, words_per_minute: int) -> Spoken:
        """Speak `text`; blocks until done."""
        self._pieces, self._starts_s = [], {}
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._pieces)
        loud = np.flatnonzero(np.abs(sound) > 200)
        samples = soxr.resample(sound.astype(np.float32) / 32768.0, self._rate_hz, SAMPLE_RATE)
        following = [match.end() + 2 for match in re.finditer(r"\S+", text)]
        ends_s = [self._starts_s.get(position) for position in following]
        ends_s[-1] = loud[-1] / self._rate_hz
        return Spoken(samples, text.split(), ends_s)


def timed_events(recognizer: Recognizer, samples: np.ndarray) -> Iterator[tuple[float, Event]]:
    """Each event with the time at which a live listener would have it, in seconds of audio."""
    recognizer.reset()
    quiet = np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    samples = np.concatenate([samples, quiet])
    free_s = 0.0  # when the step before is done
    for start in range(0, len(samples), PACKET_SAMPLES):
        recognizer.stream.accept_waveform(samples[start : start + PACKET_SAMPLES])
        begin = time.perf_counter()
        events = recognizer.decode()
        computing_s = time.perf_counter() - begin
        received_s = recognizer.stream.received_samples / SAMPLE_RATE
        free_s = max(free_s, received_s) + computing_s
        yield from [(free_s, event) for event in events]


def delays(recognizer: Recognizer, spoken: Spoken) -> Iterator[tuple[float, float]]:
    """(shown, committed) seconds after its end, for each word that the final has right."""
    shown: dict[tuple[int, str], float] = {}
    committed: dict[tuple[int, str], float] = {}
    finals: list[str] = []
    for at_s, event in timed_events(recognizer, spoken.samples):
        match event:
            case Partial(committed=settled, tail=tail):
                said = f"{settled} {tail}".split()
            case Final(text=text):
                settled, said = text, text.split()
            case _:
                continue
        before = len(finals)
        for place, word in enumerate(said, before):
            shown.setdefault((place, word), at_s)
        for place, word in enumerate(settled.split(), before):
            committed.setdefault((place, word), at_s)
        if isinstance(event, Final):
            finals += said
    matcher = SequenceMatcher(None, spoken.words, finals, autojunk=False)
    for match in matcher.get_matching_blocks():
        for offset in range(match.size):
            place, end_s = match.b + offset, spoken.ends_s[match.a + offset]
            key = (place, finals[place])
            assert shown[key] <= committed[key], key
            if end_s is not None:
                yield shown[key] - end_s, committed[key] - end_s


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--lm", default="auto", help="none: greedy decoding")
    arguments = parser.parse_args()
    speaker = Speaker()
    speech = [
        speaker.say(text, VOICES[i % len(VOICES)], RATES[i % len(RATES)])
        for i, text in enumerate(SENTENCES)
    ]
    total = sum(end_s is not None for spoken in speech for end_s in spoken.ends_s)
    print("preset      algorithm   words right   first shown p50  p95   committed p50  p95  (ms)")
    for preset in ("low", "default", "accurate"):
        asked = ModelConfig(name=arguments.model, preset=preset, lm=arguments.lm)  # type: ignore[arg-type]
        model = build_model(asked)
        recognizer = Recognizer(model)
        found = [pair for spoken in speech for pair in delays(recognizer, spoken)]
        shown_ms, committed_ms = (1000 * np.array(column) for column in zip(*found, strict=True))
        cells = [np.percentile(column, q) for column in (shown_ms, committed_ms) for q in (50, 95)]
        print(
            f"{preset:12}{1000 * model.context.latency_s(model.grid):6.0f}"
            f"{len(found):10} / {total}{cells[0]:17.0f}{cells[1]:6.0f}"
            f"{cells[2]:14.0f}{cells[3]:6.0f}"
        )


if __name__ == "__main__":
    main()
