"""Text rules that change in mid-stream: which of them are for which words.

Owns the rules of the utterance in progress, by the time from which they hold. Must not know:
events.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

from streamer.core.hypothesis import Word
from streamer.core.masking import Masks
from streamer.core.text_rules import TextRules

MAX_RULES = 64  # of one utterance


class Wordings:
    """A word is put by the rules that hold where it begins, a final written by its last word's."""

    def __init__(self, rules: TextRules) -> None:
        self._since = [-math.inf]  # seconds, for each of
        self._rules = [rules]

    def check_room(self, rules: TextRules) -> None:
        """Raise ValueError if there is no room for these rules."""
        if rules != self._rules[-1] and len(self._rules) >= MAX_RULES:
            raise ValueError(f"expected at most {MAX_RULES} changes of the text in an utterance")

    def add(self, since: float, rules: TextRules) -> None:
        """Other rules for the words that begin at `since` or later; the last ones never do."""
        if self._since[-1] == since:
            self._since.pop()
            self._rules.pop()
        if not self._rules or rules != self._rules[-1]:
            self._since.append(since)
            self._rules.append(rules)

    def forget(self, before: float) -> None:
        """No word will begin before that time again; one that does has the oldest rules left."""
        while len(self._since) > 1 and self._since[1] <= before:
            del self._since[0], self._rules[0]

    def final(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """The words of an utterance that is over, masked."""
        parts = self._parts(words)
        return tuple(word for rules, part in parts for word in rules.masks.final(part))

    def partial(
        self, committed: Sequence[Word], tail: Sequence[Word]
    ) -> tuple[Sequence[Word], Sequence[Word]]:
        """Committed words and tail of an utterance in progress, masked; see `Masks.partial`."""
        if len(self._rules) == 1:
            return self._rules[0].masks.partial(committed, tail)
        settled: list[Word] = []
        whole: list[Word] = []
        left = len(committed)
        parts = list(self._parts([*committed, *tail]))
        for index, (rules, part) in enumerate(parts):
            mine, left = part[:left], max(0, left - len(part))
            shown, upcoming = rules.masks.partial(mine, part[len(mine) :])
            is_last = index == len(parts) - 1
            all_shown = [*shown, *upcoming] if is_last else list(rules.masks.final(part))
            # Words that others follow, under other rules, wait for nothing.
            settled += all_shown if left and not is_last else shown
            whole += all_shown
        return settled, whole[len(settled) :]

    def for_words(self, words: Sequence[Word]) -> tuple[TextRules, Masks]:
        """The rules of the last of these words, of which there are some, and all their masks."""
        rules = [each for each, _ in self._parts(words)]
        words_masked = frozenset[str]().union(*(each.masks.words for each in rules))
        return rules[-1], Masks(any(each.masks.numbers for each in rules), words_masked)

    def _parts(self, words: Sequence[Word]) -> Iterator[tuple[TextRules, Sequence[Word]]]:
        if len(self._rules) == 1:
            yield self._rules[0], words
            return
        for index, part in groupby(words, self._index):
            yield self._rules[index], list(part)

    def _index(self, word: Word) -> int:
        return max(0, bisect_right(self._since, word.start) - 1)
