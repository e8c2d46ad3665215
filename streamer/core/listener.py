"""Keywords in one stream: the search of `keywords` in seconds, and its state.

Owns how long a pause ends a word and how long a phrase rests. Must not know: decoding.
"""

from collections.abc import Sequence
from dataclasses import replace

from streamer.core import keywords
from streamer.core.chunker import Window
from streamer.core.context import Grid
from streamer.core.decoder import Decoded
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Keyword
from streamer.core.keywords import Phrase, Spotted
from streamer.core.masking import is_number
from streamer.core.text_rules import TextRules
from streamer.core.timeline import Timeline

PAUSE_S = 0.2
"""So much silence behind a phrase ends it, as a delimiter would."""

REST_S = 1.0
"""A phrase that was heard is not heard again for so long."""


def check_keywords(phrases: Sequence[Phrase], labels: Labels, text: TextRules) -> None:
    """Raise ValueError for a phrase that the labels cannot spell, or that `text` redacts."""
    shown = unredacted(phrases, text)
    for phrase in phrases:
        keywords.spell(phrase.text, labels)
        if phrase not in shown:
            raise ValueError(
                f"expected keywords without numbers, which are redacted: {phrase.text}"
            )


def unredacted(phrases: Sequence[Phrase], text: TextRules) -> tuple[Phrase, ...]:
    """The phrases that `text` does not redact."""
    return tuple(
        phrase
        for phrase in phrases
        if not (text.redact_numbers and any(is_number(word) for word in phrase.text.split()))
    )


class KeywordListener:
    """Frames in, spotted phrases out; frames are counted from the beginning or the last `finish`.

    Without phrases it does nothing. Raises ValueError as `keywords.spotter` does.
    """

    def __init__(self, phrases: Sequence[Phrase], labels: Labels, grid: Grid) -> None:
        def frames(seconds: float) -> int:
            return grid.covering_frames(grid.samples_in(seconds))

        self._phrases = phrases
        if phrases:
            self._search = keywords.spotter(
                phrases, labels, pause_frames=frames(PAUSE_S), rest_frames=frames(REST_S)
            )
            self._state = keywords.start(self._search)

    def asked_for(self, window: Window) -> Window:
        """The window, saying what its frames must hold to be listened to."""
        return replace(window, wants_all=True) if self._phrases else window

    def heard(self, decoded: Decoded, chunk: Frames) -> Decoded:
        """What the frames of a chunk have brought about, and what was spotted in them."""
        if not self._phrases:
            return decoded
        assert chunk.all_log_probs is not None, "keywords need the log-probs of all labels"
        self._state, spotted = keywords.fold(self._state, chunk.all_log_probs, self._search)
        return replace(decoded, spotted=spotted)

    def finish(self) -> Sequence[Spotted]:
        """End the audio here; the next frame begins anew as frame 0."""
        if not self._phrases:
            return ()
        self._state, spotted = keywords.finish(self._state, self._search)
        return spotted

    def events(self, spotted: Sequence[Spotted], timeline: Timeline) -> list[Keyword]:
        """What was spotted, on the stream's clock."""
        events = []
        for each in spotted:
            start, end = timeline.span(each.start_frame, each.end_frame)
            start_s = Grid.seconds(timeline.sound_start(start))
            end_s = Grid.seconds(timeline.sound_end(end))
            events.append(Keyword(self._phrases[each.index].text, start_s, end_s, each.score))
        return events
