"""The labels of a checkpoint as plain values: texts of ids, the blank, the word delimiter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

USUAL_SPECIALS = {
    "unk_token": ("<unk>", "[UNK]"),
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "pad_token": ("<pad>", "[PAD]"),
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the ids of a model mean.

    ``tokens[i]`` is the text of label i; ``delimiter`` separates words; ``silent`` are never shown.
    A word's confidence is the geometric mean of its letters' probabilities to the power
    ``confidence_exponent``, which calibrates it (``streamer evaluate`` says which one would);
    where a language model has chosen the words, to the power ``lm_confidence_exponent``.
    A word's first frame begins ``word_start_delay_ms`` behind its sound, its last one ends
    ``word_end_delay_ms`` behind it (`python -m tests.bench.word_times` measures both).
    """

    tokens: tuple[str, ...]
    blank: int
    delimiter: int | None
    silent: frozenset[int]
    confidence_exponent: float = 1.0
    lm_confidence_exponent: float | None = None  # None: the same
    word_start_delay_ms: float = 0.0
    word_end_delay_ms: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.tokens):
            raise ValueError(f"blank id: expected 0 to {len(self.tokens) - 1}, got {self.blank}")
        for name in ("confidence_exponent", "lm_confidence_exponent"):
            exponent = getattr(self, name)
            if exponent is not None and not 0.0 < exponent < 1e3:
                raise ValueError(f"{name}: expected more than 0, got {exponent}")
        if not 0.0 <= self.word_end_delay_ms < 1e3:
            raise ValueError(f"word_end_delay_ms: expected 0 to 1000, got {self.word_end_delay_ms}")
        if not self.word_end_delay_ms <= self.word_start_delay_ms < 1e3:
            raise ValueError(
                f"word_start_delay_ms: expected {self.word_end_delay_ms:g} (that of ends) to 1000, "
                f"got {self.word_start_delay_ms}"
            )

    @staticmethod
    def from_json(
        ids: Mapping[str, Any], tokenizer: Mapping[str, Any], blank: int, size: int
    ) -> Vocabulary:
        """The labels of a checkpoint.

        Args:
            ids: ``vocab.json``, text to id.
            tokenizer: ``tokenizer_config.json``, may be empty.
            blank: the model's ``pad_token_id``.
            size: the model's ``vocab_size``; ids without a text are silent.

        Raises:
            ValueError: an id is repeated or does not fit the model.
        """
        if not all(type(index) is int for index in ids.values()):
            raise ValueError("vocab.json: expected an object of label to id")
        tokens: list[str | None] = [None] * size
        for text, index in ids.items():
            if not 0 <= index < size:
                raise ValueError(
                    f"vocab.json: id {index} of {text!r} does not fit vocab_size {size}"
                )
            if tokens[index] is not None:
                raise ValueError(
                    f"vocab.json: id {index} belongs to {tokens[index]!r} and {text!r}"
                )
            tokens[index] = text
        named = [tokenizer.get(name) for name in USUAL_SPECIALS]
        others = tokenizer.get("additional_special_tokens")
        named += others if isinstance(others, list) else []
        specials = {*chain(*USUAL_SPECIALS.values()), *map(_text, named)}
        delimiter = ids.get(_text(tokenizer.get("word_delimiter_token", "|")) or "", ids.get(" "))
        silent = frozenset(
            index for index, text in enumerate(tokens) if text is None or text in specials
        )
        silent = (silent - {delimiter}) | {blank}
        return Vocabulary(tuple(text or "" for text in tokens), blank, delimiter, silent)

    def to_json(self) -> tuple[dict[str, int], dict[str, Any]]:
        """What ``from_json`` reads: ``vocab.json`` and ``tokenizer_config.json``."""
        ids = {text: index for index, text in enumerate(self.tokens) if text}
        hidden = [self.tokens[index] for index in sorted(self.silent - {self.blank})]
        named = {
            name: next((text for text in hidden if text in usual), None)
            for name, usual in USUAL_SPECIALS.items()
        }
        others = [text for text in hidden if text and text not in named.values()]
        tokenizer = named | {
            "pad_token": self.tokens[self.blank],
            "word_delimiter_token": None if self.delimiter is None else self.tokens[self.delimiter],
            "additional_special_tokens": others,
        }
        return ids, tokenizer


def _text(token: Any) -> str | None:
    """A special token of tokenizer_config.json: a string or an object with ``content``."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
