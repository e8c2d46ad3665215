"""What a model answers: frames of labels.

Owns the meaning of its ids and the form of its answer to a window. Must not know: words, streams.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Labels:
    """What the model's ids mean: the text of each (any number of characters), and special ids."""

    tokens: tuple[str, ...]
    blank: int
    delimiter: int | None  # between words; None if pauses alone separate them
    silent: frozenset[int] = frozenset()  # never shown, as good as blank
    confidence_exponent: float = 1.0  # makes words as often right as their confidence says
    # How long behind the sound the first frame of a word's letters begins, and the last one ends.
    word_start_delay_ms: float = 0.0
    word_end_delay_ms: float = 0.0

    def __post_init__(self) -> None:
        special = {self.blank, *self.silent}
        if self.delimiter is not None:
            special.add(self.delimiter)
        if not special.issubset(range(len(self.tokens))):
            raise ValueError(
                f"expected special ids within the {len(self.tokens)} tokens, got {special}"
            )
        if not 0 <= self.word_end_delay_ms <= self.word_start_delay_ms:
            raise ValueError(
                "expected word_start_delay_ms >= word_end_delay_ms >= 0, "
                f"got {self.word_start_delay_ms} and {self.word_end_delay_ms}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The model's answer to a window: for its valid frames, left + chunk + right in that order.

    `token_ids` int (T,): the best ids; `log_probs` float32 (T,): their log-probabilities;
    `all_log_probs` float32 (T, V): those of all labels, where they are searched or asked for.
    """

    token_ids: npt.NDArray[np.integer[Any]]
    log_probs: npt.NDArray[np.float32]
    all_log_probs: npt.NDArray[np.float32] | None = None

    def __reduce__(self) -> tuple[Any, tuple[bytes, bytes, bytes, int]]:
        """As plain bytes, and how many labels: pickled arrays would take three times as long."""
        every = self.all_log_probs
        packed = b"" if every is None else every.astype(np.float32).tobytes()
        ids, best = self.token_ids.astype(np.int64), self.log_probs.astype(np.float32)
        labels = 0 if every is None else every.shape[1]
        return _unpacked, (ids.tobytes(), best.tobytes(), packed, labels)

    def part(self, begin: int, end: int) -> "Frames":
        """The frames [begin, end)."""
        if begin == 0 and end == len(self.token_ids):
            return self
        every = self.all_log_probs
        return Frames(
            self.token_ids[begin:end],
            self.log_probs[begin:end],
            None if every is None else every[begin:end],
        )


def _unpacked(ids: bytes, best: bytes, every: bytes, labels: int) -> Frames:
    matrix = np.frombuffer(every, np.float32).reshape(-1, labels) if labels else None
    return Frames(np.frombuffer(ids, np.int64), np.frombuffer(best, np.float32), matrix)
