"""Endpoints false and missed, from the end of speech to its final, and from a flush to its final.

    python -m tests.bench.endpoints                    # the rules side by side, then flushes
    python -m tests.bench.endpoints --rules            # flushes alone

Readers' clips (LibriSpeech and Kathleen of ../shared/data; without it sentences by espeak-ng) are
strung together with pauses of 0.2 to 2 s, over digital silence, steady noise and recorded ones,
which are unsteady: the same clips and pauses over each. Everything is drawn from one seed. What is
quiet, energy says or the detector of voice activity (`vad`).

What is true is said by the clips' own energy, in frames of 10 ms: speech is what is less than 30 dB
below the clip's loud frames, at least 10 dB above its quiet ones and 3 dB above what noise is laid
over it (recorded noise has louder moments; they are no speech). A clip is cut to its first and
last frame of speech, so the pauses between clips are known; a reader's pauses within a clip are
pauses too. An endpoint is *false* if no pause of the setting's length led to it, wherever it came;
*missed* is a pause between clips, at least as long as the setting, without one. The *delay* runs
from the end of a clip's speech to its final, in audio time: packets of 20 ms, computing not
counted. A flush is timed by the wall clock, from the call to `flushed`, in an engine with one
session to which the last two seconds came at the pace of speech, cut anywhere.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from streamer.api import build_engine, build_model
from streamer.config import EngineConfig, ModelConfig
from streamer.core.chunker import Window
from streamer.core.context import SAMPLE_RATE
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames
from streamer.core.hypothesis import Event, Final, Flushed
from streamer.core.recognizer import Model, Recognizer
from streamer.core.speech import Detector, Probabilities
from streamer.engine.session import Session
from tests.bench.latency import RATES, SENTENCES, VOICES, Speaker

DEV = Path("../shared/data/audio/dev")
READERS = ("ls_*.flac", "ka_*.flac")
SEED = 20
FRAME_SAMPLES = SAMPLE_RATE // 100
PACKET_SAMPLES = SAMPLE_RATE // 50
NOISE = Path("../shared/data/noise")
NOISES = (("none", -99.0), ("steady", -55.0), ("recorded", -55.0), ("recorded", -40.0))  # dBFS
PAUSES_S = (0.2, 2.0)
CLIPS_PER_RECORDING = 6
PACED_SAMPLES = 2 * SAMPLE_RATE
TOLERANCE_S = 0.04  # of the energy: a pause may be this much shorter than the setting


@dataclass(frozen=True, slots=True)
class Recording:
    """Clips and pauses in a row; times in seconds."""

    noise: str
    samples: np.ndarray  # float32 (S,)
    gaps: list[tuple[float, float]]  # between clips: [end of speech, beginning of speech)
    pauses: list[tuple[float, float]]  # these and the readers' own


def clips() -> list[np.ndarray]:
    """Spoken sentences, float32 (S,) at 16 kHz."""
    paths = [path for pattern in READERS for path in sorted(DEV.glob(pattern))]
    if paths:
        return [soundfile.read(path, dtype="float32")[0] for path in paths]
    print(f"{DEV} is absent: sentences by espeak-ng instead")
    speaker = Speaker()
    texts = [(text, voice) for text in SENTENCES for voice in VOICES[:3]]
    return [speaker.say(text, voice, RATES[i % 3]).samples for i, (text, voice) in enumerate(texts)]


def noise(rng: np.random.Generator, kind: str, level_dbfs: float, size: int) -> np.ndarray:
    """Noise of this level (S,)."""
    if kind == "none":
        return np.zeros(size)
    samples = rng.normal(size=size)
    files = sorted(NOISE.glob("*.flac"))
    if kind == "recorded" and files:
        recorded = soundfile.read(files[rng.integers(len(files))])[0]
        samples = np.resize(np.roll(recorded, rng.integers(len(recorded))), size)
    return samples * 10 ** (level_dbfs / 20) / np.sqrt(np.square(samples).mean())


def speech(samples: np.ndarray, noise_dbfs: float) -> np.ndarray:
    """Whether each frame of 10 ms is speech that is heard above the noise, (T,) bool."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    levels_db = 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    quiet_db, loud_db = np.percentile(levels_db, [5, 95])
    threshold_db = max(loud_db - 30, quiet_db + 10, noise_dbfs + 3)
    return levels_db >= min(threshold_db, loud_db - 10)


