"""What the suite for GPUs compares, on a device whose graphs are a stand-in."""

import pytest

from streamer import assembly
from streamer.benchmark import agreement, building, clips, throughput
from streamer.benchmark.plan import Plan
from streamer.config import Config, EngineConfig, ModelConfig
from streamer.engine.runner import ModelRunner
from tests.engine.tape import TapeRecorder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def recorders(monkeypatch):
    """Of every runner that is built, in order; each of them records."""
    made = []

    def recording(*arguments, **options):
        made.append(TapeRecorder())
        return ModelRunner(*arguments, **{**options, "recorder": made[-1]})

    monkeypatch.setattr(assembly, "ModelRunner", recording)
    return made


@pytest.fixture
def settings(model):
    config = ModelConfig(name=model, device="cpu", dtype="float32", lm="none")
    return Config(model=config, engine=EngineConfig(max_batch=3))


def test_graphs_and_steps_and_number_formats_are_timed_side_by_side(settings, recorders):
    plan = Plan("", settings, batches=(1, 3), most_streams=3, formats=("bfloat16",))
    candidates = building.candidates(building.network(plan), plan)
    assert [each.name for each in candidates] == [
        "own cache, bfloat16",
        "own cache, float32, without graphs",
        "own cache, float32",
    ]
    _, carrying = recorders
    prepared = len(carrying.tapes)
    assert prepared == 2 + 3 + 4  # of 4, 2 and 1 rows, each with 1 window, 2, 4 … up to 8 in all
    audio = clips.Audio([clips.synthetic(20.0)], 60.0)
    steps = [len(carrying.repeated)]
    for each in candidates:
        (found,) = throughput.measure([each], audio, (1, 3), 0.0, str)
        assert [point.batch for point in found.points] == [1, 3]
        steps.append(len(carrying.repeated))
    assert steps[0] == steps[1] == steps[2] < steps[3]
    assert len(carrying.tapes) == prepared


def test_every_way_agrees(settings, recorders):
    reference, pairs = building.ways(settings.model)
    audio = clips.Audio([clips.synthetic(20.0)], 30.0)
    sentences = agreement.check(reference, pairs, audio)
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "cpu in float32, beside cpu in float32",
        "cpu in float32 with graphs, beside cpu in float32",
    ]
    assert all("THE SAME TEXTS in 4 of 4" in sentence for sentence in sentences)
    assert len(recorders[0].repeated) > 0
    assert len(recorders[0].repeated) == len(recorders[1].repeated)


def test_no_batch_begins_when_time_is_up(settings):
    plan = Plan("", settings, batches=(1, 2, 3), most_streams=3)
    candidates = building.candidates(building.network(plan), plan)
    left = iter([True, False, False])
    audio = clips.Audio([clips.synthetic(20.0)], 60.0)
    (found,) = throughput.measure(candidates, audio, (1, 2, 3), 0.0, str, lambda: next(left))
    assert [point.batch for point in found.points] == [1]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "bfloat16"),
        ({"dtype": "int8"}, "int8"),
        ({"dtype": "int8", "kv_dtype": "float8"}, "int8, float8 keys and values"),
        ({"kv_dtype": "int8", "mode": "window"}, "bfloat16"),  # nothing is kept there
    ],
)
def test_the_number_formats_named_are_those_that_are_used(settings, shown):
    assert assembly.number_formats(ModelConfig(**settings), "bfloat16") == shown
