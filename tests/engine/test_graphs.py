"""Steps that are recorded and repeated: the same answers as steps that are run, on any schedule.

The recorder is a stand-in without a graph in it (`tape.py`); `tests/gpu` has the real one.
"""

import asyncio
import logging
from functools import partial

import numpy as np
import pytest
import torch

from streamer.core.context import Context
from streamer.core.decoder import BeamSearch
from streamer.core.recognizer import Recognizer
from streamer.engine.engine import Engine
from streamer.engine.graphs import MOST_ROWS, size_for, sizes_up_to
from streamer.engine.runner import ModelRunner
from tests.engine.harness import play, run
from tests.engine.tape import TapeRecorder
from tests.engine.test_runner import ADAPTER, MODES, all_windows, packets, runner, speech, words
from tests.fakes import no_scorer
from tests.models.networks import POSITIONS
from tests.models.scripts import tensors

pytestmark = pytest.mark.usefixtures("one_thread")
LOOKING_BACK = Context(24, 8, 0)


def recorded(mode, slots, *, recorder=None, search=None, **options):
    recorder = recorder or TapeRecorder()
    made = runner(
        mode, slots, kind=partial(ModelRunner, recorder=recorder, search=search), **options
    )
    return made, recorder


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.token_ids, b.token_ids)
        np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4)
        assert (a.all_log_probs is None) == (b.all_log_probs is None)
        if a.all_log_probs is not None:
            np.testing.assert_allclose(a.all_log_probs, b.all_log_probs, atol=1e-4)


def random_schedule(lengths, rng, most_each=1):
    """Which slots go into each step, in any order, and with how many windows each."""
    left = dict(enumerate(lengths))
    while any(left.values()):
        each = int(rng.choice([n for n in (1, 2, 4, 8) if n <= most_each]))
        slots = [slot for slot in left if left[slot] >= each]
        if not slots:
            continue
        slots = rng.permutation(slots)[: rng.integers(1, len(slots) + 1)].tolist()
        for slot in slots:
            left[slot] -= each
        yield slots, each


def streams(model, count, seed=0, every=(), shortest=9_000):
    """The windows of so many recordings of different lengths; all is wanted of those in `every`."""
    found = []
    for number in range(count):
        windows = list(all_windows(model, speech(shortest + 3_111 * number, seed + number)))
        found.append([window._replace(wants_all=number in every) for window in windows])
    return found


