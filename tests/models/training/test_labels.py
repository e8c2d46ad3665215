"""Texts and labels: what is spelled comes back, what cannot be spelled is told."""

import json
import random
from pathlib import Path

import pytest
from transformers import Wav2Vec2CTCTokenizer

from models.training.labels import Alphabet, build_vocabulary
from models.training.network import VOCABULARY
from models.training.recipe import TrainingError
from models.vocabulary import Vocabulary


def test_a_new_vocabulary_is_laid_out_as_in_the_guide() -> None:
    vocabulary = build_vocabulary(["Ça va?", "It’s — so, 2!"])
    assert vocabulary.tokens == ("|", "'", "2", "a", "i", "o", "s", "t", "v", "ç", "[UNK]", "[PAD]")
    assert vocabulary.tokens[vocabulary.blank] == "[PAD]"
    assert vocabulary.silent == {10, 11}
    alphabet = Alphabet(vocabulary)
    assert alphabet.fit("Ça va? It`s — so!") == "ça va it's so"
    text = "it's so 2"
    assert "".join(vocabulary.tokens[i] for i in alphabet.encode(text)) == "it's|so|2"


def test_no_letters_no_vocabulary() -> None:
    with pytest.raises(TrainingError, match="no letters"):
        build_vocabulary(["…", "", "'"])


@pytest.mark.parametrize(
    ("tokens", "text", "fitted"),
    [
        (("|", *"AB", "[PAD]"), "ab, Ba!", "AB BA"),
        (("|", *"ab", "[PAD]"), "AB, Ba!", "ab ba"),
        (("|", *"aB", "[PAD]"), "aB", "aB"),
        (("|", *"ab.", "[PAD]"), "a.b,  a", "a.b a"),
        (("|", *"ab", "[PAD]"), "a|b's", "a b s"),
    ],
)
def test_texts_are_fitted_to_the_labels(tokens: tuple[str, ...], text: str, fitted: str) -> None:
    blank = len(tokens) - 1
    assert Alphabet(Vocabulary(tokens, blank, 0, frozenset({blank}))).fit(text) == fitted


def test_characters_without_a_label_are_named_and_counted() -> None:
    alphabet = Alphabet(VOCABULARY)
    texts = [alphabet.fit(text) for text in ("naïve", "route 66", "fine", "naïveté")]
    with pytest.raises(TrainingError) as caught:
        alphabet.check(texts, "m.tsv")
    message = str(caught.value)
    assert message.startswith("m.tsv: 3 of 4 transcripts")
    assert "'ï' (2 times)" in message
    assert "'6' (2 times)" in message
    assert "'é' (1 times)" in message
    alphabet.check(["it's fine"], "m.tsv")


def test_decoding_is_the_tokenizers(tmp_path: Path) -> None:
    ids, _ = VOCABULARY.to_json()
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    tokenizer = Wav2Vec2CTCTokenizer(
        str(tmp_path / "vocab.json"), unk_token="[UNK]", pad_token="[PAD]", bos_token=None,
        eos_token=None,
    )  # fmt: skip
    alphabet, rng = Alphabet(VOCABULARY), random.Random(0)
    speakable = [index for index, text in enumerate(VOCABULARY.tokens) if text != "[UNK]"]
    for _ in range(50):
        frames = rng.choices(speakable, k=30)
        assert alphabet.decode(frames) == " ".join(tokenizer.decode(frames).split())
    spread = [i for label in alphabet.encode("hello it's me") for i in (label, VOCABULARY.blank)]
    assert alphabet.decode(spread) == "hello it's me"