def recordings(rng: np.random.Generator, found: list[np.ndarray]) -> Iterator[Recording]:
    """All clips, in an order drawn, in recordings of a few, over each noise."""
    order = rng.permutation(len(found))
    for number, start in enumerate(range(0, len(order), CLIPS_PER_RECORDING)):
        chosen = [found[i] for i in order[start : start + CLIPS_PER_RECORDING]]
        for noise in NOISES:
            yield recording(np.random.default_rng((SEED, number)), chosen, *noise)


def recording(
    rng: np.random.Generator, chosen: list[np.ndarray], kind: str, noise_dbfs: float
) -> Recording:
    """The clips, each cut to its speech and followed by a pause, the last one by the longest."""
    parts, active, gaps = [], [], []
    for clip in chosen:
        is_speech = speech(clip, noise_dbfs)
        first, last = np.flatnonzero(is_speech)[[0, -1]]
        parts.append(clip[first * FRAME_SAMPLES : (last + 1) * FRAME_SAMPLES])
        active.append(is_speech[first : last + 1])
        frames = 100 * PAUSES_S[1] if clip is chosen[-1] else 100 * rng.uniform(*PAUSES_S)
        begin = sum(map(len, active))
        gaps.append((begin / 100, (begin + round(frames)) / 100))
        parts.append(np.zeros(round(frames) * FRAME_SAMPLES, np.float32))
        active.append(np.zeros(round(frames), bool))
    samples = np.concatenate(parts)
    samples = samples + noise(rng, kind, noise_dbfs, len(samples))
    is_quiet = ~np.concatenate(active)
    edges = np.flatnonzero(np.diff(is_quiet, prepend=False, append=False)).reshape(-1, 2)
    pauses = [(begin / 100, end / 100) for begin, end in edges]
    name = kind if kind == "none" else f"{kind} {noise_dbfs:.0f}"
    return Recording(name, samples.astype(np.float32), gaps, pauses)


class RememberingDetector:
    """A detector that has heard the whole recording beforehand, and says so piece by piece."""

    def __init__(self, detector: Detector) -> None:
        self.frame_samples, self.context_samples = detector.frame_samples, detector.context_samples
        self._detector = detector
        self._said, self._at = np.zeros(0, np.float32), 0

    def hear(self, samples: np.ndarray) -> None:
        """The recording from whose beginning on `detect` answers."""
        self._detector.reset([0])
        frames = len(samples) // self.frame_samples
        before = np.zeros(self.context_samples, np.float32)
        heard = np.concatenate([before, samples[: frames * self.frame_samples]])
        (self._said,) = self._detector.detect([0], [heard])

    def detect(self, slots: Sequence[int], samples: Sequence[np.ndarray]) -> list[Probabilities]:
        """What it has said of these samples, which follow the last."""
        begin = self._at
        self._at += (len(samples[0]) - self.context_samples) // self.frame_samples
        return [self._said[begin : self._at]]

    def reset(self, slots: Sequence[int]) -> None:
        """From the beginning again."""
        self._at = 0


class Remembering:
    """A model that runs over each recording once: endpoint rules do not change what it hears."""

    def __init__(self, model: Model) -> None:
        self.context, self.grid, self.labels = model.context, model.grid, model.labels
        self.slots, self.search = 1, model.search
        assert model.detector is not None, "this needs silero-vad"
        self.detector = RememberingDetector(model.detector)
        self.recording = 0  # the one that runs now
        self._model = model
        self._frames: dict[tuple[int, int], Frames] = {}

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        """As the model, if it was not asked before."""
        key = self.recording, windows[0].start_sample
        if key not in self._frames:
            (self._frames[key],) = self._model.run(slots, windows)
        return [self._frames[key]]

    def reset(self, slots: Sequence[int]) -> None:
        """Forget the stream."""
        self._model.reset(slots)
        self.detector.reset(slots)


def endpoints(recognizer: Recognizer, samples: np.ndarray) -> list[float]:
    """Seconds of audio received when each final by endpoint came."""
    recognizer.reset()
    times: list[float] = []
    for start in range(0, len(samples), PACKET_SAMPLES):
        recognizer.stream.accept_waveform(samples[start : start + PACKET_SAMPLES])
        at = recognizer.stream.received_samples / SAMPLE_RATE
        times += [at for event in recognizer.decode() if is_endpoint(event)]
    return times


def is_endpoint(event: Event) -> bool:
    """Whether an utterance has ended by silence."""
    return isinstance(event, Final) and event.reason == "endpoint"


