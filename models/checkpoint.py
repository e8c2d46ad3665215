"""Checkpoints in Hugging Face layout to acoustic models.

Owns names (a directory, a shipped model, a hub id), files and their faults: whatever is wrong with
a checkpoint is one CheckpointError of one sentence. Reads safetensors only; a pickle can run code
when opened, so it is never opened.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.acoustic import AcousticModel
from models.features import FeatureConfig
from models.preprocessor import calibration, feature_config, preprocessor_json
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

PRETRAINED = Path(__file__).parent / "pretrained"
LANGUAGE_MODEL = "lm.arpa.gz"  # in the directory of a checkpoint that brings one along
TRAINING_ONLY = ("masked_spec_embed",)  # keys that inference has no use for
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class CheckpointError(Exception):
    """A checkpoint cannot be loaded; the message is one sentence for the user."""


def shipped() -> list[str]:
    """Names of the models that come with this package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def load(name: str) -> AcousticModel:
    """Load a model in float32 on the CPU, ready for inference.

    Args:
        name: a directory, the name of a shipped model, or a hub id ``owner/model``.

    Raises:
        CheckpointError: there is no such checkpoint, or it is not one that this engine can run.
    """
    folder = find(name)
    preprocessor = _check_files(folder, "vocab.json")
    values = _read_json(folder / "config.json")
    _check_architecture(folder, values)
    ids, tokenizer = _read_json(folder / "vocab.json"), folder / "tokenizer_config.json"
    marks = _read_json(tokenizer) if tokenizer.exists() else {}
    try:
        config = EncoderConfig.from_json(values)
        labels = Vocabulary.from_json(ids, marks, config.pad_token_id, config.vocab_size)
        ours = _read_json(preprocessor)
        features, labels = feature_config(ours), replace(labels, **calibration(ours))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    _check_sizes(folder, config, features)
    with torch.device("meta"):
        model = Wav2Vec2BertForCTC(config)
    _assign(folder, model, _read_weights(folder))
    return AcousticModel(Path(name).name, model, features, labels).eval()


def has_ctc_head(name: str) -> bool:
    """Whether a checkpoint is one that ``load`` takes, or an encoder for ``load_encoder``."""
    folder = find(name)
    _check_files(folder)
    values = _read_json(folder / "config.json")
    return "Wav2Vec2BertModel" not in (values.get("architectures") or [])


def load_encoder(name: str, vocabulary: Vocabulary, *, adapter: bool = False) -> AcousticModel:
    """A ``Wav2Vec2BertModel``, as pre-training leaves it, with a new CTC head for ``vocabulary``.

    With ``adapter`` and where the checkpoint has none, a new adapter layer comes between them (half
    as many outputs), as in the Hugging Face guide. What is new is drawn from torch's generator.

    Raises:
        CheckpointError: as ``load``.
    """
    folder = find(name)
    preprocessor = _check_files(folder)
    values = _read_json(folder / "config.json")
    _check_kind(folder, values)
    values |= {"vocab_size": len(vocabulary.tokens), "pad_token_id": vocabulary.blank}
    added = adapter and not values.get("add_adapter")
    values |= {"add_adapter": True} if added else {}
    try:
        config = EncoderConfig.from_json(values)
        features = feature_config(_read_json(preprocessor))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    _check_sizes(folder, config, features)
    model = Wav2Vec2BertForCTC(config)
    torch.nn.init.normal_(model.lm_head.weight, std=0.02)
    torch.nn.init.zeros_(model.lm_head.bias)
    weights = {f"wav2vec2_bert.{key}": value for key, value in _read_weights(folder).items()}
    new = ("lm_head.", "wav2vec2_bert.adapter.") if added else ("lm_head.",)
    weights |= {key: value for key, value in model.state_dict().items() if key.startswith(new)}
    _assign(folder, model, weights)
    return AcousticModel(Path(name).name, model, features, vocabulary).eval()


def _check_sizes(folder: Path, config: EncoderConfig, features: FeatureConfig) -> None:
    if features.feature_size != config.feature_projection_input_dim:
        raise CheckpointError(
            f"{folder}: the features have {features.feature_size} values a frame "
            f"but the model expects {config.feature_projection_input_dim}"
        )


def find(name: str) -> Path:
    """The directory of a checkpoint; a hub id is downloaded (or found in the hub's cache)."""
    if Path(name).is_dir():
        return Path(name)
    if name in shipped():
        return PRETRAINED / name
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return _download(name)
    known = ", ".join(shipped()) or "none"
    raise CheckpointError(
        f"no model {name!r}: neither a directory, nor a shipped model ({known}), "
        "nor a hub id owner/model"
    )


