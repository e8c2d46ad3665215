"""From a model's frames to tokens: greedy or by beam search, behind one interface.

Owns what a stream remembers between two chunks of frames. Must not know: samples, words, events.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from streamer.core import beam, ctc
from streamer.core.alignment import LogProbs
from streamer.core.beam import BeamRules, BeamState, Group, Search
from streamer.core.context import Grid
from streamer.core.ctc import CtcState, Token
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.keywords import Phrase, Spotted
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.realignment import Realigner
from streamer.core.scoring import Scorer
from streamer.core.utterance import WORD_PAUSE_S

DOUBT = 0.05
"""Beams that disagree about a word are dropped when they have less of the probability."""

WORD_WAIT_S = 0.6
"""Behind a word; then beams that still disagree about it are dropped."""

MAX_WORD_S = 3.0
"""A word that goes on for longer is closed."""

MAX_KEPT_S = MAX_WORD_S + 1.0
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
    keywords: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Settled tokens over [start_frame, end_frame), and the texts that they may have been.

    Best first, with their scores against the best's, natural logarithms.
    """

    start_frame: int
    end_frame: int
    texts: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Decoded:
    """What the frames of a window have brought about.

    `settled` tokens are final from now on. `open_tokens` are those behind them as they look now,
    `upcoming` as they look with the lookahead frames folded in. `spotted`: keywords, if any are
    listened for. `ending`: what the end of the audio here would settle, where the chunk asks.
    """

    settled: list[Token] = field(default_factory=list)
    open_tokens: list[Token] = field(default_factory=list)
    upcoming: list[Token] = field(default_factory=list)
    spotted: Sequence[tuple[Phrase, Spotted]] = ()
    choices: list[Choice] = field(default_factory=list)  # among what is settled, in order
    ending: "Decoded | None" = None


class Chunk(NamedTuple):
    """The frames of a chunk and those behind it, if any, and what else a decoder must know of them.

    `changes` are due within the chunk, in order, and count its frames. `begins`: the audio before
    it has ended, its first frame is frame 0. `may_end`: perhaps the audio ends behind it.
    """

    frames: Frames
    lookahead: Frames | None = None
    changes: Sequence[Change] = ()
    begins: bool = False
    may_end: bool = False


class Decoder(Protocol):
    """Chunks in, in their order, tokens out; frames are counted from the last that `begins`."""

    def decode(self, chunk: Chunk) -> Decoded:
        """Fold the frames of a chunk in, and those behind it into a throw-away copy."""


class GreedyDecoder:
    """The best label of every frame; a token is settled when its run has ended."""

    def __init__(self, labels: Labels) -> None:
        self._blanks = labels.silent | {labels.blank}
        self._state = CtcState()

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Decoder`; no setting changes anything."""
        state = CtcState() if chunk.begins else self._state
        self._state, settled = self._fold(state, chunk.frames)
        upcoming = open_tokens = _open(self._state)
        if chunk.lookahead is not None:
            beyond, ahead = self._fold(self._state, chunk.lookahead)
            upcoming = ahead + _open(beyond)
        ending = Decoded(open_tokens) if chunk.may_end else None
        return Decoded(settled, open_tokens, upcoming, ending=ending)

    def _fold(self, state: CtcState, frames: Frames) -> tuple[CtcState, list[Token]]:
        return ctc.fold(state, frames.token_ids, frames.log_probs, self._blanks)


def _open(state: CtcState) -> list[Token]:
    run = ctc.open_token(state)
    return [] if run is None else [run]


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
            word_frames=frames(WORD_WAIT_S),
            max_frames=frames(MAX_WORD_S),
            doubt=DOUBT,
            n_best=options.n_best,
        )
        return Search(self._labels.tokens, self._blanks, self._delimiter, scorer, rules)

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Decoder`; the lookahead is judged as the end of the chunk is."""
        frames = chunk.frames.all_log_probs
        assert frames is not None, "the search needs the log-probs of all labels"
        if chunk.begins:
            self._state = BeamState.start(self._search.scorer)
            self._realigner.restart()
        done = Decoded()
        begin = 0
        for change in chunk.changes:
            self._fold(frames[begin : change.frame], done)
            self._apply(change)
            begin = change.frame
        self._fold(frames[begin:], done)
        search, state, behind = self._search, self._state, self._realigner.behind
        open_tokens = upcoming = beam.open_tokens(state, search)
        if chunk.lookahead is not None:
            assert chunk.lookahead.all_log_probs is not None, "so do the frames behind it"
            beyond, ahead = beam.fold(state, chunk.lookahead.all_log_probs, search)
            upcoming = ahead + beam.open_tokens(beyond, search)
        done.open_tokens.extend(behind(open_tokens))
        done.upcoming.extend(behind(upcoming))
        return replace(done, ending=self._ending()) if chunk.may_end else done

    def _fold(self, log_probs_TV: LogProbs, done: Decoded) -> None:
        self._realigner.accept(log_probs_TV)
        self._state, settled = beam.fold(self._state, log_probs_TV, self._search)
        _place(settled, self._state.groups, self._realigner, done)
        self._realigner.trim()

    def _apply(self, change: Change) -> None:
        scorer = self._search.scorer
        if _scored(change.options) != self._scored:
            self._scored = _scored(change.options)
            scorer = self._new_scorer(change.options)
        self._search = self._new_search(change.endpoint, change.options, scorer)
        self._state = beam.resumed(self._state, self._search)

    def _ending(self) -> Decoded:
        """What an end would settle here; it may yet go on."""
        done = Decoded()
        state, settled = beam.finish(self._state, self._search)
        _place(settled, state.groups, copy(self._realigner), done)
        return done


def _place(
    settled: Sequence[Token], groups: Sequence[Group], realigner: Realigner, done: Decoded
) -> None:
    """Align what a fold has settled, group by group."""
    begin = 0
    for group in groups:
        end = begin + group.tokens
        tokens = realigner.place(settled[begin:end], group.until_frame)
        begin = end
        done.settled.extend(tokens)
        if len(group.texts) > 1 and tokens:
            span = tokens[0].start_frame, tokens[-1].end_frame
            done.choices.append(Choice(*span, group.texts))


def _scored(options: DecodingOptions) -> tuple[object, ...]:
    """What a scorer depends on."""
    return options.lm_alpha, options.lm_beta, options.hotwords
