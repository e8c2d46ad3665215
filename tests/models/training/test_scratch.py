"""The recipe in small: training learns, runs resume exactly and are exported."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import checkpoint as checkpoints
from models.features import FeatureConfig
from models.training.augmentation import GENTLE, Augmenter
from models.training.data import batches
from models.training.examples import Example, Preparation
from models.training.export import export, main
from models.training.labels import Alphabet
from models.training.network import VOCABULARY, config_of, encoder_config
from models.training.recipe import Geometry, Recipe, TrainingError
from models.training.train import Trainer
from tests.commands import run
from tests.models.training.shards import shard_of, write_data

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL_GEOMETRY = Geometry(stride=2, layers=2, width=32, heads=2, intermediate=48, kernel=15)
SMALL = encoder_config(SMALL_GEOMETRY)


def examples_of(recipe: Recipe) -> list[Example]:
    prepare, rng = Preparation(recipe, FeatureConfig()), random.Random(3)
    endless = batches([shard_of((0.9, 1.0, 1.1, 1.2))], 10.0, 10.0, random.Random(2))
    gentle, alphabet = Augmenter(GENTLE, [], [], 4), Alphabet(VOCABULARY)
    examples = []
    for _ in range(6):
        batch = next(endless)
        audio = torch.from_numpy(batch.audio), torch.from_numpy(batch.lengths)
        texts = [alphabet.encode(text) for text in batch.texts]
        examples.append(prepare(*gentle.waveforms(*audio), texts, rng, gentle))
    return examples


def test_training_learns_and_resumes_exactly(tmp_path: Path) -> None:
    recipe = Recipe(warmup_h=1e-6, exposure_h=100.0)
    examples = examples_of(recipe)
    torch.manual_seed(1)
    whole = Trainer(recipe, SMALL)
    losses = [whole.step(examples[index % 6]) for index in range(36)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])

    torch.manual_seed(1)
    first = Trainer(recipe, SMALL)
    for index in range(18):
        first.step(examples[index % 6])
    first.save(tmp_path)
    torch.manual_seed(99)
    second = Trainer(recipe, SMALL)
    second.resume(tmp_path)
    assert second.progress == first.progress
    (tmp_path / "last.json").write_text('{"step": 1}')  # as of another save: it is not believed
    second.resume(tmp_path)
    assert second.progress == first.progress
    resumed = [second.step(examples[index % 6]) for index in range(18, 36)]
    assert resumed == losses[18:]
    for name, master in whole.masters.weights.items():
        assert torch.equal(master, second.masters.weights[name]), name


def test_sizes_are_read_off_the_weights() -> None:
    config = encoder_config(Geometry(4, 3, 24, 3, 40, 5))
    torch.manual_seed(0)
    assert config_of(Trainer(Recipe(), config).average) == config
    with pytest.raises(TrainingError, match="lm_head"):
        config_of({k: v for k, v in Trainer(Recipe(), SMALL).average.items() if "lm_" not in k})


@pytest.mark.parametrize("stride", [2, 4])
def test_exported_runs_are_averaged_load_and_say_their_features(
    tmp_path: Path, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = []
    for seed in range(2):
        torch.manual_seed(seed)
        trainers.append(Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, stride=stride))))
        trainers[-1].save(tmp_path / f"run{seed}")
    runs = tmp_path / "run0", tmp_path / "run1"
    given = [f"--run={run}" for run in runs] + [f"--out={tmp_path / 'model'}"]
    options = ["--confidence-exponent=2.5", "--word-start-delay-ms=90", "--word-end-delay-ms=40.5"]
    monkeypatch.setattr("sys.argv", ["export", *given, *options])
    assert main() == 0
    loaded = checkpoints.load(str(tmp_path / "model"))
    assert loaded.features.config == FeatureConfig(
        normalization="running", stride=stride, chunk_frames=32 // stride
    )
    measured = {"word_start_delay_ms": 90.0, "word_end_delay_ms": 40.5}
    assert loaded.vocabulary == replace(VOCABULARY, confidence_exponent=2.5, **measured)
    for name, weight in loaded.model.state_dict().items():
        mean = (trainers[0].average[name] + trainers[1].average[name]) / 2
        assert torch.equal(weight, mean.bfloat16().float()), name


def test_runs_of_different_networks_have_no_mean(tmp_path: Path) -> None:
    for name, layers in (("one", 2), ("two", 3)):
        Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, layers=layers))).save(
            tmp_path / name
        )
    with pytest.raises(TrainingError, match="num_hidden_layers: expected 2, got 3"):
        export([tmp_path / "one", tmp_path / "two"], tmp_path / "out")


def test_a_run_starts_from_a_run_or_a_checkpoint_of_its_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = Trainer(Recipe(), SMALL)
    first.save(tmp_path / "run")
    export([tmp_path / "run"], tmp_path / "model")
    for source in ("run", "model"):
        second = Trainer(Recipe(), SMALL)
        second.start(str(tmp_path / source))
        for name, weight in first.average.items():
            expected = weight if source == "run" else weight.bfloat16().float()
            for target in (second.masters.weights, second.average, second.model.state_dict()):
                torch.testing.assert_close(target[name].float(), expected, rtol=0.01, atol=1e-3)
            assert torch.equal(second.average[name], expected)
    with pytest.raises(TrainingError, match="feature_projection_input_dim: expected 320, got 160"):
        Trainer(Recipe(), encoder_config(replace(SMALL_GEOMETRY, stride=4))).start(
            str(tmp_path / "run")
        )


def test_the_command_trains_exports_and_refuses_other_sizes(tmp_path: Path) -> None:
    options = write_data(tmp_path)
    short = ["--exposure-h", "0.01", "--gentle-h", "0.002", "--batch-s", "4", "--stride", "4"]
    status, _, err = run("train", *options, *short, "--human-from-h", "0.003")
    assert (status, err) == (0, "")
    export([tmp_path / "run"], tmp_path / "model")
    assert checkpoints.load(str(tmp_path / "model")).hop_samples == 640
    status, _, err = run("train", *options, "--exposure-h", "0.01", "--stride", "2")
    assert status == 1
    assert err.endswith("feature_projection_input_dim: expected 160, got 320\n")
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"), "--clean-share", "2")
    assert (status, err) == (1, "streamer: expected clean_share from 0 to 1, got 2\n")
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"), "--data", "none")
    assert (status, err) == (1, "streamer: there is no folder none/noise\n")
    (tmp_path / "train-1-000.tsv").unlink()
    status, _, err = run("train", *options, "--out", str(tmp_path / "new"))
    assert (status, err.count("\n")) == (1, 1)
    assert "no shards train*" in err


def test_the_schedule_warms_up_holds_and_ends_small() -> None:
    recipe = Recipe()
    assert recipe.rate(0.0) < 0.05
    assert recipe.rate(recipe.warmup_h) == 1.0
    assert recipe.rate(recipe.exposure_h * (1 - recipe.decay_share)) == pytest.approx(1.0)
    assert recipe.rate(recipe.exposure_h) == 0.01
    assert recipe.humans(recipe.human_from_h) == 0.0
    assert recipe.humans(2 * recipe.human_from_h) == recipe.human_share
