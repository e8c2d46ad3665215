"""What a beam search asks of a language model and of hotwords.

Owns the protocol only: whoever knows a language model implements it outside the core. All scores
are natural logarithms, ready to be added to log-probabilities: weights are applied already.
"""

from typing import Any, Protocol


class Scorer(Protocol):
    """Scores of whole words in their order, and of words that are begun.

    States are opaque and never changed by a call. Equal arguments give equal scores: a search
    remembers some of them.
    """

    def start(self) -> Any:
        """The state at the beginning of a sentence."""

    def word(self, state: Any, word: str) -> tuple[float, Any]:
        """The score of a word behind `state`, and the state behind the word."""

    def end(self, state: Any) -> float:
        """The score of the sentence ending at `state`."""

    def part(self, part: str) -> float:
        """The passing score of a word that is begun; gone once it is whole."""


class NoScorer:
    """Acoustics alone: every score is 0."""

    def start(self) -> Any:
        """No state."""

    def word(self, state: Any, word: str) -> tuple[float, Any]:
        """0, whatever the word."""
        return 0.0, None

    def end(self, state: Any) -> float:
        """0."""
        return 0.0

    def part(self, part: str) -> float:
        """0, whatever the part."""
        return 0.0


MAX_CHILDREN = 256  # words whose scores a history remembers


class History:
    """What a scorer knows of a text: its score and state; remembers the words tried next."""

    __slots__ = ("_children", "score", "state")

    def __init__(self, score: float, state: Any) -> None:
        self.score = score
        self.state = state
        self._children: dict[str, History] = {}

    def child(self, word: str, scorer: Scorer) -> "History":
        """The history behind one more word."""
        found = self._children.get(word)
        if found is None:
            score, state = scorer.word(self.state, word)
            found = History(self.score + score, state)
            if len(self._children) >= MAX_CHILDREN:
                self._children.clear()
            self._children[word] = found
        return found
