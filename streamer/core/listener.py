"""Keywords in one stream: the search of `keywords` in seconds, and its state.

Owns how long a pause ends a word and how long a phrase rests. Must not know: decoding.
"""

from collections.abc import Sequence
from dataclasses import replace

from streamer.core import keywords
from streamer.core.context import Grid
from streamer.core.decoder import Chunk, Decoded, Decoder
from streamer.core.frames import Labels
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


class SpottingDecoder:
    """A decoder, and keywords spotted in the frames that it decodes.

    Raises ValueError as `keywords.spotter` does.
    """

    def __init__(
        self, decoder: Decoder, phrases: Sequence[Phrase], labels: Labels, grid: Grid
    ) -> None:
        def frames(seconds: float) -> int:
            return grid.covering_frames(grid.samples_in(seconds))

        self._decoder = decoder
        self._search = keywords.spotter(
            phrases, labels, pause_frames=frames(PAUSE_S), rest_frames=frames(REST_S)
        )
        self._state = keywords.start(self._search)

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Decoder`."""
        decoded, log_probs = self._decoder.decode(chunk), chunk.frames.all_log_probs
        assert log_probs is not None, "keywords need the log-probs of all labels"
        state = keywords.start(self._search) if chunk.begins else self._state
        self._state, spotted = keywords.fold(state, log_probs, self._search)
        ending = decoded.ending
        if ending is not None:
            ending = replace(ending, spotted=keywords.finish(self._state, self._search)[1])
        return replace(decoded, spotted=spotted, ending=ending)


def heard_keywords(
    spotted: Sequence[Spotted], phrases: Sequence[Phrase], timeline: Timeline
) -> list[Keyword]:
    """What was spotted, on the stream's clock."""
    found = []
    for each in spotted:
        start, end = timeline.span(each.start_frame, each.end_frame)
        start_s = Grid.seconds(timeline.sound_start(start))
        end_s = Grid.seconds(timeline.sound_end(end))
        found.append(Keyword(phrases[each.index].text, start_s, end_s, each.score))
    return found
