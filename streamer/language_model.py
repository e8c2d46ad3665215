"""Language models and hotwords for the beam search: the extra `lm`, behind the core's `Scorer`.

Owns what is known of pyctcdecode and KenLM: their scores are used as they are. Must not know:
frames, beams, streams.
"""

import copy
import gzip
import importlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from streamer.core.options import DecodingOptions, Hotword
from streamer.core.scoring import NoScorer, Scorer

KNOWN_PARTS = 1 << 16  # words begun whose scores are remembered


class LanguageModelError(Exception):
    """A language model cannot be had; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Ngrams:
    """A KenLM model and the words it knows."""

    model: Any
    words: frozenset[str]


def load_ngrams(path: Path) -> Ngrams:
    """Read an ARPA file, .gz or not, or a binary of KenLM's (whose words nobody can list).

    Raises LanguageModelError: no such file, not a language model, or the extra is not installed.
    """
    kenlm = _imported("kenlm")
    if not path.is_file():
        raise LanguageModelError(f"there is no file {path}")
    try:
        if path.suffix != ".gz":
            return _opened(kenlm, path)
        # KenLM reads compressed files only where zlib was there when it was built.
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / path.stem
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            return _opened(kenlm, plain)
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        raise LanguageModelError(f"{path} is no n-gram model that KenLM can read") from error


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LanguageModelError(
            f"this needs the Python package {name}: pip install -e '.[lm]'"
        ) from error


def _opened(kenlm: Any, path: Path) -> Ngrams:
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    model = kenlm.Model(str(path), config)
    return Ngrams(model, frozenset(_unigrams(path)) if path.suffix == ".arpa" else frozenset())


def _unigrams(path: Path) -> list[str]:
    words: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\2-grams:"):
                break
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1 and not fields[1].startswith("<"):
                words.append(fields[1])
    return words


class LanguageModel:
    """An n-gram model as a `core.scoring.Scorer`, with pyctcdecode's scores.

    Args:
        ngrams: from `load_ngrams`.
        alpha: weight of its log-probabilities.
        beta: what every word is given.

    Raises:
        LanguageModelError: the extra is not installed.
    """

    def __init__(self, ngrams: Ngrams, *, alpha: float, beta: float) -> None:
        scores = _imported("pyctcdecode.language_model")
        self._model = scores.LanguageModel(
            ngrams.model, ngrams.words or None, alpha=alpha, beta=beta
        )
        self._ngrams, self._words = ngrams.model, ngrams.words
        self._new_state = _imported("kenlm").State
        self._to_natural: float = scores.LOG_BASE_CHANGE_FACTOR
        self._expected: frozenset[str] = frozenset()
        self._beginnings = frozenset(
            word[:end] for word in ngrams.words for end in range(len(word))
        )
        self._beginnings |= ngrams.words
        self._usual_letters: int = scores.AVG_TOKEN_LEN
        self.part = lru_cache(KNOWN_PARTS)(self._part)

    def weighed(self, alpha: float | None, beta: float | None) -> Self:
        """The same model with other weights (None: its own); its states fit both."""
        if (alpha, beta) == (None, None):
            return self
        other = copy.copy(self)
        other._model = copy.copy(self._model)
        other._model.alpha = self._model.alpha if alpha is None else alpha
        other._model.beta = self._model.beta if beta is None else beta
        return other

    def expecting(self, words: Iterable[str]) -> Self:
        """The same model, in which these words are no worse than the rarest that it knows.

        Others that it does not know lose 10 orders of magnitude, as in pyctcdecode.
        """
        other = copy.copy(self)
        other._expected = frozenset(word for word in words if not self._knows(word))
        return other

    def _knows(self, word: str) -> bool:
        return word in self._ngrams and (word in self._words or not self._words)

    def ranked_words(self) -> list[str]:
        """The words that it knows, the most frequent first; none where nobody can list them."""
        nowhere, behind = self._new_state(), self._new_state()
        self._ngrams.NullContextWrite(nowhere)
        scores = {word: self._ngrams.BaseScore(nowhere, word, behind) for word in self._words}
        return sorted(scores, key=lambda word: (-scores[word], word))

    def start(self) -> Any:
        """KenLM's beginning of a sentence."""
        return self._model.get_start_state()

    def word(self, state: Any, word: str) -> tuple[float, Any]:
        """The score of `word` behind `state`, and the state behind it."""
        score, after = self._model.score(state, word)
        if word in self._expected:
            score -= self._model.alpha * self._to_natural * self._model.unk_score_offset
        return score, after

    def end(self, state: Any) -> float:
        """The score of a sentence that ends at `state`."""
        score: float = self._ngrams.BaseScore(state, "</s>", self._new_state())
        return float(self._model.alpha) * self._to_natural * score

    def _part(self, part: str) -> float:
        """What pyctcdecode's `score_partial_token` says, whose trie is slow."""
        if part in self._beginnings:
            return 0.0
        return float(self._model.unk_score_offset * max(1.0, len(part) / self._usual_letters))


