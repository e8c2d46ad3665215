"""A small n-gram language model from plain texts, as an ARPA file.

python -m models.training.ngram --texts TEXTS --leave-out MANIFEST --out lm.arpa.gz

Owns counting, interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, section 4.1.6, with
discounts of every order from its own counts of counts) and the file. Counts are arrays: an n-gram
is the number that its word ids spell in base V, so sorted n-grams lie context by context.

Shapes: N n-gram of one order, W token.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data import normalize_text
from models.training.manifest import read_manifest
from models.training.mistakes import positive, told
from models.training.recipe import TrainingError
from models.training.synthesis import cut, is_heldout

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIALS = ("<unk>", "<s>", "</s>")
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # of lmplz, where there are too few counts to estimate them

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Order:
    """The n-grams of one order in the model, sorted by key.

    ``probs`` (N,) are interpolated probabilities, ``backoffs`` (N,) the weight of the lower order
    behind each n-gram as context.
    """

    keys: Keys
    probs: Floats
    backoffs: Floats


@dataclass(frozen=True, slots=True)
class NgramModel:
    """``words[i]`` is the word of id i, specials first; ``orders[k - 1]`` holds the k-grams."""

    words: tuple[str, ...]
    orders: tuple[Order, ...]

    def save(self, path: Path) -> None:
        """Write an ARPA file, compressed if its name ends in .gz; the same bytes each time."""
        data = "".join(f"{line}\n" for line in self._lines()).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)

    def _lines(self) -> Iterator[str]:
        yield "\\data\\"
        yield from (f"ngram {k}={len(order.keys)}" for k, order in enumerate(self.orders, 1))
        for k, order in enumerate(self.orders, 1):
            yield f"\n\\{k}-grams:"
            log_probs = np.log10(np.maximum(order.probs, 1e-99)).round(4).tolist()
            log_backoffs = np.log10(order.backoffs).round(4).tolist()
            ids = _digits(order.keys, len(self.words), k)
            for row, log_prob, log_backoff in zip(ids, log_probs, log_backoffs, strict=True):
                text = " ".join([self.words[i] for i in row])
                line = f"{log_prob:g}\t{text}"
                yield f"{line}\t{log_backoff:g}" if k < len(self.orders) else line
        yield "\n\\end\\"


def build(
    sentences: Sequence[Sequence[str]], *, cutoffs: Sequence[int], min_word_count: int
) -> NgramModel:
    """Estimate a model of order ``len(cutoffs)``.

    Args:
        sentences: words of each sentence.
        cutoffs: an n-gram of order k stays if it was seen more than ``cutoffs[k - 1]`` times; what
            the others had goes to the lower order, so that probabilities still sum to 1.
        min_word_count: words seen more seldom are ``<unk>``, which is a unigram only.

    Raises:
        ValueError: cutoffs that fall, or a vocabulary too large for the order.
    """
    if len(cutoffs) < 2 or cutoffs[0] != 0 or list(cutoffs) != sorted(cutoffs):
        raise ValueError(f"expected at least two cutoffs, 0 first, that never fall; got {cutoffs}")
    counts = Counter(word for sentence in sentences for word in sentence)
    words = (*SPECIALS, *sorted(word for word, n in counts.items() if n >= min_word_count))
    if len(words) ** len(cutoffs) > np.iinfo(np.int64).max:
        raise ValueError(f"order {len(cutoffs)}: {len(words)} words are too many")
    tokens = _tokens(sentences, words)
    raw = [_count(_windows(tokens, len(words), k)) for k in range(1, len(cutoffs) + 1)]
    orders: list[Order] = []
    for k, cutoff in enumerate(cutoffs, 1):
        keys, seen = raw[k - 1]
        adjusted = seen if k == len(cutoffs) else _continuations(k, len(words), raw)
        orders.append(_estimate(k, len(words), keys, adjusted, seen > cutoff, orders))
    return NgramModel(words, tuple(orders))


def _tokens(sentences: Sequence[Sequence[str]], words: Sequence[str]) -> Keys:
    """All sentences behind each other, each with its begin and end."""
    ids = {word: index for index, word in enumerate(words)}
    return np.array(
        [
            token
            for sentence in sentences
            for token in (BEGIN, *(ids.get(word, UNKNOWN) for word in sentence), END)
        ],
        np.int64,
    )


def _windows(tokens_W: Keys, V: int, k: int) -> Keys:
    """The keys of all k-grams within sentences; the begin of a sentence is context only."""
    keys = np.zeros(max(len(tokens_W) - k + 1, 0), np.int64)
    whole = np.ones(len(keys), bool)
    for place in range(k):
        token = tokens_W[place : place + len(keys)]
        keys = keys * V + token
        whole &= (token != END) if place < k - 1 else (token != BEGIN)
    chosen: Keys = keys[whole]
    return chosen


def _count(keys: Keys) -> tuple[Keys, Keys]:
    unique, counts = np.unique(keys, return_counts=True)
    return unique, counts.astype(np.int64)


def _digits(keys_N: Keys, V: int, k: int) -> list[list[int]]:
    """The word ids of each k-gram."""
    places = [keys_N // V ** (k - 1 - place) % V for place in range(k)]
    rows: list[list[int]] = np.stack(places, axis=1).tolist()
    return rows


def _continuations(k: int, V: int, raw: Sequence[tuple[Keys, Keys]]) -> Keys:
    """How many words were seen before each k-gram; nothing is before the begin of a sentence."""
    keys, seen = raw[k - 1]
    followers, before = _count(raw[k][0] % V**k)
    counts = seen.copy()
    places = np.searchsorted(keys, followers)
    inner = keys[places] // V ** (k - 1) != BEGIN
    counts[places[inner]] = before[inner]
    return counts


def discounts(counts_N: Keys) -> Floats:
    """What modified Kneser-Ney takes from n-grams counted 1, 2 and more than 2 times: (3,)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts_N == count)) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array(FALLBACK_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    found = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    valid = (found > 0).all() and (found <= (1, 2, 3)).all()
    return found if valid else np.array(FALLBACK_DISCOUNTS)


def _estimate(
    k: int, V: int, keys: Keys, counts: Keys, frequent: NDArray[np.bool_], lower: list[Order]
) -> Order:
    """The k-grams that stay, interpolated with the orders below, and their contexts' backoffs.

    Sets the backoffs of the order below, which were 1.
    """
    taken = np.minimum(discounts(counts)[np.minimum(counts, 3) - 1], counts)
    kept = frequent.copy()
    if k > 1:
        kept &= ~(np.array(_digits(keys, V, k)) == UNKNOWN).any(axis=1)
    taken[~kept] = counts[~kept]
    contexts, group = np.unique(keys // V, return_inverse=True)
    totals = np.bincount(group, counts)
    gammas = np.bincount(group, taken) / totals
    probs = ((counts - taken) / totals[group])[kept]
    if k == 1:
        base = np.full(V, gammas[0] / (V - 1))  # every word but the begin of a sentence
        base[keys[kept]] += probs
        base[BEGIN] = 0.0
        return Order(np.arange(V), base, np.ones(V))
    places = np.searchsorted(lower[-1].keys, keys[kept] % V ** (k - 1))
    probs += gammas[group[kept]] * lower[-1].probs[places]
    has = np.isin(contexts, lower[-1].keys, assume_unique=True)
    lower[-1].backoffs[np.searchsorted(lower[-1].keys, contexts[has])] = gammas[has]
    return Order(keys[kept], probs, np.ones(int(kept.sum())))


# --- texts ----------------------------------------------------------------------------------------


def read_sentences(folders: Sequence[Path], left_out: frozenset[str]) -> Iterator[list[str]]:
    """The lines of all texts once per file, normalised.

    Outside stay: cased copies, what is for measuring, lines with a piece that synthesis holds out,
    and lines that are among ``left_out`` or hold one that is longer than four words.
    """
    held = tuple(f" {line} " for line in sorted(left_out) if len(line.split()) > 4)
    for path in sorted(path for folder in folders for path in folder.glob("*.txt")):
        if ".raw." in path.name or "lmdev" in path.name:
            continue
        lines = dict.fromkeys(map(normalize_text, path.read_text(encoding="utf-8").splitlines()))
        for line in lines:
            padded = f" {line} "
            if not line or line in left_out or any(each in padded for each in held):
                continue
            if not any(map(is_heldout, cut(line))):
                yield line.split()


def dev_transcripts(manifest: Path) -> Iterator[str]:
    """What is said in the development clips of a manifest, normalised."""
    for row in read_manifest(manifest):
        if "/dev/" in row.path.as_posix():
            yield normalize_text(row.text)


def main(argv: Iterable[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="estimate an n-gram language model")
    parser.add_argument(
        "--texts", type=Path, nargs="+", required=True, help="folders of .txt, a line a text"
    )
    parser.add_argument(
        "--leave-out", type=Path, help="manifest whose development transcripts stay outside"
    )
    parser.add_argument("--out", type=Path, required=True, help="NAME.arpa or NAME.arpa.gz")
    parser.add_argument(
        "--cutoffs",
        type=int,
        nargs="+",
        default=[0, 0, 1, 2],
        help="per order; drop seldom n-grams",
    )
    parser.add_argument("--min-word-count", type=positive, default=2)
    arguments = parser.parse_args(None if argv is None else list(argv))
    return told("ngram", lambda: estimate(arguments), ValueError)  # as build has it


def estimate(arguments: argparse.Namespace) -> None:
    """Read the texts and write the model; TrainingError where there are none."""
    left_out = dev_transcripts(arguments.leave_out) if arguments.leave_out else ()
    sentences = list(read_sentences(arguments.texts, frozenset(left_out)))
    if not sentences:
        raise TrainingError(f"no texts in *.txt of {' '.join(map(str, arguments.texts))}")
    model = build(sentences, cutoffs=arguments.cutoffs, min_word_count=arguments.min_word_count)
    model.save(arguments.out)
    sizes = ", ".join(f"{len(order.keys)} {k}-grams" for k, order in enumerate(model.orders, 1))
    print(f"{arguments.out}: {len(sentences)} sentences, {sizes}, "
          f"{arguments.out.stat().st_size / 2**20:.1f} MiB")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
