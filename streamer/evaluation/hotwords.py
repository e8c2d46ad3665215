"""Which words the streams of an evaluation are told to expect.

Owns a file's list, and the choice of rare words and of distractors. Must not know: how words are
scored, where the ranks of words come from.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamer.config import ConfigError
from streamer.core.options import MAX_HOTWORD_LENGTH, MAX_HOTWORDS
from streamer.evaluation.experiment import Item
from streamer.evaluation.normalization import Normalize

COMMON_WORDS = 5000  # of the language model: all others are rare
MIN_LETTERS = 4  # of a rare word
MAX_SAID = MAX_HOTWORDS // 2  # words of a list that are said; the others are distractors
SEED = 1


def from_file(items: Sequence[Item], path: Path, normalize: Normalize) -> list[Item]:
    """Every item with the words of a file, in which each line is a word or a phrase."""
    try:
        words = frozenset(normalize(path.read_text(encoding="utf-8-sig")).split())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8") from error
    if not 0 < len(words) <= MAX_HOTWORDS:
        raise ConfigError(f"{path}: expected 1 to {MAX_HOTWORDS} words, got {len(words)}")
    longest = max(words, key=len)
    if len(longest) > MAX_HOTWORD_LENGTH:
        raise ConfigError(f"{path}: expected words up to {MAX_HOTWORD_LENGTH} characters")
    return [replace(item, hotwords=words) for item in items]


def rare(items: Sequence[Item], ranked: Sequence[str]) -> list[Item]:
    """Every item with a list of rare words, half of them distractors; the order is kept.

    `ranked` are a language model's words, the most frequent first. Rare are words of MIN_LETTERS
    and more that are not among the first COMMON_WORDS. The items are shuffled and parted so that
    in each part about MAX_SAID different rare words are said: these, and rare words of the
    language model that nobody says, are the list of all its items.
    """
    common, draw = frozenset(ranked[:COMMON_WORDS]), random.Random(SEED)  # noqa: S311

    def rare_of(words: Sequence[str]) -> set[str]:
        return {
            word
            for word in words
            if MIN_LETTERS <= len(word) <= MAX_HOTWORD_LENGTH and word not in common
        }

    said = {word for item in items for word in item.reference}
    unsaid = sorted(rare_of(ranked[COMMON_WORDS:]) - said)
    lists: dict[str, frozenset[str]] = {}
    for part in _parts(items, {item.recording.id: rare_of(item.reference) for item in items}, draw):
        words = {word for ids in part.values() for word in ids}
        chosen = draw.sample(sorted(words), min(MAX_SAID, len(words)))
        others = draw.sample(unsaid, min(MAX_HOTWORDS - len(chosen), len(unsaid)))
        lists |= dict.fromkeys(part, frozenset((*chosen, *others)))
    return [replace(item, hotwords=lists[item.recording.id]) for item in items]


def _parts(
    items: Sequence[Item], rare_words: dict[str, set[str]], draw: random.Random
) -> list[dict[str, set[str]]]:
    """The items' ids with their rare words, shuffled, in parts of at most MAX_SAID such words."""
    ids = sorted(item.recording.id for item in items)
    draw.shuffle(ids)
    parts: list[dict[str, set[str]]] = [{}]
    heard: set[str] = set()
    for id_ in ids:
        heard |= rare_words[id_]
        if len(heard) > MAX_SAID and parts[-1]:
            parts.append({})
            heard = set(rare_words[id_])
        parts[-1][id_] = rare_words[id_]
    return parts