class Hotwords:
    """Hotwords on top of another scorer.

    Words that are begun score as pyctcdecode has it: as much of a weight as there is of the word.

    Args:
        scorer: what everything else is scored by.
        hotwords: each word of each of them scores its weight more; of several weights of one
            word the greatest counts.
        letter_weight: for each letter of those that name no weight, a natural logarithm. One weight
            for all words, as pyctcdecode has it, finds short ones everywhere and long ones seldom.

    Raises:
        LanguageModelError: the extra is not installed.
    """

    def __init__(self, scorer: Scorer, hotwords: Sequence[Hotword], letter_weight: float) -> None:
        build = _imported("pyctcdecode.language_model").HotwordScorer.build_scorer
        self._weights: dict[str, float] = {}
        for each in hotwords:
            for word in each.text.split():
                own = letter_weight * len(word) if each.weight is None else each.weight
                self._weights[word] = max(own, self._weights.get(word, own))
        words_by_weight: dict[float, list[str]] = defaultdict(list)
        for word, weight in self._weights.items():
            words_by_weight[weight].append(word)
        self._hot = [build(words, weight=weight) for weight, words in words_by_weight.items()]
        self._scorer = scorer
        self.start, self.end = scorer.start, scorer.end
        self.part = lru_cache(KNOWN_PARTS)(self._part)

    def word(self, state: Any, word: str) -> tuple[float, Any]:
        """The other scorer's score, and its weight more for a hotword."""
        score, after = self._scorer.word(state, word)
        return score + self._weights.get(word, 0.0), after

    def _part(self, part: str) -> float:
        """As the hotword that begins so for which it scores most, or as the other scorer has it."""
        scores = [float(hot.score_partial_token(part)) for hot in self._hot if part in hot]
        return max(scores) if scores else self._scorer.part(part)


class Scorers:
    """Makes the scorers that streams ask for: a `BeamSearch`'s `scorer`.

    Pickled it is the file's name and the weights: who unpickles it reads the language model anew.

    Args:
        path: of the language model; None: without one.
        alpha, beta: as `LanguageModel` has them, where a stream asks for no others.
        letter_weight: as `Hotwords` has it.

    Raises:
        LanguageModelError: as by `load_ngrams`.
    """

    def __init__(self, path: Path | None, alpha: float, beta: float, letter_weight: float) -> None:
        self._settings = path, alpha, beta, letter_weight
        self.language_model = None if path is None else _language_model(path, alpha, beta)

    def __reduce__(self) -> tuple[type[Self], tuple[Path | None, float, float, float]]:
        return type(self), self._settings

    def __call__(self, options: DecodingOptions) -> Scorer:
        """A scorer by what `options` say; its states fit all others."""
        scorer: Scorer = NoScorer()
        if self.language_model is not None:
            words = [word for each in options.hotwords for word in each.text.split()]
            weighed = self.language_model.weighed(options.lm_alpha, options.lm_beta)
            scorer = weighed.expecting(words) if words else weighed
        if not options.hotwords:
            return scorer
        return Hotwords(scorer, options.hotwords, self._settings[3])


@lru_cache(1)
def _language_model(path: Path, alpha: float, beta: float) -> LanguageModel:
    """Loaded once for all searches of a process."""
    return LanguageModel(load_ngrams(path), alpha=alpha, beta=beta)
