"""From a model's frames to tokens: greedy or by beam search, behind one interface.

Owns what a stream remembers between two chunks of frames. Must not know: samples, words, events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from streamer.core import beam, ctc
from streamer.core.alignment import LogProbs
from streamer.core.beam import BeamRules, BeamState, Search
from streamer.core.context import Grid
from streamer.core.ctc import CtcState, Token
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.keywords import Spotted
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.realignment import Realigner
from streamer.core.scoring import Scorer
from streamer.core.utterance import WORD_PAUSE_S

MAX_TAIL_WORDS = 8
MAX_TAIL_S = 3.0
"""Beams that still disagree about a word after so many more words or seconds are cut down."""

MAX_KEPT_S = MAX_TAIL_S + 1.0
"""Of frames whose text is not settled, so many seconds are kept to align it."""


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Decoding by beam search: `width` beams where a stream asks for no other number.

    `scorer` makes a stream's scorer for the weights and hotwords that it asks for; the states of
    all these scorers are interchangeable. `takes_hotwords`, `has_lm`: whether hotwords and the
    weights of a language model mean anything to it.
    """

    width: int
    scorer: Callable[[DecodingOptions], Scorer]
    takes_hotwords: bool
    has_lm: bool = False


def supported(
    search: BeamSearch | None, options: DecodingOptions
) -> tuple[DecodingOptions, list[str]]:
    """What of `options` this way of decoding can do, and the names of those that it cannot."""
    lacking = [] if search is not None else ["beam", "n_best"]
    if search is None or not search.has_lm:
        lacking += ["lm_alpha", "lm_beta"]
    if search is None or not search.takes_hotwords:
        lacking.append("hotwords")
    default = {name: getattr(DEFAULT_OPTIONS, name) for name in lacking}
    refused = [name for name in lacking if getattr(options, name) != default[name]]
    return replace(options, **default), refused


@dataclass(frozen=True, slots=True)
class Change:
    """Other settings from the frame `frame` on."""

    frame: int
    endpoint: EndpointRules
    options: DecodingOptions


@dataclass(frozen=True, slots=True)
class Choice:
    """Settled tokens over [start_frame, end_frame), and the texts that they may have been.

    Best first, with their scores against the best's, natural logarithms.
    """

    start_frame: int
    end_frame: int
    texts: tuple[tuple[str, float], ...]


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
    choices: list[Choice] = field(default_factory=list)  # among what is settled, in order


class Decoder(Protocol):
    """Frames in, tokens out; frames are counted from the beginning or the last `finish`."""

    def decode(self, chunk: Frames, lookahead: Frames, changes: Sequence[Change] = ()) -> Decoded:
        """Fold the frames of a chunk in, and those behind it into a throw-away copy.

        `changes` are due within the chunk, in order, and count its frames.
        """

    def finish(self) -> Decoded:
        """The open tokens, settled; the next frame begins anew as frame 0."""


class GreedyDecoder:
    """The best label of every frame; a token is settled when its run has ended."""

    def __init__(self, labels: Labels) -> None:
        self._blanks = labels.silent | {labels.blank}
        self._state = CtcState()

    def decode(self, chunk: Frames, lookahead: Frames, changes: Sequence[Change] = ()) -> Decoded:
        """See `Decoder`; no setting changes anything."""
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

    def finish(self) -> Decoded:
        """See `Decoder`."""
        tokens, self._state = self._open_tokens(), CtcState()
        return Decoded(tokens, [], [])


