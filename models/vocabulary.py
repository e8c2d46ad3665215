"""The labels of a checkpoint as plain values: texts of ids, the blank, the word delimiter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIAL_NAMES = ("unk_token", "bos_token", "eos_token", "pad_token")
USUAL_SPECIALS = ("<unk>", "[UNK]", "<s>", "</s>", "<pad>", "[PAD]")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the ids of a model mean.

    ``tokens[i]`` is the text of label i; ``delimiter`` separates words; ``silent`` are never shown.
    """

    tokens: tuple[str, ...]
    blank: int
    delimiter: int | None
    silent: frozenset[int]

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.tokens):
            raise ValueError(f"blank id: expected 0 to {len(self.tokens) - 1}, got {self.blank}")


def read_vocabulary(folder: Path, blank: int, size: int) -> Vocabulary:
    """``vocab.json`` (text to id) and, if there, ``tokenizer_config.json`` of a checkpoint.

    Args:
        blank: the model's ``pad_token_id``.
        size: the model's ``vocab_size``; ids without a text are silent.

    Raises:
        ValueError: an id is repeated or does not fit the model.
    """
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    if not isinstance(ids, dict) or not all(type(index) is int for index in ids.values()):
        raise ValueError("vocab.json: expected an object of label to id")
    settings = _read_optional(folder / "tokenizer_config.json")
    tokens: list[str | None] = [None] * size
    for text, index in ids.items():
        if not 0 <= index < size:
            raise ValueError(f"vocab.json: id {index} of {text!r} does not fit vocab_size {size}")
        if tokens[index] is not None:
            raise ValueError(f"vocab.json: id {index} belongs to {tokens[index]!r} and {text!r}")
        tokens[index] = text
    specials = {*USUAL_SPECIALS, *(_text(settings.get(name)) for name in SPECIAL_NAMES)}
    delimiter = ids.get(_text(settings.get("word_delimiter_token")) or "|", ids.get(" "))
    silent = frozenset(
        index for index, text in enumerate(tokens) if text is None or text in specials
    )
    return Vocabulary(tuple(text or "" for text in tokens), blank, delimiter, silent | {blank})


def _text(token: Any) -> str | None:
    """A special token of tokenizer_config.json: a string or an object with ``content``."""
    return token.get("content") if isinstance(token, dict) else token


def _read_optional(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
