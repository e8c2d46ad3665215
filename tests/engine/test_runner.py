"""The runner with a small network behind the recognizer and the engine: company changes nothing."""

import asyncio
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from streamer.core.chunker import Chunker
from streamer.core.context import Context
from streamer.core.decoder import BeamSearch
from streamer.core.hypothesis import Final
from streamer.core.recognizer import Recognizer
from streamer.engine.engine import Engine
from streamer.engine.runner import ModelRunner
from tests.engine.harness import play, run
from tests.fakes import no_scorer
from tests.models.networks import acoustic

CONTEXT = Context(left=24, chunk=8, right=4)
MODES = ["cache", "window"]
ADAPTER = {"add_adapter": True}

pytestmark = pytest.mark.usefixtures("one_thread")


class WatchedRunner(ModelRunner):
    """Knows how many windows each step had."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.batches = []

    def run(self, slots, windows):
        self.batches.append(len(windows))
        return super().run(slots, windows)


def runner(
    mode,
    slots=1,
    seed=1,
    context=CONTEXT,
    device="cpu",
    dtype="float32",
    kind=ModelRunner,
    **changes,
):
    model = acoustic(seed, **changes)
    return kind(model, mode=mode, context=context, slots=slots, device=device, dtype=dtype)


def speech(samples, seed):
    """Sounds that change, so that the tokens do."""
    rng = np.random.default_rng(seed)
    pitch = np.repeat(rng.uniform(0.05, 2.5, samples // 1600 + 1), 1600)[:samples]
    level = np.repeat(rng.uniform(0.01, 0.5, samples // 800 + 1), 800)[:samples]
    return (np.sin(np.cumsum(pitch)) * level).astype(np.float32)


def packets(samples, seed):
    rng, at = np.random.default_rng(seed), 0
    while at < len(samples):
        size = int(rng.choice([1, 160, 997, 5120, 20_000]))
        yield samples[at : at + size]
        at += size


def all_windows(model, samples):
    chunker = Chunker(model.context, model.grid)
    chunker.append(samples)
    chunker.finish()
    while chunker.is_ready():
        yield chunker.next_window()


@pytest.mark.parametrize("changes", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("mode", MODES)
def test_packets_of_any_size_equal_one_call(mode, changes):
    recognizer = Recognizer(runner(mode, **changes))
    for seed in range(4):
        samples = speech(16_000 * 3 + 531 * seed, seed)
        expected = recognizer.transcribe(samples)
        assert any(isinstance(event, Final) and event.text for event in expected)
        recognizer.reset()
        events = []
        for packet in packets(samples, seed):
            recognizer.stream.accept_waveform(packet)
            events += recognizer.decode()
        recognizer.stream.input_finished()
        assert events + recognizer.decode() == expected


@pytest.mark.parametrize("changes", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("mode", MODES)
def test_ids_do_not_depend_on_the_batch(mode, changes):
    alone, together = runner(mode, **changes), runner(mode, slots=9, **changes)
    recordings = [speech(9_000 + 3_000 * seed, seed) for seed in range(9)]
    expected = []
    for samples in recordings:
        alone.reset([0])
        expected.append([alone.run([0], [window])[0] for window in all_windows(alone, samples)])
    waiting = [list(all_windows(together, samples)) for samples in recordings]
    answers = [[] for _ in recordings]
    rng = np.random.default_rng(0)
    while open_slots := [slot for slot, windows in enumerate(waiting) if windows]:
        slots = rng.permutation(open_slots)[: rng.integers(1, 10)].tolist()
        for slot, frames in zip(
            slots, together.run(slots, [waiting[slot].pop(0) for slot in slots]), strict=True
        ):
            answers[slot].append(frames)
    assert len({int(i) for frames in expected for f in frames for i in f.token_ids}) > 2
    for ours, theirs in zip(answers, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.token_ids, b.token_ids)
            assert np.allclose(a.log_probs, b.log_probs, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_concurrent_sessions_equal_the_recognizer(mode):
    recordings = [speech(16_000 + 2_111 * seed, seed) for seed in range(12)]

    model = runner(mode, slots=12, kind=WatchedRunner)

    async def main():
        async with Engine(model, max_sessions=12, max_batch=5) as engine:
            scripts = [packets(samples, seed) for seed, samples in enumerate(recordings)]
            return await asyncio.gather(*(play(engine.open_session(), s) for s in scripts))

    recognizer = Recognizer(runner(mode))
    for events, samples in zip(run(main()), recordings, strict=True):
        expected = recognizer.transcribe(samples)
        assert words(events) == words(expected) != []
    assert max(model.batches) == 5


def words(events):
    """What the finals say, and when; confidence may differ in its last digits."""
    finals = [event for event in events if isinstance(event, Final)]
    return [dataclasses.replace(w, confidence=0.0) for final in finals for w in final.words]


@pytest.mark.parametrize("mode", MODES)
def test_every_valid_frame_has_an_id_and_a_log_probability(mode):
    model = runner(mode)
    for window in all_windows(model, speech(20_000, 3)):
        (frames,) = model.run([0], [window])
        valid = window.left + window.chunk + window.right
        assert frames.token_ids.shape == frames.log_probs.shape == (valid,)
        assert frames.log_probs.dtype == np.float32
        assert (frames.log_probs <= 0).all()
        assert ((frames.token_ids >= 0) & (frames.token_ids < len(model.labels.tokens))).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_search_is_given_all_log_probs_of_the_same_frames(mode):
    search = BeamSearch(5, no_scorer, takes_hotwords=False)
    greedy, searched = runner(mode), runner(mode, kind=partial(ModelRunner, search=search))
    chunker = Chunker(greedy.context, greedy.grid)
    chunker.append(speech(40_000, seed=3))
    while chunker.is_ready():
        window = chunker.next_window()
        (ids,), (every,) = greedy.run([0], [window]), searched.run([0], [window])
        assert ids.all_log_probs is None
        assert every.all_log_probs.shape == (len(ids.token_ids), len(greedy.labels.tokens))
        np.testing.assert_array_equal(every.all_log_probs.argmax(axis=1), ids.token_ids)
        np.testing.assert_array_equal(every.all_log_probs.max(axis=1), ids.log_probs)


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_slot_is_new_and_the_others_go_on(mode):
    model, fresh = runner(mode, slots=3), runner(mode, slots=3)
    windows = list(all_windows(model, speech(30_000, 4)))
    for window in windows[:4]:
        model.run([0, 1, 2], [window] * 3)
        fresh.run([0, 2], [window] * 2)
    model.reset([1])
    ours = model.run([2, 1, 0], [windows[4], windows[0], windows[4]])
    theirs = fresh.run([2, 1, 0], [windows[4], windows[0], windows[4]])
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.token_ids, b.token_ids)
        assert np.allclose(a.log_probs, b.log_probs, atol=1e-5)


def test_only_a_window_holds_its_left_context():
    assert runner("cache").context == Context(0, 8, 4)
    assert runner("window").context == CONTEXT


@pytest.mark.parametrize(("changes", "hop"), [({}, 320), (ADAPTER, 640)])
def test_the_grid_and_the_labels_are_the_models(changes, hop):
    model = runner("cache", **changes)
    assert (model.grid.hop_samples, model.grid.tail_samples) == (hop, 240)
    assert (model.labels.blank, model.labels.delimiter) == (0, 1)
    assert model.labels.tokens[2] == "a"


def test_the_encoder_computes_in_the_given_type_and_features_in_float32():
    model = acoustic()
    runner_bf16 = ModelRunner(
        model, mode="cache", context=CONTEXT, slots=1, device="cpu", dtype="bfloat16"
    )
    (window, *_) = all_windows(runner_bf16, speech(20_000, 5))
    (frames,) = runner_bf16.run([0], [window])
    layer = model.model.wav2vec2_bert.encoder.layers[0]
    assert layer.self_attn.distance_embedding.weight.dtype == torch.bfloat16
    assert layer.final_layer_norm.weight.dtype == torch.float32
    assert model.features.log_mel.window.dtype == torch.float32
    assert frames.log_probs.dtype == np.float32


def test_auto_names_a_device_and_a_type_that_work():
    model = runner("cache", device="auto", dtype="auto")
    (window, *_) = all_windows(model, speech(9_000, 6))
    (frames,) = model.run([0], [window])
    assert np.isfinite(frames.log_probs).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99': "),
        ({"device": "abacus"}, "device 'abacus': expected auto, cpu or cuda"),
        (
            {"dtype": "float4"},
            "dtype 'float4': expected auto or one of float32, bfloat16, float16, int8, float8",
        ),
        ({**ADAPTER, "adapter_kernel_size": 5}, "cannot stream"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        runner("cache", **options)


def test_a_model_that_cannot_stream_runs_in_windows():
    changes = dataclasses.asdict(acoustic().model.config) | {"add_adapter": True}
    changes |= {"adapter_kernel_size": 5}
    assert Recognizer(runner("window", **changes)).transcribe(speech(20_000, 7))


def test_a_step_has_its_threads_and_whoever_comes_after_it_those_of_the_process():
    """Or else a small model would leave one thread to the next that is loaded."""
    model = acoustic(1)
    seen = []
    model.model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    made = runner("window", kind=lambda _, **options: ModelRunner(model, threads=3, **options))
    window = next(all_windows(made, speech(20_000, 5)))
    seen.clear()
    assert torch.get_num_threads() == 1
    made.run([0], [window])
    made.offline([speech(9_000, 6)])
    assert seen == [3, 3]
    assert torch.get_num_threads() == 1


def test_more_slots_than_memory_holds_is_said_with_the_size_of_one():
    with pytest.raises(ValueError, match=r"no memory for \d+ sessions of \d+\.\d MiB each on cpu"):
        runner("cache", slots=10**13)


@pytest.mark.parametrize("changes", [{}, ADAPTER])
def test_a_whole_recording_is_the_networks_own_answer_in_any_company(changes):
    model, network = runner("cache", **changes), acoustic(1, **changes)
    recordings = [speech(samples, samples) for samples in (9_000, 6_400, 1)]
    together = model.offline(recordings)
    for recording, log_probs in zip(recordings, together, strict=True):
        padded = np.zeros(model.grid.span_samples(model.grid.covering_frames(len(recording))))
        padded[: len(recording)] = recording
        with torch.inference_mode():
            alone, frames = network(torch.tensor(padded[None]).float(), torch.tensor([len(padded)]))
        assert log_probs.shape == alone[0].shape
        assert len(log_probs) == frames[0] == model.grid.covering_frames(len(recording))
        assert np.allclose(log_probs, alone[0], atol=1e-5)


def test_no_memory_is_said_in_one_way_and_changes_nothing(monkeypatch):
    model, fresh = runner("cache"), runner("cache")
    first, second, *_ = all_windows(model, speech(30_000, 8))
    model.run([0], [first])
    fresh.run([0], [first])
    with monkeypatch.context() as patch:
        patch.setattr(model._model.model.wav2vec2_bert.encoder.layers[1].ffn2, "activation",
                      lambda _: torch.empty(10**15))  # fmt: skip
        with pytest.raises(MemoryError, match="no memory for 1 windows on cpu"):
            model.run([0], [second])
    (ours,), (theirs,) = model.run([0], [second]), fresh.run([0], [second])
    assert np.array_equal(ours.log_probs, theirs.log_probs)
