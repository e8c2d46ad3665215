"""Speech that a tiny network learns in seconds: every letter is a tone, a space is a pause."""

from pathlib import Path

import numpy as np
import soundfile

from models import checkpoint
from models.acoustic import AcousticModel
from models.features import FeatureConfig
from models.training.network import initialize
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

RATE = 16_000
LETTER_S = 0.12
TOKENS = ("|", *"abcd", "[UNK]", "[PAD]")
VOCABULARY = Vocabulary(TOKENS, 6, 0, frozenset({5, 6}))
HERTZ = dict(zip("abcd", (300, 700, 1500, 3200), strict=True))
TEXTS = ("ab cd", "ba", "dc ab a", "cab", "bad cab", "d ad", "cc ba", "abcd", "dab", "a bad c")


def speak(text: str, seed: int = 0) -> np.ndarray:
    """Float32 (S,): the tones of ``text`` in a little noise, a short pause after each."""
    time = np.arange(int(LETTER_S * RATE)) / RATE
    gap = np.zeros(int(0.05 * RATE))
    parts = [np.zeros(RATE // 10)]
    for character in text:
        loud = 0.3 * np.sin(2 * np.pi * HERTZ.get(character, 0) * time)
        parts += [loud, gap]
    speech = np.concatenate([*parts, np.zeros(RATE // 10)])
    noise = np.random.default_rng(seed).normal(0, 0.003, len(speech))
    return (speech + noise).astype(np.float32)


def write_manifest(folder: Path, texts: tuple[str, ...] = TEXTS) -> Path:
    """Sound files and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["id\tpath\ttext"]
    for index, text in enumerate(texts):
        soundfile.write(folder / f"{index}.flac", speak(text, index), RATE)
        rows.append(f"{index}\t{index}.flac\t{text}")
    path = folder / "manifest.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def network(**changes: object) -> Wav2Vec2BertForCTC:
    """A tiny network with the weights that the scratch recipe begins with."""
    sizes: dict[str, object] = {
        "vocab_size": len(TOKENS),
        "pad_token_id": VOCABULARY.blank,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_depthwise_kernel_size": 7,
        "feature_projection_input_dim": 40,
    }
    model = Wav2Vec2BertForCTC(EncoderConfig(**sizes | changes))
    initialize(model)
    return model


def acoustic(**changes: object) -> AcousticModel:
    """The network behind features of 20 mel bins, normalised per utterance."""
    features = FeatureConfig(num_mel_bins=20)
    return AcousticModel("tones", network(**changes), features, VOCABULARY).eval()


def save(folder: Path, model: AcousticModel) -> str:
    """The model as a checkpoint directory."""
    checkpoint.save(folder, model.model, model.features.config, model.vocabulary)
    return str(folder)
