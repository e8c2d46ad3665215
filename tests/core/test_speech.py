"""Endpoints and the start of speech by a detector, whatever the packets and the moments."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core.context import Context, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final, Flushed, SpeechStart
from streamer.core.recognizer import Recognizer
from streamer.core.speech import NEVER, SpeechMeter
from tests.core.test_stream_endpoints import DeafModel
from tests.fakes import FakeDetector, FakeModel, audio, silence, speak

SIZE = FakeDetector.frame_samples
HOWL = 0.9 / 64  # as loud as a letter, and no letter
VAD = EndpointRules(vad=True, silence_s=0.5, blank_s=3.0)


def noise(seconds: float) -> np.ndarray:
    return np.full(Grid.samples_in(seconds), HOWL, np.float32)


def hearing(context=Context(0, 5, 0), **settings):  # noqa: B008
    model = FakeModel(context, **settings)
    model.detector = FakeDetector()
    return model


def finals(events):
    return [(e.text, e.reason) for e in events if isinstance(e, Final)]


def test_noise_is_no_speech_where_a_detector_is_asked():
    samples = np.concatenate([speak("ab"), noise(1.0), speak("cd")])
    assert finals(Recognizer(hearing(), VAD).transcribe(samples)) == [
        ("ab", "endpoint"),
        ("cd", "end"),
    ]
    deaf = EndpointRules(silence_s=0.5, blank_s=3.0)
    assert finals(Recognizer(hearing(), deaf).transcribe(samples)) == [("ab cd", "end")]


def test_speech_is_not_quiet_even_if_no_letter_is_decoded():
    murmur = audio([0] * 50, [-FakeDetector.SPEECH] * 50)
    samples = np.concatenate([speak("ab"), murmur, speak("cd")])
    assert finals(Recognizer(hearing(), VAD).transcribe(samples)) == [("ab cd", "end")]


def test_without_a_detector_rules_go_by_loudness():
    events = Recognizer(FakeModel(), VAD).transcribe(np.concatenate([speak("ab"), silence(1.0)]))
    assert finals(events) == [("ab", "endpoint")]


def test_speech_starts_where_the_detector_hears_it_before_a_letter_is_decoded():
    murmur = audio([0] * 40, [-FakeDetector.SPEECH] * 40)
    samples = np.concatenate([noise(0.512), murmur, speak("ab"), silence(1.0), speak("cd")])
    events = Recognizer(hearing(), VAD).transcribe(samples)
    starts = [e.time for e in events if isinstance(e, SpeechStart)]
    assert len(starts) == len(finals(events)) == 2
    assert starts[0] == 0.512
    assert 0 <= (0.512 + 0.8 + 0.12 + 1.0) - starts[1] <= SIZE / 16_000
    plain = EndpointRules(silence_s=0.5, blank_s=3.0)
    (first, _) = (
        e.time
        for e in Recognizer(hearing(), plain).transcribe(samples)
        if isinstance(e, SpeechStart)
    )
    assert first == pytest.approx(0.512 + 0.8, abs=0.02)


def test_a_verdict_ends_an_utterance_before_its_chunk_is_there():
    """Over with sample 11,072, of which the verdict comes with 11,264; 9,600 are decoded."""
    recognizer = Recognizer(hearing(Context(0, 10, 0)), VAD)
    stream = recognizer.stream
    stream.accept_waveform(np.concatenate([speak("abc", 2, 1), noise(0.52)]))
    assert finals(recognizer.decode()) == []
    asked = []
    for _ in range(3):
        asked.append(stream.wants_verdict())
        stream.accept_waveform(noise(0.002))
        assert not stream.is_ready()
    assert [*asked, stream.wants_verdict()] == [False, False, True, True]
    assert finals(recognizer.decode()) == [("abc", "endpoint")]


PARTS = st.lists(
    st.tuples(st.sampled_from(["quiet", "howl", "murmur", "letter"]), st.integers(1, 4000)),
    min_size=1,
    max_size=25,
)
LEVELS = {"quiet": 0.0, "howl": HOWL, "murmur": FakeDetector.SPEECH / 64, "letter": 5.25 / 64}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_packets_and_moments_of_judging_change_nothing(seed):
    """Any chunks, letters told late, flushes, gaps, rules that change: the same events."""
    rng = random.Random(seed)
    grid = Grid(rng.choice([320, 640]), 240)
    model = DeafModel(context=Context(0, rng.randint(1, 12), rng.choice([0, 3])), grid=grid)
    model.detector = FakeDetector()
    rules = [
        EndpointRules(vad=on, silence_s=rng.choice([0.2, 0.4]), blank_s=rng.choice([0.4, 1.0]))
        for on in (rng.random() < 0.7, True, False)
    ]
    plan = [
        (rng.choice(list(LEVELS.values())), rng.randint(1, 3) * rng.choice([1, 512, 640, 1500]))
        for _ in range(50)
    ]
    does = {rng.randrange(50): rng.choice(["flush", "gap", "rules"]) for _ in range(4)}

    def heard(packets):
        recognizer, events = Recognizer(model, rules[0]), []
        stream, sizes = recognizer.stream, random.Random(packets)
        for index, (level, size) in enumerate(plan):
            match does.get(index):
                case "flush":
                    stream.flush()
                case "gap":
                    stream.report_gap(4000)
                case "rules":
                    stream.configure(rules[1 + index % 2])
            part = np.full(size, level, np.float32)
            for piece in np.array_split(part, sizes.randint(1, 4) if packets else 1):
                stream.accept_waveform(piece)
                if packets and sizes.random() < 0.5:
                    events += recognizer.decode()
        stream.input_finished()
        told = events + recognizer.decode()
        return [e for e in told if isinstance(e, Final | Flushed | SpeechStart)]

    expected = heard(0)
    assert heard(1) == heard(2) == expected


@given(PARTS, st.integers(0, 99))
def test_a_meter_knows_the_same_however_it_is_asked(parts, seed):
    rng = random.Random(seed)
    detector = FakeDetector()
    whole, cut = SpeechMeter(detector), SpeechMeter(detector)
    clock = 0
    for meter in (whole, cut):
        meter.turn_on(0)

    def judge(meter):
        unheard = meter.take_unheard()
        if unheard is not None:
            (verdict,) = detector.detect([0], [unheard])
            meter.accept_verdict(verdict)

    for what, size in parts:
        samples = np.full(size, LEVELS[what], np.float32)
        whole.accept(samples)
        clock += size
        for piece in np.array_split(samples, rng.randint(1, 4)):
            cut.accept(piece)
            if rng.random() < 0.5:
                judge(cut)
        if rng.random() < 0.2:
            whole.skip(700)
            cut.skip(700)
            clock += 700
    judge(whole)
    judge(cut)
    for until in sorted(rng.randrange(clock + 1) for _ in range(4)):
        whole.count(until)
        cut.count(until)
        assert whole.known == cut.known <= until
        assert whole.onset(until // 2) == cut.onset(until // 2)
        for since in range(0, clock, 511):
            assert whole.quiet_end(since, 900) == cut.quiet_end(since, 900)


def test_a_verdict_that_is_on_its_way_is_not_asked_for_again():
    meter = SpeechMeter(FakeDetector())
    meter.turn_on(0)
    meter.accept(np.zeros(SIZE, np.float32))
    assert meter.may_be_quiet_by(0, SIZE, SIZE)
    unheard = meter.take_unheard()
    assert not meter.may_be_quiet_by(0, SIZE, SIZE)
    meter.accept(np.zeros(SIZE, np.float32))
    assert meter.may_be_quiet_by(0, 2 * SIZE, 2 * SIZE)
    (verdict,) = FakeDetector().detect([0], [unheard])
    meter.accept_verdict(verdict)
    assert meter.may_be_quiet_by(0, 2 * SIZE, 2 * SIZE)


def test_what_nobody_heard_is_not_quiet():
    meter = SpeechMeter(FakeDetector())
    meter.turn_on(1000)
    meter.accept(np.zeros(2 * SIZE + 100, np.float32))
    meter.skip(5000)
    meter.accept(np.zeros(2 * SIZE, np.float32))
    assert meter.quiet_end(0, 1) == NEVER
    (verdict,) = FakeDetector().detect([0], [meter.take_unheard()])
    meter.accept_verdict(verdict)
    assert meter.take_unheard() is None
    meter.count(NEVER)
    lost_until = 1000 + 2 * SIZE + 100 + 5000
    assert meter.known == lost_until + 2 * SIZE
    assert meter.quiet_end(0, 2 * SIZE) == 1000 + 2 * SIZE
    assert meter.quiet_end(0, 2 * SIZE + 1) == NEVER
    assert meter.quiet_end(1000, 2 * SIZE - 1) == 1000 + 2 * SIZE - 1
    meter.forget(lost_until)
    assert meter.quiet_end(0, 9) == 9
