"""The first word behind an endpoint and a long pause, with the model that ships: it is whole."""

import numpy as np
import pytest
import soundfile

from clients.demo import CLIP, SPOKEN
from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.context import SAMPLE_RATE
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Event, Final, SpeechStart
from streamer.core.recognizer import Model, Recognizer

FIRST = SPOKEN.split()[0]
PAUSES_S = (0.8, 3.0, 8.0)  # one that an endpoint just fits in, and longer than the left context
EARLY_S, LATE_S = 0.15, 0.2  # a word's beginning may be told so far off


@pytest.fixture(scope="module")
def model() -> Model:
    return build_model(ModelConfig(dtype="float32"))


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """From the very beginning of speech on."""
    samples, _ = soundfile.read(CLIP, dtype="float32")
    return samples[np.flatnonzero(np.abs(samples) > 0.005)[0] :]


def heard(model: Model, clip: np.ndarray, *, vad: bool) -> tuple[list[Event], list[float]]:
    """The clip behind each pause, and when it begins; the pauses hiss a little."""
    rng = np.random.default_rng(1)
    parts, begins = [clip], [0.0]
    for pause_s in PAUSES_S:
        parts.append(rng.normal(0, 1e-4, round(pause_s * SAMPLE_RATE)).astype(np.float32))
        begins.append(sum(map(len, parts)) / SAMPLE_RATE)
        parts.append(clip)
    events = Recognizer(model, EndpointRules(vad=vad)).transcribe(np.concatenate(parts))
    return events, begins


@pytest.mark.parametrize("vad", [False, True])
def test_the_first_word_behind_a_pause_is_whole(model, clip, vad) -> None:
    events, begins = heard(model, clip, vad=vad)
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.words[0].word for final in finals] == [FIRST] * len(begins)
    starts = [event.time for event in events if isinstance(event, SpeechStart)]
    for begin_s, final, start_s in zip(begins, finals, starts, strict=True):
        assert begin_s - EARLY_S <= final.start <= begin_s + LATE_S
        assert begin_s - EARLY_S <= start_s <= begin_s + LATE_S


def test_a_word_that_is_clipped_would_be_noticed(model, clip) -> None:
    """As if a gate had opened late."""
    events, _ = heard(model, clip[SAMPLE_RATE // 5 :], vad=False)
    words = [event.words[0].word for event in events if isinstance(event, Final)]
    assert FIRST not in words


@pytest.mark.parametrize("seed", range(2))
def test_with_the_real_detector_packets_change_nothing_either(model, clip, seed) -> None:
    rng = np.random.default_rng(seed)
    noise = np.repeat(rng.uniform(0, 0.01, 40), SAMPLE_RATE // 20)  # comes and goes
    noisy = rng.normal(0, 1, len(noise)).astype(np.float32) * noise.astype(np.float32)
    samples = np.concatenate([noisy, clip, noisy])
    whole = Recognizer(model, EndpointRules(vad=True)).transcribe(samples)
    model.reset([0])
    recognizer = Recognizer(model, EndpointRules(vad=True))
    events, begin = [], 0
    while begin < len(samples):
        end = begin + int(rng.integers(1, 4_000))
        recognizer.stream.accept_waveform(samples[begin:end])
        events += recognizer.decode()
        begin = end
    recognizer.stream.input_finished()
    events += recognizer.decode()
    kinds = Final | SpeechStart
    assert [e for e in events if isinstance(e, kinds)] == [e for e in whole if isinstance(e, kinds)]
    assert any(isinstance(event, Final) and event.reason == "endpoint" for event in events)