def play_schedule(model, waiting, schedule):
    """The answers of each stream, by any company."""
    waiting, answers = [list(each) for each in waiting], [[] for _ in waiting]
    for slots, each in schedule:
        windows = [waiting[slot].pop(0) for slot in slots for _ in range(each)]
        frames = model.run([slot for slot in slots for _ in range(each)], windows)
        for number, part in enumerate(frames):
            answers[slots[number // each]].append(part)
    return [part for each in answers for part in each]


def one_by_one(model, waiting):
    return [model.run([slot], [w])[0] for slot, each in enumerate(waiting) for w in each]


def tensors_of(model):
    """All that its slots remember; the first axis is the slot."""
    state = model._state
    return tensors(state.stats) + (tensors(state.encoder) if state.encoder else [])


# --- the same answers ---


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("mode", MODES)
def test_repeated_steps_equal_steps_that_are_run_one_by_one(mode, position, adapter):
    """Any company, any order: batches of 1 to 7 in five sizes, wanted rows among them."""
    options = {"position_embeddings_type": position, **adapter}
    model, recorder = recorded(mode, 7, **options)
    plain, rng = runner(mode, 7, **options), np.random.default_rng(8)
    waiting = streams(model, 7, every=(2, 5))
    schedule = list(random_schedule(map(len, waiting), rng))
    assert_same(play_schedule(model, waiting, schedule), one_by_one(plain, waiting))
    assert len(recorder.tapes) == len({size_for(len(slots)) for slots, _ in schedule}) >= 3
    assert len(recorder.repeated) == len(schedule)


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
def test_several_windows_of_a_stream_are_repeated_too(adapter):
    model, recorder = recorded("cache", 3, context=LOOKING_BACK, **adapter)
    plain = runner("cache", 3, context=LOOKING_BACK, **adapter)
    waiting = streams(model, 3, seed=20, every=(1,), shortest=50_000)
    schedule = list(random_schedule(map(len, waiting), np.random.default_rng(2), most_each=4))
    assert_same(play_schedule(model, waiting, schedule), one_by_one(plain, waiting))
    assert len(recorder.repeated) == len(schedule)
    assert {each for _, each in schedule} == {1, 2, 4}


def test_a_search_gets_all_log_probs():
    search = BeamSearch(5, no_scorer, takes_hotwords=False)
    model, recorder = recorded("cache", 3, search=search)
    plain = runner("cache", 3, kind=partial(ModelRunner, search=search))
    waiting = streams(model, 3)
    schedule = list(random_schedule(map(len, waiting), np.random.default_rng(3)))
    assert_same(play_schedule(model, waiting, schedule), one_by_one(plain, waiting))
    assert recorder.repeated


@pytest.mark.parametrize("kv", ["auto", "int8", "float8"])
def test_short_formats_are_repeated_as_well(kv):
    recorder = TapeRecorder()
    model, plain = (
        runner("cache", 4, dtype="bfloat16", kind=partial(ModelRunner, kv_dtype=kv, recorder=each))
        for each in (recorder, None)
    )
    for window in all_windows(model, speech(40_000, 9)):
        ours, theirs = (each.run([3, 0, 1], [window] * 3) for each in (model, plain))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.log_probs, b.log_probs, atol=0.1)
    assert set(recorder.repeated) == {0}


@pytest.mark.parametrize("mode", MODES)
def test_sessions_of_an_engine_equal_the_recognizer(mode):
    recordings = [speech(16_000 + 2_111 * seed, seed) for seed in range(9)]
    model, recorder = recorded(mode, 9)

    async def main():
        async with Engine(model, max_sessions=9, max_batch=5) as engine:
            scripts = [packets(samples, seed) for seed, samples in enumerate(recordings)]
            return await asyncio.gather(*(play(engine.open_session(), s) for s in scripts))

    recognizer = Recognizer(runner(mode))
    for events, samples in zip(run(main()), recordings, strict=True):
        assert words(events) == words(recognizer.transcribe(samples)) != []
    assert len(set(recorder.repeated)) >= 2


# --- padding ---


def test_sizes_are_few_and_waste_little():
    for rows in range(1, 3_000):
        size = size_for(rows)
        assert size >= rows
        assert size_for(size) == size
        assert size < (2 if rows < 16 else 1.25) * rows or rows == size
    assert sizes_up_to(5) == [8, 4, 2, 1]
    assert sizes_up_to(40) == [40, 32, 28, 24, 20, 16, 8, 4, 2, 1]
    assert sizes_up_to(10**6)[0] == MOST_ROWS
    assert len(sizes_up_to(10**6)) == 25


@pytest.mark.parametrize("mode", MODES)
@torch.inference_mode()
def test_what_the_spare_slot_holds_reaches_nobody(mode):
    """Nor does what an earlier and larger batch has left in the rows that are padded."""
    (model, recorder), (fresh, _) = recorded(mode, 5), recorded(mode, 5)
    for number, window in enumerate(all_windows(model, speech(40_000, 5))):
        for each in tensors_of(model):
            each[5] = float("nan") if each.is_floating_point() else 10**6
        for recording in model._graphs._recorded.values():
            recording._samples_BS[:] = float("nan")
        slots = [4, 1, 2] if number % 2 else [2, 0, 1]
        ours, theirs = (each.run(slots, [window] * 3) for each in (model, fresh))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.log_probs, b.log_probs)
    assert set(recorder.repeated) == {0}


def test_a_slot_that_is_not_in_the_call_stays_as_it_was():
    model, _ = recorded("cache", 4)
    first, second, third, *_ = all_windows(model, speech(40_000, 6))
    model.run([0, 1, 2], [first] * 3)
    before = [each[[0, 2, 3]] for each in tensors_of(model)]
    model.run([1], [second])
    model.prepare(4)
    model.run([1], [third])
    for a, b in zip(tensors_of(model), before, strict=True):
        assert torch.equal(a[[0, 2, 3]], b)


