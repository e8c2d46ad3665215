"""Real graphs: what the stand-in of `tests/engine/tape.py` promises, on the device itself."""

import logging

import numpy as np
import pytest
import torch

from streamer import assembly
from streamer.benchmark import agreement, clips
from streamer.benchmark.agreement import STREAMS
from streamer.config import NO_LM, ModelConfig
from streamer.engine.cuda import CudaRecorder
from streamer.engine.runner import ModelRunner
from tests.engine.test_graphs import (
    LOOKING_BACK,
    assert_same,
    play_schedule,
    random_schedule,
    streams,
)
from tests.engine.test_runner import ADAPTER, MODES, all_windows, runner, speech
from tests.models.networks import POSITIONS


@pytest.fixture(autouse=True)
def full_float32():
    """Products of float32 in float32: TF32 is another number format."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield


def recorded(mode, slots, **options):
    made = runner(mode, slots, device="cuda", kind=with_graphs, **options)
    assert made.records
    return made


def assert_near(ours, theirs):
    """Another device adds in another order: a label may differ where two are as probable."""
    labels = np.concatenate([a.token_ids != b.token_ids for a, b in zip(ours, theirs, strict=True)])
    assert labels.mean() < 0.01
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.log_probs, b.log_probs, atol=2e-3)


def with_graphs(*arguments, **options):
    return ModelRunner(*arguments, **options, recorder=CudaRecorder("cuda"))


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("mode", MODES)
def test_graphs_equal_steps_and_steps_on_a_cpu(mode, position, adapter, caplog):
    options = {"position_embeddings_type": position, **adapter}
    model, here = recorded(mode, 7, **options), runner(mode, 7, **options)
    waiting = streams(model, 7, every=(2, 5))
    schedule = list(random_schedule(map(len, waiting), np.random.default_rng(8)))
    with caplog.at_level(logging.WARNING):
        repeated = play_schedule(model, waiting, schedule)
    assert not caplog.records  # every size was recorded
    model.reset(range(7))
    assert_same(repeated, play_schedule(model.unrecorded(), waiting, schedule))
    assert_near(repeated, play_schedule(here, waiting, schedule))


def test_several_windows_of_a_stream_and_all_that_is_prepared(caplog):
    model, here = (
        recorded("cache", 6, context=LOOKING_BACK),
        runner("cache", 6, context=LOOKING_BACK),
    )
    with caplog.at_level(logging.WARNING):
        model.prepare(6)
        waiting = streams(model, 6, seed=20, shortest=50_000)
        schedule = list(random_schedule(map(len, waiting), np.random.default_rng(2), most_each=4))
        ours = play_schedule(model, waiting, schedule)
    assert not caplog.records
    assert_near(ours, play_schedule(here, waiting, schedule))


def test_what_cannot_be_captured_is_said_and_the_next_steps_go_on(caplog):
    """A capture that fails half-way leaves stream, memory and slots usable."""
    model, here = recorded("cache", 3), runner("cache", 3)
    whole, is_broken = model._forward, True

    def forward(samples, rows, span=None):
        found = whole(samples, rows, span)
        if is_broken:
            rows.sum().item()
        return found

    model._graphs._forward = forward
    windows = list(all_windows(model, speech(60_000, 4)))
    with caplog.at_level(logging.WARNING):
        for number, window in enumerate(windows):
            slots = [0, 1, 2] if number % 2 else [0, 1]
            is_broken = number < 4  # three rows go on without, one is recorded at the end
            assert_near(
                model.run(slots, [window] * len(slots)), here.run(slots, [window] * len(slots))
            )
    assert "without a CUDA graph" in caplog.records[0].message
    (alone,), (expected,) = (each.run([2], windows[:1]) for each in (model, here))
    assert_near([alone], [expected])


def test_the_shipped_model_says_the_same_on_every_way():
    """In float32 as on a CPU, text for text; in bfloat16 with graphs as without."""
    audio = clips.Audio([clips.synthetic(20.0)], 30.0)

    def built(device, dtype):
        config = ModelConfig(device=device, dtype=dtype, lm=NO_LM)
        return assembly.build_model(config, STREAMS, STREAMS)

    here = agreement.listen(built("cpu", "float32"), audio)
    for dtype in ("float32", "bfloat16"):
        model = built("cuda", dtype)
        assert model.records
        plain, graphs = (agreement.listen(each, audio) for each in (model.unrecorded(), model))
        assert graphs.texts == plain.texts
        assert dtype != "float32" or plain.texts == here.texts


def test_graphs_can_be_switched_off():
    config = ModelConfig(device="cuda", cuda_graphs="off")
    assert not assembly.build_model(config).records
