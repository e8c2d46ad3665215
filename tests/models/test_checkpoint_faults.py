"""Checkpoints that were spoilt: every fault is one sentence."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import checkpoint
from models.checkpoint import CheckpointError
from models.features import FeatureConfig
from models.vocabulary import Vocabulary
from tests.commands import ROOT
from tests.models.networks import TOKENS, network

FEATURES = FeatureConfig(num_mel_bins=10)
LABELS = Vocabulary(TOKENS, 0, 1, frozenset({0}))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path):
    """A good checkpoint, to be spoilt."""
    checkpoint.save(tmp_path / "model", network(), FEATURES, LABELS)
    return tmp_path / "model"


def fault(folder):
    """The one sentence about a checkpoint."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(path, **changes):
    """Change keys of a JSON file; None removes one."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def replace_by_pickle(folder, name="pytorch_model.bin"):
    """Weights that, opened, would leave a file behind."""
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(folder / "opened")))


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_for_training_alone_are_ignored(folder):
    def add(weights):
        weights["wav2vec2_bert.masked_spec_embed"] = torch.zeros(32)

    edit_weights(folder, add)
    assert checkpoint.load(str(folder)).name == "model"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "anything.bin"])
def test_a_pickle_is_refused_and_never_opened(folder, name):
    replace_by_pickle(folder, name)
    assert "has its weights as a pickle (.bin), which can run code when opened" in fault(folder)
    assert not (folder / "opened").exists()


def test_the_trap_of_the_pickle_test_does_spring(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "opened")))
    assert (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "vocab.json", "model.safetensors"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert fault(folder) == f"{folder} is not a complete checkpoint: {name} missing"


def test_all_missing_files_are_named(tmp_path):
    missing = "config.json and preprocessor_config.json and vocab.json missing"
    assert fault(tmp_path) == f"{tmp_path} is not a complete checkpoint: {missing}"


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": ', "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[1, 2]", "expected a JSON object, got list"),
    ],
)
def test_broken_json_is_named(folder, name, content, reason):
    (folder / name).write_bytes(content)
    message = fault(folder)
    assert str(folder / name) in message
    assert reason in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "wav2vec2"}, "holds a 'wav2vec2' model; this engine runs 'wav2vec2-bert'"),
        ({"model_type": None}, "holds a None model"),
        (
            {"architectures": ["Wav2Vec2BertForXVector"]},
            "holds a Wav2Vec2BertForXVector, which has no CTC head",
        ),
        ({"architectures": "Wav2Vec2BertModel"}, "holds a Wav2Vec2BertModel, which has no CTC"),
        ({"architectures": 5}, "holds a 5, which has no CTC head"),
        ({"hidden_size": "big"}, "hidden_size: expected int, got 'big'"),
        ({"hidden_size": 33}, "hidden_size 33 must be a multiple of 2 heads"),
        ({"hidden_size": 0}, "hidden_size: expected at least 1, got 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers: expected int, got True"),
        ({"adapter_stride": 0}, "adapter_stride: expected at least 1, got 0"),
        ({"layer_norm_eps": [1]}, "layer_norm_eps: expected float, got [1]"),
        ({"hidden_act": "mish"}, "unknown activation 'mish'; known: swish"),
        ({"position_embeddings_type": "alibi"}, "position_embeddings_type: expected"),
        ({"use_intermediate_ffn_before_adapter": True}, "needs add_adapter"),
        ({"pad_token_id": 12}, "blank id: expected 0 to 11, got 12"),
        ({"pad_token_id": -1}, "blank id: expected 0 to 11, got -1"),
        ({"vocab_size": 11}, "vocab.json: id 11 of 'j' does not fit vocab_size 11"),
        ({"feature_projection_input_dim": 160}, "have 20 values a frame but the model expects 160"),
        ({"num_hidden_layers": 3}, "lacks wav2vec2_bert.encoder.layers.2."),
        ({"num_hidden_layers": 1}, "has unknown wav2vec2_bert.encoder.layers.1."),
        ({"add_adapter": True}, "lacks wav2vec2_bert.adapter.layers.0."),
        ({"intermediate_size": 48}, "has the wrong shape: expected (48,), got (40,)"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_the_configuration_cannot_be_is_said(folder, changes, reason):
    edit(folder / "config.json", **changes)
    message = fault(folder)
    assert reason in message
    assert str(folder) in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sampling_rate": 8000}, "sampling_rate: expected 16000, got 8000"),
        ({"num_mel_bins": "80"}, "num_mel_bins: expected int, got '80'"),
        ({"num_mel_bins": 11}, "have 22 values a frame but the model expects 20"),
        ({"streaming": 5}, "settings are not JSON objects"),
        ({"feature_extractor": "x"}, "settings are not JSON objects"),
        ({"streaming": {"speed": 2}}, "unknown setting 'speed'"),
        ({"streaming": {"normalization": "cmvn"}}, "normalization: expected"),
        ({"streaming": {"mean": [1.0, "x"]}}, "mean: expected float, got 'x'"),
        ({"streaming": {"mean": [1, 2]}}, "mean: expected 10 values, got 2"),
    ],
    ids=str,
)
def test_what_the_features_cannot_be_is_said(folder, changes, reason):
    edit(folder / "preprocessor_config.json", **changes)
    assert reason in fault(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"j": 12}, "id 12 of 'j' does not fit vocab_size 12"),
        ({"j": -1}, "id -1 of 'j' does not fit vocab_size 12"),
        ({"z": 3}, "id 3 belongs to 'b' and 'z'"),
        ({"j": "3"}, "expected an object of label to id"),
        ({"eng": {"a": 1}}, "expected an object of label to id"),
    ],
    ids=str,
)
def test_what_the_labels_cannot_be_is_said(folder, changes, reason):
    edit(folder / "vocab.json", **changes)
    assert reason in fault(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_said(folder, kept):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if kept == 0.5 else kept])
    assert f"{path} cannot be read as safetensors: " in fault(folder)


def test_missing_and_unknown_weights_are_counted(folder):
    edit_weights(folder, lambda weights: weights.pop("lm_head.bias"))
    assert fault(folder) == f"{folder}: the checkpoint lacks lm_head.bias"
    edit_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    assert fault(folder) == f"{folder}: the checkpoint lacks lm_head.bias and 1 more"
    checkpoint.save(folder, network(), FEATURES, LABELS)
    edit_weights(folder, lambda weights: weights.update(extra=torch.zeros(1)))
    assert fault(folder) == f"{folder}: the checkpoint has unknown extra"


def test_a_wrong_shape_is_said(folder):
    edit_weights(folder, lambda weights: weights.update({"lm_head.bias": torch.zeros(13)}))
    expected = "lm_head.bias has the wrong shape: expected (12,), got (13,)"
    assert fault(folder) == f"{folder}: {expected}"


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "/secret.safetensors", "weights.bin", "..", 5]
)
def test_an_index_never_leads_out_of_its_directory(folder, shard):
    shutil.copy(folder / "model.safetensors", folder.parent / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    assert fault(folder) == f"{index}: {shard!r} is not a safetensors file beside it"


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": [1]}])
def test_an_index_without_files_is_said(folder, content):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps(content))
    assert fault(folder) == f"{index} has no weight_map"


def test_a_missing_shard_is_named(folder):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "second.safetensors"}}))
    assert f"{folder / 'second.safetensors'} cannot be read as safetensors" in fault(folder)


@pytest.mark.parametrize("name", ["nonsense", "no/such/thing", "../up", "a/..", "", "~/x", "x\0y"])
def test_a_name_that_is_nothing_is_said(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fault(name)
    assert message.startswith(
        (f"no model {name!r}: neither a directory, nor a shipped", ". is not")
    )


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["offline", "no network"],
)
def test_an_unknown_id_without_network_ends_with_one_sentence(tmp_path, environment):
    """In a process of its own, since the hub's client reads its settings when imported."""
    script = (
        "from models import checkpoint\n"
        "try:\n    checkpoint.load('nobody/nothing')\n"
        "except checkpoint.CheckpointError as error:\n    print(error)\n"
    )
    kept = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    (line,) = ran.stdout.splitlines()
    assert line.startswith("cannot fetch 'nobody/nothing' from the hub: ")


EXPONENTS, DELAYS = (-1.0, 0.0, 1e4, "much", None, True), (-1.0, 1e4, "much", None, True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *product(("confidence_exponent", "lm_confidence_exponent"), EXPONENTS),
        *product(("word_start_delay_ms", "word_end_delay_ms"), DELAYS),
        ("word_start_delay_ms", 10.0),  # less than that of ends
    ],
)
def test_an_impossible_calibration_is_refused(tmp_path, key, value):
    shutil.copytree(checkpoint.PRETRAINED / "tiny-en", tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    values = json.loads(path.read_text())
    values["streaming"][key] = value
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f" {key}:"):
        checkpoint.load(str(tmp_path / "model"))