class BeamDecoder:
    """Prefix beam search; a word is settled when all live beams share it, or by `BeamRules`.

    Raises:
        ValueError: the labels have no delimiter between words.
    """

    def __init__(
        self,
        search: BeamSearch,
        labels: Labels,
        grid: Grid,
        endpoint: EndpointRules,
        options: DecodingOptions = DEFAULT_OPTIONS,
    ) -> None:
        if labels.delimiter is None:
            raise ValueError("expected labels with a word delimiter, got labels without one")
        self._labels, self._grid, self._kind = labels, grid, search
        self._delimiter = labels.delimiter
        self._blanks = labels.silent | {labels.blank}
        self._scored = _scored(options)
        self._search = self._new_search(endpoint, options, self._new_scorer(options))
        self._state = BeamState.start(self._search.scorer)
        kept = self._grid.covering_frames(self._grid.samples_in(MAX_KEPT_S))
        self._realigner = Realigner(self._blanks | {self._delimiter}, labels.blank, kept)

    def _new_scorer(self, options: DecodingOptions) -> Scorer:
        """For hotwords in the case that the labels have."""
        tokens = enumerate(self._labels.tokens)
        letters = "".join(text for id_, text in tokens if id_ not in self._blanks)
        case = str.lower if letters.islower() else str.upper if letters.isupper() else str
        hotwords = tuple(replace(each, text=case(each.text)) for each in options.hotwords)
        return self._kind.scorer(replace(options, hotwords=hotwords))

    def _new_search(
        self, endpoint: EndpointRules, options: DecodingOptions, scorer: Scorer
    ) -> Search:
        def frames(seconds: float) -> int:
            return self._grid.covering_frames(self._grid.samples_in(seconds))

        rules = BeamRules(
            options.beam or self._kind.width,
            pause_frames=frames(min(WORD_PAUSE_S, endpoint.silence_s)),
            sentence_frames=frames(endpoint.silence_s),
            max_words=MAX_TAIL_WORDS,
            max_frames=frames(MAX_TAIL_S),
            n_best=options.n_best,
        )
        return Search(self._labels.tokens, self._blanks, self._delimiter, scorer, rules)

    def decode(self, chunk: Frames, lookahead: Frames, changes: Sequence[Change] = ()) -> Decoded:
        """See `Decoder`; the lookahead is judged as the end of the chunk is."""
        assert chunk.all_log_probs is not None and lookahead.all_log_probs is not None  # noqa: PT018
        done = Decoded([], [], [])
        begin = 0
        for change in changes:
            self._fold(chunk.all_log_probs[begin : change.frame], done)
            self._apply(change)
            begin = change.frame
        self._fold(chunk.all_log_probs[begin:], done)
        search, state, behind = self._search, self._state, self._realigner.behind
        copy, ahead = beam.fold(state, lookahead.all_log_probs, search)
        done.open_tokens.extend(behind(beam.open_tokens(state, search)))
        done.upcoming.extend(behind(ahead + beam.open_tokens(copy, search)))
        return done

    def _fold(self, log_probs_TV: LogProbs, done: Decoded) -> None:
        self._realigner.accept(log_probs_TV)
        self._state, settled = beam.fold(self._state, log_probs_TV, self._search)
        self._place(settled, done)
        self._realigner.trim()

    def _place(self, settled: Sequence[Token], done: Decoded) -> None:
        """Align what the last fold has settled, group by group."""
        begin = 0
        for group in self._state.groups:
            end = begin + group.tokens
            tokens = self._realigner.place(settled[begin:end], group.until_frame)
            begin = end
            done.settled.extend(tokens)
            if len(group.texts) > 1 and tokens:
                span = tokens[0].start_frame, tokens[-1].end_frame
                done.choices.append(Choice(*span, group.texts))

    def _apply(self, change: Change) -> None:
        scorer = self._search.scorer
        if _scored(change.options) != self._scored:
            self._scored = _scored(change.options)
            scorer = self._new_scorer(change.options)
        self._search = self._new_search(change.endpoint, change.options, scorer)
        self._state = beam.resumed(self._state, self._search)

    def finish(self) -> Decoded:
        """See `Decoder`."""
        done = Decoded([], [], [])
        self._state, settled = beam.finish(self._state, self._search)
        self._place(settled, done)
        self._realigner.restart()
        return done


def _scored(options: DecodingOptions) -> tuple[object, ...]:
    """What a scorer depends on."""
    return options.lm_alpha, options.lm_beta, options.hotwords
