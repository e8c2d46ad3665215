"""Where settled tokens lie: forced alignment of text that stands, over posteriors kept for it.

Beams that merge place the same text differently, so a search's own times are those of one of many
paths. Owns the posteriors of the frames whose text is not settled yet. Must not know: beams, words.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamer.core.alignment import LogProbs, align
from streamer.core.ctc import Token


class Realigner:
    """Keeps log-probs (T, V) in half precision; frames are counted from the last `restart`.

    `gaps` are the ids between letters: blanks and the delimiter. At the limit of `max_frames` the
    oldest frames are forgotten, and tokens that begin there keep the times they have.
    """

    def __init__(self, gaps: frozenset[int], blank: int, max_frames: int) -> None:
        self._gaps, self._blank, self._max_frames = sorted(gaps), blank, max_frames
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is frame 0."""
        self._kept: npt.NDArray[np.float16] | None = None
        self._first = 0  # the frame of kept[0]
        self._end = 0  # of the last token placed

    def accept(self, log_probs_TV: LogProbs) -> None:
        """Keep frames, the next ones in order."""
        kept = log_probs_TV.astype(np.float16)
        if self._kept is not None:
            kept = np.concatenate([self._kept, kept])
        self._kept = kept

    def trim(self) -> None:
        """Forget the frames of text that is settled, and what is beyond the limit."""
        assert self._kept is not None, "no frames were accepted"
        extra = max(self._end - self._first, len(self._kept) - self._max_frames, 0)
        self._kept, self._first = self._kept[extra:].copy(), self._first + extra

    def place(self, tokens: Sequence[Token], until: int) -> list[Token]:
        """The next tokens, whole words, on their most probable path before the frame `until`."""
        letters = [token for token in tokens if token.id not in self._gaps]
        if letters and letters[0].start_frame >= self._first:
            spans = iter(self._spans(letters, max(self._end, self._first), until))
            tokens = [
                token if token.id in self._gaps else _moved(token, *next(spans, (None, None)))
                for token in tokens
            ]
        placed = self.behind(tokens)
        self._end = placed[-1].end_frame if placed else self._end
        return placed

    def behind(self, tokens: Sequence[Token]) -> list[Token]:
        """The tokens behind all that is placed, each behind the one before it."""
        placed, end = [], self._end
        for token in tokens:
            is_gap = token.id in self._gaps  # a delimiter follows its word
            start = end if is_gap else max(token.start_frame, end)
            end = start if is_gap else max(token.end_frame, start + 1)
            placed.append(token._replace(start_frame=start, end_frame=end))
        return placed

    def _spans(self, letters: Sequence[Token], begin: int, until: int) -> list[tuple[int, int]]:
        """First frame and end of each letter within the frames; none if they have no path."""
        assert self._kept is not None, "no frames were accepted"
        log_probs = self._kept[begin - self._first : until - self._first].astype(np.float32)
        log_probs[:, self._blank] = log_probs[:, self._gaps].max(axis=1)
        try:
            found = align(log_probs, [token.id for token in letters], self._blank)
        except ValueError:  # too few frames
            return []
        return [(begin + each.start_frame, begin + each.end_frame) for each in found]


def _moved(token: Token, start: int | None, end: int | None) -> Token:
    if start is None or end is None:
        return token
    return token._replace(start_frame=start, end_frame=end)
