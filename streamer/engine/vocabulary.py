"""What a model says of its ids, and the labels that the decoding makes of it.

Must not know: tensors, devices.
"""

from typing import Protocol

from streamer.core.decoder import BeamSearch
from streamer.core.frames import Labels


class Vocabulary(Protocol):
    """What the ids of a model mean."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text of every id."""

    @property
    def blank(self) -> int:
        """The id that says nothing."""

    @property
    def delimiter(self) -> int | None:
        """The id between words, if there is one."""

    @property
    def silent(self) -> frozenset[int]:
        """Ids that are never shown."""

    @property
    def confidence_exponent(self) -> float:
        """To which power a word's confidence is right as often as it says."""

    @property
    def lm_confidence_exponent(self) -> float | None:
        """The same where a language model chooses the words; None: that one."""

    @property
    def word_start_delay_ms(self) -> float:
        """How long after a word begins its first frame begins."""

    @property
    def word_end_delay_ms(self) -> float:
        """How long after a word ends its last frame ends."""


def labels_of(vocabulary: Vocabulary, search: BeamSearch | None) -> Labels:
    """Its labels, with the confidence of how they are decoded; `search` None: greedily."""
    exponent, with_lm = vocabulary.confidence_exponent, vocabulary.lm_confidence_exponent
    return Labels(
        vocabulary.tokens,
        vocabulary.blank,
        vocabulary.delimiter,
        vocabulary.silent,
        with_lm if with_lm is not None and search is not None and search.has_lm else exponent,
        vocabulary.word_start_delay_ms,
        vocabulary.word_end_delay_ms,
    )
