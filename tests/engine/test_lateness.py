"""Late sessions: several of their windows in a step, with the same answers, while nobody waits."""

import asyncio
import math
import random

import numpy as np
import pytest

from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.recognizer import Recognizer
from streamer.engine import engine as engine_module
from streamer.engine.engine import Engine
from streamer.engine.lateness import windows_each
from streamer.engine.load import ENOUGH_STEPS, Load
from streamer.engine.runner import MOST_WINDOWS, ModelRunner
from streamer.engine.step import step
from tests.engine.harness import (
    CHUNK,
    FragileModel,
    GatedModel,
    SlotModel,
    play,
    random_script,
    reference,
    run,
)
from tests.engine.test_runner import all_windows, packets, speech
from tests.fakes import FakeModel, audio, silence, speak
from tests.models.networks import acoustic

pytestmark = pytest.mark.usefixtures("one_thread")

ADAPTER = {"add_adapter": True}


def known_load(fixed_s, each_s, chunk_s=1.0, max_batch=64):
    load = Load(chunk_s, max_batch, 0.9)
    for number in range(2 * ENOUGH_STEPS):
        load.note(1 + number % 4, fixed_s + each_s * (1 + number % 4))
    return load


@pytest.mark.parametrize(
    ("ready", "sessions", "max_batch", "expected"),
    [
        ([1, 1, 1], 3, 64, [1, 1, 1]),
        ([9], 1, 64, [8]),  # alone: as many as there may be
        ([7], 1, 64, [4]),
        ([9], 1, 3, [2]),
        ([9, 1], 2, 64, [4, 1]),  # up to eight windows in all
        ([9, 3, 4, 1], 9, 64, [2, 2, 2, 1]),
        ([5, 5], 2, 64, [4, 4]),
        ([9, 9], 2, 2, [1, 1]),
        ([9] * 5, 5, 64, [1] * 5),  # there is a batch without it
    ],
)
def test_late_sessions_send_several_windows_as_long_as_the_step_is_short(
    ready, sessions, max_batch, expected
):
    load = known_load(fixed_s=0.1, each_s=0.049)
    assert windows_each(ready, sessions, 8, max_batch, load) == expected


def test_a_step_that_others_would_wait_for_stays_short():
    slow = known_load(fixed_s=0.1, each_s=0.09)  # four windows take half a second
    assert windows_each([9, 1], 2, 8, 64, slow) == [2, 1]
    assert windows_each([9], 2, 8, 64, slow) == [4]
    assert windows_each([9], 1, 8, 64, slow) == [8]


def test_while_the_load_is_not_known_only_who_is_alone_sends_several():
    assert windows_each([9, 9], 2, 8, 64, Load(1.0, 64, 0.9)) == [1, 1]
    assert windows_each([9], 1, 8, 64, Load(1.0, 64, 0.9)) == [8]


def test_windows_within_a_share_of_a_chunk():
    load = known_load(fixed_s=0.1, each_s=0.049)
    assert [load.windows_within(share) for share in (0.05, 0.2, 0.52)] == [0, 2, 8]
    assert known_load(fixed_s=0.1, each_s=0.0).windows_within(0.5) == 64


@pytest.mark.parametrize("sessions", [1, 12])
def test_sessions_late_at_random_equal_the_recognizer(sessions, monkeypatch):
    monkeypatch.setattr(Load, "windows_within", lambda self, share: 40)  # as if steps were short

    async def main(seed):
        rng = random.Random(seed)
        context = Context(rng.choice([0, 5]), rng.randint(1, 9), 0)
        rules = EndpointRules(silence_s=0.6, max_utterance_s=3.0)
        model = SlotModel(context, slots=sessions, most_windows=8 * sessions)
        scripts = [random_script(rng) for _ in range(sessions)]
        async with (
            Engine(model, max_sessions=sessions, max_batch=rng.choice([3, 64])) as engine,
            asyncio.TaskGroup() as tasks,
        ):
            players = [
                tasks.create_task(play(engine.open_session(rules), script, random.Random(i)))
                for i, script in enumerate(scripts)
            ]
        for script, player in zip(scripts, players, strict=True):
            assert player.result() == reference(script, context, rules)
        return max(max(map(batch.count, batch)) for batch in model.batches)

    assert max(run(main(seed)) for seed in range(8)) >= 8


def test_even_the_partials_are_those_of_one_window_after_the_other():
    samples = np.concatenate([speak("turn on the lamp"), silence(1.3), speak("and off")])
    one, several = (Recognizer(FakeModel(CHUNK)).stream for _ in range(2))
    for stream in (one, several):
        stream.accept_waveform(samples)
        stream.flush("x")
        stream.accept_waveform(samples)
        stream.input_finished()
    model = FakeModel(CHUNK)
    while one.is_ready():
        one.accept_frames(model.read(one.next_window()))
    most = 0
    while several.is_ready():
        windows = several.next_windows(5)
        most = max(most, len(windows))
        for window in windows:
            several.accept_frames(model.read(window))
    assert most == 5
    assert several.is_done
    assert several.take_events() == one.take_events()


