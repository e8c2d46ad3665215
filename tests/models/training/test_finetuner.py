"""One update, and many: what they are equal to."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.features import FeatureConfig
from models.training.dataset import load, order, utterances
from models.training.examples import Preparation
from models.training.finetuner import Finetuner, recompute_layers
from models.training.job import Job, updates
from models.training.labels import Alphabet
from models.training.manifest import read_manifest
from models.training.masters import Masters
from models.training.recipe import Finetuning
from models.training.world import World
from models.wav2vec2_bert import Chunking
from tests.models.training import speech

pytestmark = pytest.mark.usefixtures("one_thread")
ALONE = World(torch.device("cpu"))
RECIPE = Finetuning(
    steps=6, batch_s=4.0, learning_rate=3e-3, peak_first=0.1, trim_s=0.1, save_every_s=1e6
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech.write_manifest(tmp_path_factory.mktemp("speech"))


def finetuner(recipe: Finetuning = RECIPE, **changes: object) -> Finetuner:
    torch.manual_seed(5)
    return Finetuner(recipe, speech.acoustic(**changes), ALONE, torch.float32)


def clips(manifest: Path) -> list:
    return utterances(manifest, read_manifest(manifest), Alphabet(speech.VOCABULARY), 20.0)


def batches(manifest: Path) -> Iterator:
    found = clips(manifest)
    return load(found, order([clip.samples for clip in found], 4.0, 1), 0, 1)


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_examples_are_what_the_engine_would_stream(manifest: Path) -> None:
    """Features and mask of a chunked batch give the log-probs of AcousticModel, bit for bit."""
    learner = finetuner(dataclasses.replace(RECIPE, full_context_share=0.0, utterance_share=0.0))
    number, batch = next(batches(manifest))
    example = learner.example(number, batch)
    audio, lengths = torch.from_numpy(batch.audio) / 2**15, torch.from_numpy(batch.lengths)
    assert example.chunking is not None
    with torch.no_grad():
        expected, frames = learner.acoustic(audio, lengths, example.chunking)
        logits, _ = learner.acoustic.model(example.features, example.frames, example.chunking)
    assert torch.equal(example.frames, frames)
    assert torch.equal(logits.log_softmax(-1), expected)


@pytest.mark.parametrize(("stride", "output_stride"), [(2, 1), (2, 2), (4, 1)])
def test_masks_are_drawn_from_the_recipe_in_whole_outputs(stride: int, output_stride: int) -> None:
    recipe = Finetuning(full_context_share=0.5, chunk_s=(0.16, 0.64), left_s=(0.64, 2.56))
    features = FeatureConfig(num_mel_bins=20, stride=stride)
    prepare, drawn = Preparation(recipe, features, output_stride), []
    for seed in range(200):
        audio, lengths = torch.zeros(1, 1_600), torch.tensor([1_600])
        drawn.append(prepare(audio, lengths, [[1]], random.Random(seed)).chunking)
    masks = [each for each in drawn if each is not None]
    assert 60 < len(masks) < 140
    frame_s = 0.01 * stride
    assert sorted({each.left * frame_s for each in masks}) == pytest.approx([0.64, 2.56])
    chunks_s = [each.chunk * frame_s for each in masks]
    assert (min(chunks_s), max(chunks_s)) == pytest.approx((0.16, 0.64))
    assert all(each.chunk % output_stride == 0 for each in masks)


def test_the_policy_of_a_global_checkpoint_stays() -> None:
    mean = (0.0,) * 20
    features = FeatureConfig(20, normalization="global", mean=mean, variance=(4.0,) * 20)
    prepare = Preparation(Finetuning(), features)
    audio = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    example = prepare(audio, torch.tensor([8_000]), [[1]], random.Random(0))
    mel = prepare.extractors["global"].log_mel(audio)
    torch.testing.assert_close(example.features.flatten(), (mel / 2).flatten())


def test_an_update_of_several_batches_uses_the_mean_of_their_gradients(manifest: Path) -> None:
    learner = finetuner()
    pair = [batch for batch, _ in zip(batches(manifest), range(2), strict=False)]
    expected: dict[str, torch.Tensor] = {}
    for number, batch in pair:
        losses = learner.losses(
            learner.example(number, batch), random.Random(f"{RECIPE.seed}/trim/{number}")
        )
        losses["loss"].backward()
        for name, parameter in learner.acoustic.model.named_parameters():
            assert parameter.grad is not None
            expected[name] = expected.get(name, 0) + parameter.grad / 2
            parameter.grad = None
    taken: list[torch.Tensor] = []
    learner.masters.step = lambda *_: taken.extend(learner.masters.gradients)  # type: ignore[method-assign]
    learner.update(pair, 10)
    assert_equal(dict(zip(learner.masters.weights, taken, strict=True)), expected)


def test_recomputed_layers_give_the_same_gradients(manifest: Path) -> None:
    number, batch = next(batches(manifest))
    plain, saving = finetuner(), finetuner()
    recompute_layers(saving.acoustic)
    plain.update([(number, batch)], 10)
    saving.update([(number, batch)], 10)
    assert_equal(saving.masters.weights, plain.masters.weights)


def test_bfloat16_masters_take_steps_that_bfloat16_cannot_show() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    before = model.weight.detach().clone()
    masters = Masters(model, torch.bfloat16)
    optimizer = torch.optim.SGD(masters.weights.values(), lr=1e-4)
    for _ in range(3):
        model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
        masters.take_gradients()
        masters.step([optimizer], clip_norm=1e9)
    torch.testing.assert_close(masters.weights["weight"], before - 3e-4)
    assert torch.equal(model.weight, masters.weights["weight"].bfloat16())


def test_each_term_is_in_the_loss(manifest: Path) -> None:
    learner = finetuner(dataclasses.replace(RECIPE, full_context_share=0.0, trim_s=0.0))
    example = learner.example(*next(batches(manifest)))
    losses = learner.losses(example, random.Random(0))
    parts = losses["ctc"] + 0.3 * losses["distillation"] + 0.1 * losses["peak_first"]
    torch.testing.assert_close(losses["loss"], parts)
    whole = dataclasses.replace(example, chunking=None)
    assert learner.losses(whole, random.Random(0)).keys() == {"ctc", "peak_first", "loss"}


def test_tails_are_trimmed_only_under_a_mask(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = finetuner(dataclasses.replace(RECIPE, trim_s=0.3))
    example = learner.example(*next(batches(manifest)))
    seen: list[torch.Tensor] = []
    forward = learner.acoustic.model.forward

    def spy(features, frames, chunking=None):
        seen.append(frames)
        return forward(features, frames, chunking)

    monkeypatch.setattr(learner.acoustic.model, "forward", spy)
    for chunking in (None, Chunking(32, 8)):
        learner.losses(dataclasses.replace(example, chunking=chunking), random.Random(0))
    full, student, teacher = seen
    assert torch.equal(full, example.frames)
    assert (student < example.frames).any()
    assert torch.equal(student, teacher)


def timeless_log(path: Path) -> list[list[str]]:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    return [row[:1] + row[2:] for row in rows]  # elapsed_s is never the same


def test_a_run_stopped_after_every_update_ends_where_the_whole_run_ends(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(RECIPE, accumulate=2, log_every=1)
    whole = finetuner(recipe)
    Job(whole, clips(manifest), [], tmp_path / "whole").go(stop=[])
    for step in range(6):
        part = finetuner(recipe)
        part.resume(tmp_path / "parts" / "run")
        assert part.progress.step == step
        Job(part, clips(manifest), [], tmp_path / "parts").go(stop=[15])
    assert_equal(part.masters.weights, whole.masters.weights)
    logs = [timeless_log(tmp_path / name / "run" / "metrics.csv") for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 7


def test_the_updates_of_any_number_of_epochs_are_counted_at_once() -> None:
    lengths, recipe = [16_000] * 40, Finetuning(batch_s=10.0)
    assert updates(recipe, lengths, processes=1) == 40
    assert updates(dataclasses.replace(recipe, epochs=2.5), lengths, processes=2) == 5
    assert updates(dataclasses.replace(recipe, epochs=1e9), lengths, processes=1) == 4 * 10**9
    assert updates(dataclasses.replace(recipe, epochs=1e9, steps=7), lengths, processes=1) == 7


def test_the_rate_rises_then_falls() -> None:
    recipe = Finetuning(warmup_share=0.25)
    rates = [recipe.rate(step, 8) for step in range(9)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])
