"""What is noted in a run, attributed to the right chunk and moment."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.benchmark import load
from streamer.benchmark.clips import Audio, synthetic
from streamer.benchmark.inprocess import EngineTarget
from streamer.benchmark.load import Load
from streamer.benchmark.observation import Geometry, Heard, Observation, Step, TimedModel
from streamer.benchmark.results import Condition, Results, from_json, summarize
from streamer.benchmark.schedule import Schedule
from streamer.config import EndpointRules, EngineConfig
from streamer.core.context import SAMPLE_RATE, Context, Grid
from streamer.core.recognizer import Recognizer
from tests.fakes import FakeModel, speak

GEOMETRY = Geometry.of(Context(0, 16, 0), Grid())
geometries = st.builds(
    lambda chunk, right, tail: Geometry.of(Context(0, chunk, right), Grid(320, tail)),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(0, 400),
)


@given(geometries, st.floats(0, 100))
def test_words_are_attributed_to_the_first_chunk_that_can_have_them(geometry, end_s):
    chunk = geometry.first_chunk_with(end_s)
    samples = round(end_s * SAMPLE_RATE)

    def has(number):
        return (number + 1) * geometry.chunk_samples + geometry.lookahead_samples >= samples

    assert has(chunk)
    assert chunk == 0 or not has(chunk - 1)


@given(geometries, st.integers(0, 500_000))
def test_chunks_are_counted_when_they_are_complete(geometry, samples):
    count = geometry.chunks(samples)
    assert count == 0 or geometry.complete_samples(count - 1) <= samples
    assert geometry.complete_samples(count) > samples


def observation(streams=3, seconds=4.0, warm_up_s=1.0):
    schedule = Schedule(streams, seconds, 1_280, GEOMETRY.chunk_s)
    seen = Observation(schedule, GEOMETRY, begin_s=1_000.0, warm_up_s=warm_up_s)
    seen.stream_of_slot = {stream + 7: stream for stream in range(streams)}
    seen.late_s = [0.0] * streams * schedule.packets
    return seen


def say(seen, chunk, late_s):
    """Every stream tells of this chunk so much later than it was complete."""
    for stream in range(seen.schedule.streams):
        due_s = 1_000.0 + seen.schedule.due_s(stream, GEOMETRY.complete_samples(chunk))
        end_s = (chunk + 0.5) * GEOMETRY.chunk_s
        seen.heard.append(Heard(stream, due_s + late_s, "partial", end_s))
        seen.heard.append(Heard(stream, due_s + late_s + 0.3, "partial", end_s))  # nothing new
        slot, stop = stream + 7, GEOMETRY.complete_samples(chunk)
        seen.steps.append(Step(due_s + late_s / 2, due_s + late_s, (slot,), (stop,)))


@given(st.floats(0.001, 0.2))
def test_latency_counts_from_a_chunk_s_last_sample(late_s):
    seen = observation()
    for chunk in range(GEOMETRY.chunks(seen.schedule.samples)):
        say(seen, chunk, late_s)
    run = summarize(seen, generator_apart=True)
    assert run.partial.count == run.step.count == run.chunks
    assert run.partial.p50 == pytest.approx(late_s)
    assert run.partial.max == run.step.max == pytest.approx(late_s)
    assert (run.wait_s, run.compute_s) == pytest.approx((late_s / 2, late_s / 2))
    assert run.backlog_slope.estimate == pytest.approx(0, abs=1e-9)
    assert run.holds


def test_only_the_measured_time_counts():
    seen = observation(seconds=4.0, warm_up_s=1.0)
    for chunk in range(GEOMETRY.chunks(seen.schedule.samples)):
        say(seen, chunk, 5.0 if (chunk + 1) * GEOMETRY.chunk_s < 0.6 else 0.01)
    run = summarize(seen, generator_apart=True)
    assert run.measured_s == pytest.approx(3.0)
    assert run.partial.max == pytest.approx(0.01)


def test_a_growing_backlog_does_not_hold():
    seen = observation(seconds=8.0)
    for chunk in range(GEOMETRY.chunks(seen.schedule.samples)):
        say(seen, chunk, 0.02 * chunk)
    run = summarize(seen, generator_apart=True)
    assert run.backlog_slope.estimate == pytest.approx(0.02 / GEOMETRY.chunk_s, rel=0.2)
    assert not run.holds
    assert "backlog grows" in run.failures[0]


def test_late_or_failed_or_silent_streams_do_not_hold():
    late = observation()
    for chunk in range(GEOMETRY.chunks(late.schedule.samples)):
        say(late, chunk, GEOMETRY.chunk_s + 0.6)
    assert "p99 partial" in summarize(late, generator_apart=True).failures[0]
    failed = observation()
    say(failed, 3, 0.01)
    failed.faults = ["a session failed"]
    assert summarize(failed, generator_apart=True).failures == (
        "1 streams failed: a session failed",
    )
    assert summarize(observation(), generator_apart=True).failures == ("nothing was heard",)


def test_a_run_that_is_far_behind_is_known_while_it_lasts():
    seen = observation(streams=30)
    assert seen.behind_s() == 0
    say(seen, 2, 3.0)
    assert seen.behind_s() == pytest.approx(3.0)


def test_a_timed_model_is_the_model():
    talk = np.concatenate([speak("hello there"), np.zeros(40_000, np.float32)])
    timed = TimedModel(FakeModel())
    assert Recognizer(timed).transcribe(talk) == Recognizer(FakeModel()).transcribe(talk)
    stops = [stop for step in timed.steps for stop in step.stops]
    full = stops[: GEOMETRY.chunks(len(talk))]
    assert full == [GEOMETRY.complete_samples(number) for number in range(len(full))]
    assert all(step.begin_s <= step.end_s for step in timed.steps)


def test_a_run_over_an_engine_is_whole():
    """Every packet sent, every chunk computed, every stream closed, whatever the speed."""
    model = FakeModel(slots=5)
    audio = Audio([speak("to and fro")], 3.0)
    target = EngineTarget(model, EngineConfig(max_batch=3), EndpointRules(), audio)
    seen = asyncio.run(load.run(target, Load(5, 1.0, 0.5, 800)))
    assert not seen.faults
    assert len(seen.late_s) == 5 * seen.schedule.packets
    assert sorted(each.stream for each in seen.heard if each.kind == "closed") == [0, 1, 2, 3, 4]
    computed = sorted(
        (slot, stop)
        for step in seen.steps
        for slot, stop in zip(step.slots, step.stops, strict=True)
    )
    due = [GEOMETRY.complete_samples(n) for n in range(GEOMETRY.chunks(seen.schedule.samples))]
    for slot in seen.stream_of_slot:
        assert [stop for each, stop in computed if each == slot][: len(due)] == due
    assert len(seen.meters) == len(seen.generator_s) == 2


def test_streams_are_heard_as_they_would_be_alone():
    model = FakeModel(slots=3)
    audio = Audio([speak("to and fro"), speak("up and down")], 3.0)
    target = EngineTarget(model, EngineConfig(), EndpointRules(), audio)
    seen = asyncio.run(load.run(target, Load(3, 1.0, 0.5, 800)))
    for stream in range(3):
        events = Recognizer(FakeModel()).transcribe(audio.samples(stream, 0, seen.schedule.samples))
        said = [each.end_s for each in seen.heard if each.stream == stream and each.kind == "final"]
        assert said == [event.end for event in events if type(event).__name__ == "Final"]


def test_saved_figures_are_the_figures():
    seen = observation()
    say(seen, 4, 0.1)
    run = summarize(seen, generator_apart=False)
    results = Results({"date": "today"}, (Condition("a", 0.32, 0.335, (), (run,), 3, ("note",)),))
    assert from_json(results.to_json()) == results
    with pytest.raises(ValueError, match="JSON of streamer bench"):
        from_json({"about": {}, "conditions": [{}]})


@given(st.integers(0, 1_000), st.integers(0, 30_000), st.integers(1, 5_000))
def test_streams_have_audio_of_their_own(stream, first, length):
    audio = Audio([synthetic(2.0)], 3.0)
    samples = audio.samples(stream, first, first + length)
    assert len(samples) == length
    assert np.frombuffer(audio.pcm(stream, first, first + length), "<i2") == pytest.approx(
        samples * 32767, abs=0.51
    )
    assert audio._begin(stream) != audio._begin(stream + 1)
