"""Keywords in one stream: the search of `keywords` in seconds, and its state.

Owns how long a pause ends a word and how long a phrase rests. Must not know: decoding.
"""

from collections.abc import Sequence
from dataclasses import replace

from streamer.core import keywords
from streamer.core.context import Grid
from streamer.core.decoder import Chunk, Decoded, Decoder
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
    for phrase in phrases:
        keywords.spell(phrase.text, labels)
        if not unredacted((phrase,), text):
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
    """A decoder, and keywords spotted in the frames that it decodes; without any it only counts.

    Where others are to be listened for, from the frame of a change on, they begin there. Raises
    ValueError as `keywords.spotter` does.
    """

    def __init__(
        self, decoder: Decoder, phrases: Sequence[Phrase], labels: Labels, grid: Grid
    ) -> None:
        self._decoder, self._labels, self._grid = decoder, labels, grid
        self._frames = 0  # since the beginning of the audio
        self._listen_for(tuple(phrases))

    def _listen_for(self, phrases: tuple[Phrase, ...]) -> None:
        self._phrases = phrases
        if phrases:
            self._search = keywords.spotter(
                phrases,
                self._labels,
                pause_frames=self._grid.covering_frames(self._grid.samples_in(PAUSE_S)),
                rest_frames=self._grid.covering_frames(self._grid.samples_in(REST_S)),
            )
            self._begin()

    def _begin(self) -> None:
        if self._phrases:
            self._state = replace(keywords.start(self._search), frames=self._frames)

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Decoder`."""
        decoded = self._decoder.decode(chunk)
        if chunk.begins:
            self._frames = 0
            self._begin()
        if not (self._phrases or chunk.changes):
            self._frames += len(chunk.frames.token_ids)
            return decoded
        spotted, begin = list[tuple[Phrase, Spotted]](), 0
        for change in chunk.changes:
            if change.keywords != self._phrases:
                spotted += self._fold(chunk.frames.part(begin, change.frame))
                begin = change.frame
                self._listen_for(change.keywords)
        spotted += self._fold(chunk.frames.part(begin, len(chunk.frames.token_ids)))
        ending = decoded.ending
        if ending is not None and self._phrases:
            ending = replace(
                ending, spotted=self._named(keywords.finish(self._state, self._search)[1])
            )
        return replace(decoded, spotted=spotted, ending=ending)

    def _fold(self, frames: Frames) -> list[tuple[Phrase, Spotted]]:
        self._frames += len(frames.token_ids)
        if not self._phrases:
            return []
        assert frames.all_log_probs is not None, "keywords need the log-probs of all labels"
        self._state, spotted = keywords.fold(self._state, frames.all_log_probs, self._search)
        return self._named(spotted)

    def _named(self, spotted: Sequence[Spotted]) -> list[tuple[Phrase, Spotted]]:
        return [(self._phrases[each.index], each) for each in spotted]


def heard_keywords(spotted: Sequence[tuple[Phrase, Spotted]], timeline: Timeline) -> list[Keyword]:
    """What was spotted, on the stream's clock."""
    found = []
    for phrase, each in spotted:
        *_, start, end = timeline.placed(each.start_frame, each.end_frame)
        found.append(Keyword(phrase.text, Grid.seconds(start), Grid.seconds(end), each.score))
    return found
