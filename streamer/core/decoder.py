"""From a model's frames to tokens: greedy or by beam search, behind one interface.

Owns what a stream remembers between two chunks of frames. Must not know: samples, words, events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamer.core import beam, ctc
from streamer.core.beam import BeamRules, BeamState, Search
from streamer.core.context import Grid
from streamer.core.ctc import CtcState, Token
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.keywords import Spotted
from streamer.core.scoring import Scorer
from streamer.core.utterance import WORD_PAUSE_S

MAX_TAIL_WORDS = 8
MAX_TAIL_S = 3.0
"""Beams that still disagree about a word after so many more words or seconds are cut down."""


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Decoding by beam search: `width` beams; `scorer` makes a stream's scorer for its hotwords.

    `takes_hotwords`: whether `scorer` takes any.
    """

    width: int
    scorer: Callable[[Sequence[str]], Scorer]
    takes_hotwords: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the frames of a window have brought about.

    `settled` tokens are final from now on. `open_tokens` are those behind them as they look now,
    `upcoming` as they look with the lookahead frames folded in. `spotted`: keywords, if any are
    listened for.
    """

    settled: list[Token]
    open_tokens: list[Token]
    upcoming: list[Token]
    spotted: Sequence[Spotted] = ()


class Decoder(Protocol):
    """Frames in, tokens out; frames are counted from the beginning or the last `finish`."""

    def decode(self, chunk: Frames, lookahead: Frames) -> Decoded:
        """Fold the frames of a chunk in, and those behind it into a throw-away copy."""

    def finish(self) -> list[Token]:
        """The open tokens, settled; the next frame begins anew as frame 0."""

    def configure(self, endpoint: EndpointRules) -> None:
        """Endpoint rules for the frames to come."""


class GreedyDecoder:
    """The best label of every frame; a token is settled when its run has ended."""

    def __init__(self, labels: Labels) -> None:
        self._blanks = labels.silent | {labels.blank}
        self._state = CtcState()

    def decode(self, chunk: Frames, lookahead: Frames) -> Decoded:
        """See `Decoder`."""
        self._state, settled = ctc.fold(self._state, chunk.token_ids, chunk.log_probs, self._blanks)
        copy, upcoming = ctc.fold(
            self._state, lookahead.token_ids, lookahead.log_probs, self._blanks
        )
        last = ctc.open_token(copy)
        if last is not None:
            upcoming.append(last)
        return Decoded(settled, self._open_tokens(), upcoming)

    def _open_tokens(self) -> list[Token]:
        run = ctc.open_token(self._state)
        return [] if run is None else [run]

    def finish(self) -> list[Token]:
        """See `Decoder`."""
        tokens, self._state = self._open_tokens(), CtcState()
        return tokens

    def configure(self, endpoint: EndpointRules) -> None:
        """No effect: no rule of greedy decoding depends on it."""


class BeamDecoder:
    """Prefix beam search; a word is settled when all live beams share it, or by `BeamRules`.

    `configure` and `bias` may be called while another thread is in `decode`: they take effect with
    the next frames.

    Raises:
        ValueError: the labels have no delimiter between words.
    """

    def __init__(
        self, search: BeamSearch, labels: Labels, grid: Grid, endpoint: EndpointRules
    ) -> None:
        if labels.delimiter is None:
            raise ValueError("expected labels with a word delimiter, got labels without one")
        self._labels, self._grid, self._kind = labels, grid, search
        self._delimiter = labels.delimiter
        self._blanks = labels.silent | {labels.blank}
        self._endpoint = endpoint
        self._scorer = self._scored_by = search.scorer(())
        self._search = self._new_search()
        self._state = BeamState.start(self._scorer)

    def _new_search(self) -> Search:
        def frames(seconds: float) -> int:
            return self._grid.covering_frames(self._grid.samples_in(seconds))

        rules = BeamRules(
            self._kind.width,
            pause_frames=frames(min(WORD_PAUSE_S, self._endpoint.silence_s)),
            sentence_frames=frames(self._endpoint.silence_s),
            max_words=MAX_TAIL_WORDS,
            max_frames=frames(MAX_TAIL_S),
        )
        tokens = self._labels.tokens
        return Search(tokens, self._blanks, self._delimiter, self._scorer, rules)

    def configure(self, endpoint: EndpointRules) -> None:
        """See `Decoder`."""
        self._endpoint = endpoint
        self._search = self._new_search()

    def bias(self, hotwords: Sequence[str]) -> None:
        """Expect these words from now on, and no others; in the case that the labels have."""
        tokens = enumerate(self._labels.tokens)
        letters = "".join(text for id_, text in tokens if id_ not in self._blanks)
        if letters.islower():
            hotwords = [word.lower() for word in hotwords]
        elif letters.isupper():
            hotwords = [word.upper() for word in hotwords]
        self._scorer = self._kind.scorer(hotwords)
        self._search = self._new_search()

    def decode(self, chunk: Frames, lookahead: Frames) -> Decoded:
        """See `Decoder`."""
        assert chunk.all_log_probs is not None and lookahead.all_log_probs is not None  # noqa: PT018
        search = self._search
        state, settled = beam.fold(self._judged(search), chunk.all_log_probs, search)
        open_tokens = beam.open_tokens(state, search)
        copy, ahead = beam.fold(state, lookahead.all_log_probs, search)
        self._state = state
        upcoming = ahead + beam.open_tokens(copy, search)
        return Decoded(settled, open_tokens, upcoming)

    def finish(self) -> list[Token]:
        """See `Decoder`."""
        search = self._search
        self._state, tokens = beam.finish(self._judged(search), search)
        return tokens

    def _judged(self, search: Search) -> BeamState:
        """The state, for the scorer in force."""
        if self._scored_by is search.scorer:
            return self._state
        self._scored_by = search.scorer
        return beam.rescored(self._state, search.scorer)