def test_a_reset_slot_is_new():
    model, _ = recorded("cache", 3)
    fresh, _ = recorded("cache", 3)
    windows = list(all_windows(model, speech(30_000, 4)))
    for window in windows[:4]:
        model.run([0, 1, 2], [window] * 3)
        fresh.run([0, 2], [window] * 2)
    model.reset([1])
    company = [windows[4], windows[0], windows[4]]
    assert_same(model.run([2, 1, 0], company), fresh.run([2, 1, 0], company))


def test_answers_stay_as_they_are_while_the_next_step_writes():
    model, _ = recorded("cache", 1, search=BeamSearch(5, no_scorer, takes_hotwords=False))
    first, second, *_ = all_windows(model, speech(30_000, 4))
    (answer,) = model.run([0], [first])
    kept = [np.array(each) for each in (answer.token_ids, answer.log_probs, answer.all_log_probs)]
    model.run([0], [second])
    found = answer.token_ids, answer.log_probs, answer.all_log_probs
    assert all(map(np.array_equal, found, kept))


def test_a_step_whose_answer_finds_no_memory_is_not_run(monkeypatch):
    (model, recorder), (fresh, _) = recorded("cache", 1), recorded("cache", 1)
    (first, *_) = all_windows(model, speech(30_000, 4))
    model.prepare(1)
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(recorder, "host", None)
        model.run([0], [first._replace(wants_all=True)])
    assert_same(model.run([0], [first]), fresh.run([0], [first]))


# --- preparing, and what cannot be recorded ---


@pytest.mark.parametrize(
    ("context", "steps"), [(LOOKING_BACK, 4 + 3 + 2 + 1), (Context(24, 8, 4), 4)]
)
def test_what_is_prepared_is_not_recorded_in_the_middle_of_streams(context, steps):
    model, recorder = recorded("cache", 6, context=context)
    model.prepare(99)
    assert len(recorder.tapes) == steps
    for rows, each in ((6, 1), (3, 1), (1, 8), (2, 4), (4, 2), (2, 2)):
        if each <= model.most_windows:
            windows = list(all_windows(model, speech(60_000, 1)))[:each]
            model.reset(range(rows))
            model.run([slot for slot in range(rows) for _ in range(each)], windows * rows)
    assert len(recorder.tapes) == steps


def test_without_a_recorder_there_is_nothing_to_prepare():
    model = runner("cache", 2)
    model.prepare(99)
    assert len(model._state.stats.count) == 2  # and no spare slot


def test_what_cannot_be_recorded_runs_as_it_is_and_is_said_once(caplog):
    model, recorder = recorded("cache", 7, recorder=TapeRecorder(broken=1))
    plain, rng = runner("cache", 7), np.random.default_rng(8)
    waiting = streams(model, 7)
    schedule = list(random_schedule(map(len, waiting), rng))
    with caplog.at_level(logging.WARNING):
        ours = play_schedule(model, waiting, schedule)
    assert_same(ours, one_by_one(plain, waiting))
    assert 0 < len(recorder.repeated) < len(schedule)
    (record,) = caplog.records
    assert "without a CUDA graph: operation not permitted" in record.message


def test_larger_batches_run_as_they_are(monkeypatch):
    monkeypatch.setattr("streamer.engine.graphs.MOST_ROWS", 2)
    model, recorder = recorded("cache", 3)
    plain = runner("cache", 3)
    for window in all_windows(model, speech(30_000, 4)):
        assert_same(model.run([0, 1, 2], [window] * 3), plain.run([0, 1, 2], [window] * 3))
    assert recorder.repeated == []


@pytest.mark.parametrize("value", [lambda x: x.sum().item(), lambda x: x[x > 0], torch.nonzero])
def test_the_tape_refuses_what_a_graph_refuses(value):
    x = torch.ones(3)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="not permitted"):
        TapeRecorder().record(lambda: value(x))


def test_the_tape_repeats_with_what_the_tensors_hold_now():
    x, y = torch.ones(3), torch.zeros(3)
    with torch.inference_mode():
        repeat = TapeRecorder().record(lambda: y.copy_((x + 1)[1:2].expand(3) * len(x)))
        x[1] = 4
        repeat()
    assert y.tolist() == [15, 15, 15]
