"""Keywords in one stream: the search of `keywords` in seconds, and its state.

Owns how long a pause ends a word and how long a phrase rests. Must not know: samples, events.
"""

from collections.abc import Sequence

from streamer.core import keywords
from streamer.core.context import Grid
from streamer.core.frames import Frames, Labels
from streamer.core.keywords import Phrase, Spotted
from streamer.core.masking import is_number
from streamer.core.text_rules import TextRules

PAUSE_S = 0.2
"""So much silence behind a phrase ends it, as a delimiter would."""

REST_S = 1.0
"""A phrase that was heard is not heard again for so long."""


def check_keywords(phrases: Sequence[Phrase], labels: Labels, text: TextRules) -> None:
    """Raise ValueError for a phrase that the labels cannot spell, or that `text` redacts."""
    for phrase in phrases:
        keywords.spell(phrase.text, labels)
        if text.redact_numbers and any(is_number(word) for word in phrase.text.split()):
            raise ValueError(
                f"expected keywords without numbers, which are redacted: {phrase.text}"
            )


class KeywordListener:
    """Frames in, spotted phrases out; frames are counted from the beginning or the last `finish`.

    Raises:
        ValueError: a phrase that the labels cannot spell, or too many of them.
    """

    def __init__(self, phrases: Sequence[Phrase], labels: Labels, grid: Grid) -> None:
        def frames(seconds: float) -> int:
            return grid.covering_frames(grid.samples_in(seconds))

        self._search = keywords.spotter(
            phrases, labels, pause_frames=frames(PAUSE_S), rest_frames=frames(REST_S)
        )
        self._state = keywords.start(self._search)
        self._phrases = phrases

    def hear(self, chunk: Frames) -> list[Spotted]:
        """Fold the frames of a chunk in."""
        assert chunk.all_log_probs is not None, "keywords need the log-probs of all labels"
        self._state, spotted = keywords.fold(self._state, chunk.all_log_probs, self._search)
        return spotted

    def finish(self) -> list[Spotted]:
        """End the audio here; the next frame begins anew as frame 0."""
        self._state, spotted = keywords.finish(self._state, self._search)
        return spotted

    def text(self, spotted: Spotted) -> str:
        """The phrase that was spotted, as it was given."""
        return self._phrases[spotted.index].text