@dataclass(slots=True)
class Tally:
    """What became of all recordings; lists in seconds."""

    endpoints: int = 0
    false: int = 0
    pauses: int = 0
    missed: int = 0
    delays: list[float] = field(default_factory=list)

    def count(self, found: list[float], truth: Recording, setting_s: float, late_s: float) -> None:
        """One recording; a final may come `late_s` after its silence is over."""
        self.endpoints += len(found)
        enough = setting_s - TOLERANCE_S
        true = [(a + enough, b + late_s) for a, b in truth.pauses if b - a >= enough]
        self.false += sum(not any(a <= at <= b for a, b in true) for at in found)
        for end, begin in truth.gaps:
            if begin - end >= setting_s:
                hits = [at - end for at in found if end + enough <= at <= begin + late_s]
                self.pauses += 1
                self.missed += not hits
                self.delays += hits[:1]


def tallies(model: Remembering, rules: EndpointRules, spoken: list[Recording]) -> dict[str, Tally]:
    """All recordings under one setting, by the noise that is laid over them."""
    recognizer, silence_s = Recognizer(model, rules), rules.silence_s
    late_s = model.context.latency_s(model.grid) + PACKET_SAMPLES / SAMPLE_RATE
    found: dict[str, Tally] = {}
    for number, each in enumerate(spoken):
        model.recording = number
        if rules.vad:
            model.detector.hear(each.samples)
        tally = found.setdefault(each.noise, Tally())
        tally.count(endpoints(recognizer, each.samples), each, silence_s, late_s)
    return found


async def flushes(model: Model, found: list[np.ndarray], count: int) -> list[float]:
    """Seconds from a flush to its answer, by the wall clock."""
    rng = np.random.default_rng(SEED)
    latencies = []
    async with build_engine(model, EngineConfig()) as engine:
        for clip in found[:count]:
            samples = clip[: len(clip) - rng.integers(min(SAMPLE_RATE, len(clip) // 2))]
            head = max(0, len(samples) - PACED_SAMPLES)
            async with engine.open_session() as session:
                await session.send(samples[:head])
                await flushed(session)  # nothing of this is left to be decoded
                for start in range(head, len(samples), PACKET_SAMPLES):
                    await asyncio.sleep(PACKET_SAMPLES / SAMPLE_RATE)
                    await session.send(samples[start : start + PACKET_SAMPLES])
                latencies.append(await flushed(session))
    return latencies


async def flushed(session: Session) -> float:
    """Flush; returns the seconds to its answer."""
    begin = time.perf_counter()
    await session.flush()
    async for event in session:
        if isinstance(event, Flushed):
            break
    return time.perf_counter() - begin


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--lm", default="auto", help="none: greedy decoding")
    parser.add_argument("--silence-s", type=float, nargs="+", default=[EndpointRules().silence_s])
    parser.add_argument("--rules", nargs="*", default=["energy", "vad"], choices=["energy", "vad"])
    parser.add_argument("--presets", nargs="+", default=["low", "default"])
    parser.add_argument("--flushes", type=int, default=40)
    arguments = parser.parse_args()
    found = clips()
    spoken = list(recordings(np.random.default_rng(SEED), found)) if arguments.rules else []
    print("preset   rule    silence  noise         ends  false  pauses  missed  delay p50   p95 ms")
    for preset in arguments.presets:
        model = build_model(ModelConfig(name=arguments.model, preset=preset, lm=arguments.lm))
        flush_s = asyncio.run(flushes(model, found, arguments.flushes)) or [0.0]
        remembering = Remembering(model)
        for silence_s, rule in product(arguments.silence_s, arguments.rules):
            rules = EndpointRules(silence_s=silence_s, vad=rule == "vad")
            for kind, tally in tallies(remembering, rules, spoken).items():
                delay = 1000 * np.percentile(tally.delays or [0.0], [50, 95])
                print(
                    f"{preset:9}{rule:7}{1000 * silence_s:5.0f}    {kind:12}"
                    f"{tally.endpoints:5}{tally.false:7}{tally.pauses:8}{tally.missed:8}"
                    f"{delay[0]:11.0f}{delay[1]:6.0f}",
                    flush=True,
                )
        flush = 1000 * np.percentile(flush_s, [50, 95])
        print(f"{preset:10}{'flush to its answer':>45}{flush[0]:12.0f}{flush[1]:6.0f}", flush=True)


if __name__ == "__main__":
    main()