@pytest.mark.parametrize("answer", ["raise", "nan"])
def test_what_came_before_a_fault_counts_and_what_is_behind_it_is_not_run(answer):
    model = FragileModel(answer, most_windows=6)
    model.reset(range(3))
    poisoned = np.concatenate([speak("abcd"), audio([0] + [40] * 4), speak("efghijkl")])
    runs = [list(all_windows(model, each))[:6] for each in (speak("abcdefghijkl"), poisoned)]
    outcome = step(model, [], [2, 0], runs, [])
    fine, faulty = outcome.results
    assert len(fine) == 6
    assert not any(isinstance(result, Exception) for result in fine)
    assert [type(each).__name__ for each in faulty[:-1]] == ["Frames"] * 3
    expected = RuntimeError if answer == "raise" else FloatingPointError
    assert isinstance(faulty[-1], expected)


@pytest.mark.parametrize("changes", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", ["relative_key", "relative"])
def test_several_windows_in_a_call_equal_one_call_each(position, changes):
    """Of many streams that are late at random, in any company, with the runner's own network."""
    changes = {**changes, "position_embeddings_type": position}
    context, streams = Context(left=9, chunk=3, right=0), 6
    model = acoustic(3, **changes)
    alone, together = (
        ModelRunner(
            model, mode="cache", context=context, slots=slots, device="cpu", dtype="float32"
        )
        for slots in (1, streams)
    )
    recordings = [speech(20_000 + 9_000 * seed, seed) for seed in range(streams)]
    expected = []
    for samples in recordings:
        alone.reset([0])
        expected.append([alone.run([0], [window])[0] for window in all_windows(alone, samples)])
    waiting = [list(all_windows(together, samples)) for samples in recordings]
    rng, answers, widths = np.random.default_rng(4), [[] for _ in recordings], set()
    while open_slots := [slot for slot, windows in enumerate(waiting) if windows]:
        most = int(rng.integers(1, MOST_WINDOWS + 1))
        width = min(most, *(len(waiting[slot]) for slot in open_slots))
        slots = rng.permutation(open_slots)[: rng.integers(1, streams + 1)].tolist()
        taken = [(slot, waiting[slot].pop(0)) for slot in slots for _ in range(width)]
        for (slot, _), frames in zip(taken, together.run(*zip(*taken, strict=True)), strict=True):
            answers[slot].append(frames)
        widths.add(width)
    assert len(widths) > 3
    for ours, theirs in zip(answers, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.token_ids, b.token_ids)
            assert np.allclose(a.log_probs, b.log_probs, atol=1e-4)


def test_windows_in_a_call_are_given_all_log_probs_if_one_of_them_wants_them():
    """As where keywords are listened for from the middle of what is late."""
    context, samples = Context(left=9, chunk=3, right=0), speech(20_000, 7)
    model = ModelRunner(
        acoustic(3), mode="cache", context=context, slots=1, device="cpu", dtype="float32"
    )
    first, second = list(all_windows(model, samples))[:2]
    frames = model.run([0, 0], [first, second._replace(wants_all=True)])
    assert frames[1].all_log_probs is not None
    assert np.array_equal(frames[1].all_log_probs.max(axis=1), frames[1].log_probs)


def test_a_recording_sent_at_once_equals_the_recognizer():
    context, samples = Context(left=24, chunk=8, right=0), speech(200_000, 5)

    def runner():
        return ModelRunner(
            acoustic(1), mode="cache", context=context, slots=1, device="cpu", dtype="float32"
        )

    async def main():
        async with Engine(runner(), max_sessions=1, max_batch=32) as engine:
            events = await play(engine.open_session(), packets(samples, 6))
            batch = engine.measured().meter.batch
            return events, batch.sum / sum(batch.counts)

    events, mean_batch = run(main())
    expected = Recognizer(runner()).transcribe(samples)
    texts = [event.text for event in expected if hasattr(event, "reason")]
    assert [event.text for event in events if hasattr(event, "reason")] == texts != []
    assert mean_batch > 2


@pytest.mark.parametrize("share", [math.inf, -1.0], ids=["at once", "while the next runs"])
def test_sessions_that_are_late_go_together_if_answers_are_handed_out_first(share, monkeypatch):
    monkeypatch.setattr(engine_module, "HANDING_SHARE", share)
    samples = speak("turn on the lamp and then turn it off again")

    async def main():
        model = GatedModel(slots=2)
        async with Engine(model, max_sessions=2, max_batch=8) as engine:
            sessions = [engine.open_session() for _ in range(2)]
            await sessions[0].send(samples)  # its first window goes alone
            await model.is_running()
            await sessions[1].send(samples)
            model.open_for_good()
        return [len(batch) for batch in model.batches]

    batches = run(main())
    assert batches[0] == 1
    together = batches.count(2)
    assert together >= len(batches) - 2 if share > 0 else together <= 1
