"""A detector in the engine: verdicts in time, in any company, whatever the packets."""

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest

from models import voice_activity
from streamer import api
from streamer.config import ConfigError, ModelConfig
from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Final, SpeechStart
from streamer.core.recognizer import Recognizer
from streamer.engine.engine import Engine
from streamer.engine.errors import SessionError
from tests.fakes import FakeDetector, FakeModel, audio, silence, speak

VAD = EndpointRules(vad=True, silence_s=0.3, blank_s=2.0)
NOISE = np.full(6_400, 0.9 / 64, np.float32)  # loud, and no speech
MURMUR = audio([0] * 20, [-FakeDetector.SPEECH] * 20)


def model(chunk: int = 8, slots: int = 4) -> FakeModel:
    fake = FakeModel(Context(0, chunk, 0), slots=slots)
    fake.detector = FakeDetector()
    return fake


def spoken(seed: int) -> np.ndarray:
    rng = random.Random(seed)
    said = [speak(rng.choice(["ab", "cd e", "f"])) for _ in range(6)]
    between = [rng.choice([NOISE, MURMUR, silence(0.35), NOISE[:1000]]) for _ in said]
    return np.concatenate([each for pair in zip(said, between, strict=True) for each in pair])


def told(events):
    return [e for e in events if isinstance(e, Final | SpeechStart | Closed)]


async def heard(engine, samples, packets):
    rng, begin = random.Random(packets), 0
    async with engine.open_session(VAD) as session:
        while begin < len(samples):
            end = begin + rng.randint(1, 3000)
            await session.send(samples[begin:end])
            begin = end
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
        await session.finish()
        return told([event async for event in session])


@pytest.mark.parametrize("seed", range(4))
def test_sessions_side_by_side_are_heard_as_alone(seed):
    async def scenario():
        async with Engine(model(), max_sessions=4, max_batch=3) as engine:
            all_heard = (heard(engine, spoken(seed + i), packets=seed * 7 + i) for i in range(4))
            return await asyncio.gather(*all_heard)

    expected = [told(Recognizer(model(), VAD).transcribe(spoken(seed + i))) for i in range(4)]
    assert asyncio.run(scenario()) == expected


def test_an_endpoint_over_noise_does_not_wait_for_a_window():
    """The chunk in which it lies is never filled: the verdict alone ends the utterance."""

    async def scenario():
        async with (
            Engine(model(chunk=10), max_sessions=1, max_batch=1) as engine,
            engine.open_session(VAD) as session,
        ):
            # No speech from 2,048 on: over with 6,848, known with 7,168.
            await session.send(np.concatenate([speak("ab"), NOISE[:4780]]))
            while session.decoded_samples < 6_400:  # noqa: ASYNC110 (no event tells of it)
                await asyncio.sleep(0)
            await session.send(NOISE[:500])
            final = await anext(event async for event in session if isinstance(event, Final))
            return final, session.received_samples, session.decoded_samples

    final, received, decoded = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert (final.text, final.reason) == ("ab", "endpoint")
    assert (received, decoded) == (7_200, 6_400)


def test_sessions_that_ask_for_no_detector_do_not_use_it():
    async def scenario(rules):
        fake = model()
        async with (
            Engine(fake, max_sessions=1, max_batch=1) as engine,
            engine.open_session(rules) as session,
        ):
            await session.send(spoken(1))
            await session.finish()
            [_ async for _ in session]
        return fake.detector.calls

    assert asyncio.run(scenario(EndpointRules())) == []
    assert asyncio.run(scenario(VAD)) != []


def test_a_runner_forgets_a_stream_in_its_detector_too():
    model = api.build_model(ModelConfig(), slots=2)
    samples = np.sin(np.arange(64 + 20 * 512, dtype=np.float32) / 9)
    (first,), (again,) = (model.detector.detect([1], [samples]) for _ in range(2))
    model.reset([1])
    (anew,) = model.detector.detect([1], [samples])
    assert np.array_equal(first, anew)
    assert not np.array_equal(first, again)


def test_another_release_of_the_detector_is_said_and_no_fault_of_the_model(monkeypatch, caplog):
    monkeypatch.setattr(voice_activity, "weights", lambda: Path("no-such.safetensors"))
    model = api.build_model(ModelConfig())
    assert model.detector is None
    (record,) = caplog.records
    assert record.getMessage().endswith("has not the weights of silero-vad 6")
    with pytest.raises(ConfigError, match="--vad needs the package silero-vad"):
        api.check_endpoint(model, VAD)


def test_a_detector_that_fails_on_one_session_fails_that_one_alone():
    class Choking(FakeDetector):
        def detect(self, slots, samples):
            if any((each > 0.9).any() for each in samples):
                raise RuntimeError("choked")
            return super().detect(slots, samples)

    async def scenario():
        fake = model()
        fake.detector = Choking()
        async with (
            Engine(fake, max_sessions=4, max_batch=4) as engine,
            engine.open_session(VAD) as bad,
        ):
            good = asyncio.create_task(heard(engine, spoken(2), packets=2))
            await bad.send(np.full(20_000, 1.0, np.float32))
            with pytest.raises(SessionError, match="failed on this session"):
                [_ async for _ in bad]
            return await good

    assert asyncio.run(scenario()) == told(Recognizer(model(), VAD).transcribe(spoken(2)))
