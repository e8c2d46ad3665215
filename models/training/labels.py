"""Texts to labels and back: the alphabet of a vocabulary, or a new vocabulary from texts.

Owns how transcripts are fitted to what a network can say; knows nothing of audio.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from models.training.recipe import TrainingError
from models.vocabulary import Vocabulary

APOSTROPHES = str.maketrans("’ʼ`", "'''")


class Alphabet:
    """The characters that the labels of a vocabulary can spell."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.ids = {
            text: index
            for index, text in enumerate(vocabulary.tokens)
            if len(text) == 1 and index not in vocabulary.silent
        }
        if vocabulary.delimiter is not None:
            self.ids.pop(vocabulary.tokens[vocabulary.delimiter], None)
            self.ids[" "] = vocabulary.delimiter
        self.upper = any(text.isupper() for text in self.ids)
        self.lower = any(text.islower() for text in self.ids)

    def fit(self, text: str) -> str:
        """``text`` in the letter case of the labels, without punctuation that they lack.

        Single spaces between words. Letters and digits that no label spells are kept, for
        ``check`` to find.
        """
        text = unicodedata.normalize("NFC", text)
        if self.upper != self.lower:
            text = text.upper() if self.upper else text.lower()
        if "'" in self.ids:
            text = text.translate(APOSTROPHES)
        spelled = (" " if _is_mark(c) and c not in self.ids else c for c in text)
        return " ".join("".join(spelled).split())

    def encode(self, text: str) -> list[int]:
        """Label ids of a fitted text; KeyError where ``check`` was not asked."""
        return [self.ids[character] for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of one label a frame, as greedy CTC reads it."""
        tokens, delimiter = self.vocabulary.tokens, self.vocabulary.delimiter
        kept = (index for index, _ in groupby(ids) if index not in self.vocabulary.silent)
        return " ".join("".join(" " if i == delimiter else tokens[i] for i in kept).split())

    def check(self, texts: Sequence[str], where: str) -> None:
        """TrainingError that names the characters of fitted ``texts`` that no label spells."""
        unknown = Counter(c for text in texts for c in text if c not in self.ids)
        if not unknown:
            return
        count = sum(any(c not in self.ids for c in text) for text in texts)
        named = ", ".join(f"{c!r} ({n} times)" for c, n in unknown.most_common(8))
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise TrainingError(
            f"{where}: {count} of {len(texts)} transcripts have characters that the vocabulary "
            f"lacks: {named}{more}; write them out or take those lines away"
        )


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PSCZ"


def build_vocabulary(texts: Iterable[str]) -> Vocabulary:
    """A vocabulary of the characters of ``texts``, in lower case and without punctuation.

    The layout is that of the Hugging Face guide: sorted characters with the word delimiter ``|``
    in the place of the space, then [UNK] and [PAD], which is the blank. Apostrophes stay.

    Raises:
        TrainingError: the texts have no letter.
    """
    plain = (unicodedata.normalize("NFC", text).translate(APOSTROPHES).lower() for text in texts)
    characters = {c for text in plain for c in text if c == "'" or not _is_mark(c)}
    if not characters - {"'"}:
        raise TrainingError("no vocabulary can be built: the transcripts have no letters")
    tokens = ("|", *sorted(characters), "[UNK]", "[PAD]")
    blank = len(tokens) - 1
    return Vocabulary(tokens, blank, 0, frozenset({blank - 1, blank}))
