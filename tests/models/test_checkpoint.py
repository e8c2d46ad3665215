"""Checkpoints: what was saved is loaded, also by `transformers`."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
)

from models import checkpoint, preprocessor
from models.features import FeatureConfig
from models.vocabulary import Vocabulary
from tests.models.networks import TOKENS, hugging_face, network, save_with_transformers

FEATURES = FeatureConfig(num_mel_bins=10)
LABELS = Vocabulary(TOKENS, 0, 1, frozenset({0}))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("normalization", ["utterance", "window", "running", "global"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_load_gives_back_what_save_was_given(tmp_path, normalization, dtype):
    mean = tuple(float(x) for x in range(10))
    features = FeatureConfig(10, 2, normalization, mean, mean[::-1], 123, 456, 7)
    model = network(seed=1, add_adapter=True, output_hidden_size=24).to(dtype)
    checkpoint.save(tmp_path / "some" / "model", model, features, LABELS)
    loaded = checkpoint.load(str(tmp_path / "some" / "model"))
    assert loaded.name == "model"
    assert loaded.features.config == features
    assert loaded.vocabulary == LABELS
    assert loaded.model.config == model.config
    assert not loaded.training
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].float())


@torch.inference_mode()
def test_whoever_may_read_new_files_may_read_a_saved_checkpoint(tmp_path):
    command = (
        "import os, pathlib, torch\n"
        "from models import checkpoint\n"
        "from models.features import FeatureConfig\n"
        "from models.vocabulary import Vocabulary\n"
        "from tests.models.networks import TOKENS, network\n"
        "os.umask(0o027)\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "vocabulary = Vocabulary(TOKENS, 0, 4, frozenset())\n"
        "checkpoint.save(folder, network(), FeatureConfig(), vocabulary)\n"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {"0o640"}, modes


def test_transformers_loads_what_save_wrote(tmp_path):
    tokens = ("a", "b", "<unk>", "|", "c", "[PAD]", "<s>", "<noise>", "d", "e", "f", "g")
    vocabulary = Vocabulary(tokens, 5, 3, frozenset({2, 5, 6, 7}))
    ours = network(seed=2, add_adapter=True, pad_token_id=5)
    checkpoint.save(tmp_path, ours, FEATURES, vocabulary)
    assert checkpoint.load(str(tmp_path)).vocabulary == vocabulary
    theirs = AutoModelForCTC.from_pretrained(tmp_path)
    processor = Wav2Vec2BertProcessor.from_pretrained(tmp_path)
    assert theirs.config.pad_token_id == processor.tokenizer.pad_token_id == 5
    assert processor.tokenizer.convert_ids_to_tokens(range(12)) == list(tokens)
    assert processor.tokenizer.decode([0, 0, 5, 0, 3, 3, 1, 5, 4]) == "aa bc"
    samples = np.random.default_rng(0).normal(0, 0.1, 320 * 24 + 240).astype(np.float32)
    inputs = processor(samples, sampling_rate=16_000, return_tensors="pt")
    logits, frames = ours(inputs.input_features, torch.tensor([24]))
    assert frames.item() == 12
    assert (theirs(**inputs).logits - logits).abs().max() <= 1e-4


@torch.inference_mode()
def test_a_processor_saved_by_transformers_is_found(tmp_path):
    """Since version 5 it writes processor_config.json in place of preprocessor_config.json."""
    save_with_transformers(tmp_path, hugging_face())
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    extractor = SeamlessM4TFeatureExtractor(num_mel_bins=10, feature_size=10)
    Wav2Vec2BertProcessor(extractor, tokenizer).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    assert checkpoint.load(str(tmp_path)).features.config == FeatureConfig(num_mel_bins=10)


@pytest.mark.parametrize("blank", [0, 3, 11])
@pytest.mark.parametrize("delimiter", [None, 0, 5, 11])
def test_blank_and_delimiter_can_be_any_id(tmp_path, blank, delimiter):
    if blank == delimiter:
        blank = 7
    tokens = [*"abcdefghijkl"]
    tokens[blank] = "<blank>"
    if delimiter is not None:
        tokens[delimiter] = "_"
    vocabulary = Vocabulary(tuple(tokens), blank, delimiter, frozenset({blank}))
    checkpoint.save(tmp_path, network(pad_token_id=blank), FEATURES, vocabulary)
    assert checkpoint.load(str(tmp_path)).vocabulary == vocabulary


@pytest.mark.parametrize(
    ("tokenizer", "delimiter", "silent"),
    [
        ({}, 1, {0, 4, 5}),
        ({"word_delimiter_token": {"content": "a"}}, 2, {0, 4, 5}),
        ({"word_delimiter_token": None}, 3, {0, 4, 5}),
        ({"unk_token": "b", "bos_token": {"content": "a"}}, 1, {0, 2, 4, 5, 6}),
        ({"additional_special_tokens": ["b", {"content": "|"}]}, 1, {0, 4, 5, 6}),
        ({"additional_special_tokens": "nonsense", "eos_token": ["a"]}, 1, {0, 4, 5}),
    ],
    ids=str,
)
def test_labels_are_read_as_the_tokenizer_means_them(tokenizer, delimiter, silent):
    ids = {"<blank>": 0, "|": 1, "a": 2, " ": 3, "[UNK]": 4, "b": 6}
    vocabulary = Vocabulary.from_json(ids, tokenizer, blank=0, size=7)
    assert vocabulary.tokens == ("<blank>", "|", "a", " ", "[UNK]", "", "b")
    assert vocabulary.delimiter == delimiter
    assert vocabulary.silent == silent


def test_shipped_models_are_found_by_name():
    for name in checkpoint.shipped():
        assert checkpoint.find(name) == checkpoint.PRETRAINED / name


def test_the_calibration_of_words_survives_saving(tmp_path):
    acoustic = checkpoint.load("tiny-en")
    vocabulary = dataclasses.replace(
        acoustic.vocabulary,
        confidence_exponent=2.5,
        lm_confidence_exponent=1.5,
        word_start_delay_ms=70.0,
        word_end_delay_ms=50.5,
    )
    checkpoint.save(tmp_path, acoustic.model, acoustic.features.config, vocabulary)
    assert checkpoint.load(str(tmp_path)).vocabulary == vocabulary


def test_every_setting_of_the_features_is_checked():
    for field in dataclasses.fields(FeatureConfig):
        with pytest.raises(ValueError, match=field.name):
            preprocessor.feature_config({"streaming": {field.name: {"not": "a value"}}})
