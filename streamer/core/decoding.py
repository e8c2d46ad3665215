"""What decodes a stream, made from its settings: the search, and its ear for keywords.

Owns what a decoder is made of and fed with, so that it can be elsewhere. Must not know: events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamer.core.chunker import Window
from streamer.core.context import Grid
from streamer.core.decoder import BeamDecoder, BeamSearch, Change, Chunk, Decoder, GreedyDecoder
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.keywords import Phrase
from streamer.core.listener import SpottingDecoder
from streamer.core.options import DecodingOptions


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """Of one stream, at its beginning; plain values."""

    labels: Labels
    grid: Grid
    endpoint: EndpointRules
    options: DecodingOptions
    keywords: tuple[Phrase, ...] = ()


class InFlight(NamedTuple):
    """A window whose frames are not back, and what a decoder must know beside them; see `Chunk`."""

    window: Window
    changes: Sequence[Change]
    begins: bool
    may_end: bool

    def chunk(self, frames: Frames) -> Chunk:
        """The window's frames, the left ones dropped."""
        window = self.window
        ahead, end = window.left + window.chunk, window.left + window.chunk + window.right
        assert len(frames.token_ids) == len(frames.log_probs) == end, (frames, end)
        chunk = frames.part(window.left, ahead)
        lookahead = frames.part(ahead, end) if window.right else None
        return Chunk(chunk, lookahead, self.changes, self.begins, self.may_end)


def new_decoder(search: BeamSearch | None, settings: DecoderSettings) -> Decoder:
    """A decoder that has heard nothing; `search` None: greedy.

    Raises ValueError for labels that cannot be searched, or keywords that they cannot spell.
    """
    labels, grid = settings.labels, settings.grid
    decoder: Decoder = GreedyDecoder(labels)
    if search is not None:
        decoder = BeamDecoder(search, labels, grid, settings.endpoint, settings.options)
    return SpottingDecoder(decoder, settings.keywords, labels, grid)