@cache
def _download(name: str) -> Path:
    """Once in a process: the hub is asked each time, though all is there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f"{name!r} looks like a hub id, which needs the Python package huggingface_hub: "
            "pip install -e '.[hub]', or give a downloaded directory"
        ) from error
    try:
        wanted = ["*.json", "*.safetensors", LANGUAGE_MODEL]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many kinds: network, absence, permission
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot fetch {name!r} from the hub: {reason.removeprefix('Got: ')}"
        ) from error


def _check_files(folder: Path, *others: str) -> Path:
    """Which file describes the features: transformers 5 has moved them."""
    preprocessor = folder / "preprocessor_config.json"
    if not preprocessor.is_file() and (folder / "processor_config.json").is_file():
        preprocessor = folder / "processor_config.json"
    needed = (folder / "config.json", preprocessor, *(folder / name for name in others))
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} is not a complete checkpoint: {' and '.join(missing)} missing"
        )
    return preprocessor


def _check_kind(folder: Path, values: dict[str, Any]) -> None:
    kind = values.get("model_type")
    if kind != "wav2vec2-bert":
        raise CheckpointError(f"{folder} holds a {kind!r} model; this engine runs 'wav2vec2-bert'")


def _check_architecture(folder: Path, values: dict[str, Any]) -> None:
    _check_kind(folder, values)
    architectures = values.get("architectures") or ["Wav2Vec2BertForCTC"]
    if not isinstance(architectures, list):
        architectures = [architectures]
    if "Wav2Vec2BertForCTC" not in architectures:
        raise CheckpointError(
            f"{folder} holds a {architectures[0]}, which has no CTC head; "
            "this engine runs Wav2Vec2BertForCTC"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _read_weights(folder: Path) -> dict[str, Tensor]:
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        shards = _shards(index)
    elif single.is_file():
        shards = [single.name]
    elif any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{folder} has its weights as a pickle (.bin), which can run code when opened; "
            "save them as safetensors (in transformers: model.save_pretrained(directory))"
        )
    else:
        raise CheckpointError(f"{folder} is not a complete checkpoint: model.safetensors missing")
    weights: dict[str, Tensor] = {}
    for shard in shards:
        path = folder / shard
        try:
            weights |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    return weights


def _shards(index: Path) -> list[str]:
    """The files that an index names; it never leads out of its directory."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} has no weight_map")
    for shard in places.values():
        plain = isinstance(shard, str) and Path(shard).name == shard
        if not plain or not shard.endswith(".safetensors"):
            raise CheckpointError(f"{index}: {shard!r} is not a safetensors file beside it")
    return sorted(set(places.values()))


def _assign(folder: Path, model: Wav2Vec2BertForCTC, weights: dict[str, Tensor]) -> None:
    """Give ``model`` (on the meta device) its weights in float32, each of them exactly once."""
    expected = model.state_dict()
    weights = {
        name: tensor.float() for name, tensor in weights.items() if not name.endswith(TRAINING_ONLY)
    }
    for problem, names in (
        ("lacks", expected.keys() - weights),
        ("has unknown", weights.keys() - expected),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{folder}: the checkpoint {problem} {min(names)}{more}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            shapes = f"expected {tuple(expected[name].shape)}, got {tuple(tensor.shape)}"
            raise CheckpointError(f"{folder}: {name} has the wrong shape: {shapes}")
    model.load_state_dict(weights, assign=True)


def save(
    folder: Path, model: Wav2Vec2BertForCTC, features: FeatureConfig, vocabulary: Vocabulary
) -> None:
    """Write a directory that ``load`` and ``transformers`` both read; weights keep their dtype."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    config = asdict(model.config) | {
        "model_type": "wav2vec2-bert",
        "architectures": ["Wav2Vec2BertForCTC"],
        "dtype": dtype,
        "apply_spec_augment": False,
    }
    preprocessor = preprocessor_json(features, vocabulary)
    ids, tokenizer = vocabulary.to_json()
    tokenizer |= {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2BertProcessor",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (
        ("config.json", config),
        ("preprocessor_config.json", preprocessor),
        ("tokenizer_config.json", tokenizer),
        ("vocab.json", ids),
    ):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    _write_weights(folder / "model.safetensors", tensors, {"format": "pt"})


def _write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with the mode of any new file.

    The library by itself makes one that nobody but its owner may read.
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata=metadata)
    path.chmod(mode)
