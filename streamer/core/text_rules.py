"""How the words of a stream are put: spoken or written, and what of them must not be read.

Owns the choice, and how a session's wishes change what its server has set. Must not know: how words
are written (a `Writer` does), events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from streamer.core.hypothesis import Word
from streamer.core.masking import Masks


class Writer(Protocol):
    """Spoken words to written ones, each with the time of the words it stands for."""

    def __call__(self, words: Sequence[Word], *, begins: bool) -> tuple[Word, ...]:
        """The words as one would write them; `begins`: a sentence begins with the first."""


@dataclass(frozen=True, slots=True)
class TextRules:
    """The rules of one stream; `writer` and `profanity` are what there is to apply.

    Raises:
        ValueError: `written` without a writer.
    """

    written: bool = False  # finals carry their written form as well
    mask_profanity: bool = False
    redact_numbers: bool = False
    writer: Writer | None = None
    profanity: frozenset[str] = frozenset()
    masks: Masks = field(init=False, repr=False)  # in all text

    def __post_init__(self) -> None:
        if self.written and self.writer is None:
            raise ValueError("expected a writer for written text, got none")
        words = self.profanity if self.mask_profanity else frozenset()
        object.__setattr__(self, "masks", Masks(self.redact_numbers, words))

    def wished(
        self, written: bool | None, mask_profanity: bool | None, redact_numbers: bool | None
    ) -> "TextRules":
        """With a session's wishes, None: none; what is masked already stays masked.

        A wish for written text is in vain without a writer.
        """
        if self.writer is None:
            written = None
        return replace(
            self,
            written=self.written if written is None else written,
            mask_profanity=self.mask_profanity or bool(mask_profanity),
            redact_numbers=self.redact_numbers or bool(redact_numbers),
        )


SPOKEN = TextRules()
"""Words as they were spoken."""
