"""Which words streams are told to expect, and how their recall is counted."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from streamer.config import ConfigError
from streamer.core.options import MAX_HOTWORDS
from streamer.evaluation import hotwords, measures
from streamer.evaluation.experiment import Item
from streamer.evaluation.manifest import Recording
from streamer.evaluation.measures import Hits
from streamer.evaluation.normalization import basic

COMMON = [f"c{'ommon'[: 1 + i % 5]}{i}" for i in range(hotwords.COMMON_WORDS)]
RARE = [f"rare{i}" for i in range(3000)]
RANKED = [*COMMON, *RARE]


def item(name, words):
    return Item(Recording(name, Path(), " ".join(words), "", ""), 1.0, tuple(words))


def made_up(seed):
    """Items that say common words, rare ones, unknown ones and short ones."""
    draw = random.Random(seed)
    said = [*COMMON[:200], *RARE[:400], *(f"unknown{i}" for i in range(100)), "odd", "zyx"]
    return [item(f"i{i}", draw.choices(said, k=draw.randint(0, 12))) for i in range(60)]


def rare_of(words):
    return {word for word in words if len(word) >= 4 and word not in COMMON}


@pytest.mark.parametrize("seed", range(5))
def test_every_list_has_the_rare_words_of_its_items_and_as_many_that_nobody_says(seed):
    items = made_up(seed)
    found = hotwords.rare(items, RANKED)
    assert [replace(each, hotwords=frozenset()) for each in found] == items
    said = {word for each in items for word in each.reference}
    lists = {each.hotwords: set() for each in found}
    for each in found:
        assert rare_of(each.reference) <= each.hotwords
        lists[each.hotwords] |= rare_of(each.reference)
    assert len(lists) > 1, "lists are shared, and there are several"
    for words, own in lists.items():
        assert len(words) == MAX_HOTWORDS
        assert len(own) <= hotwords.MAX_SAID
        assert words - said <= set(RARE)
        assert words & said == own, "nothing of other parts"


def test_the_lists_depend_on_nothing_but_the_items():
    items = made_up(1)
    found = {each.recording.id: each.hotwords for each in hotwords.rare(items, RANKED)}
    backwards = hotwords.rare(items[::-1], RANKED)
    assert {each.recording.id: each.hotwords for each in backwards} == found


def test_a_list_is_never_too_long():
    (found,) = hotwords.rare([item("i", RARE[:300])], RANKED)
    assert len(found.hotwords) == MAX_HOTWORDS
    assert len(found.hotwords & set(RARE[:300])) == hotwords.MAX_SAID
    (found,) = hotwords.rare([item("i", ["rare1"])], [*COMMON, "rare1", "other"])
    assert found.hotwords == {"rare1", "other"}


def test_a_files_lines_are_expected_of_every_item(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Kitchen lamp\n\nthermostat\n")
    found = hotwords.from_file([item("a", ["hi"]), item("b", [])], path, basic)
    assert [each.hotwords for each in found] == [{"kitchen", "lamp", "thermostat"}] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"12\n", "expected 1 to 100 words, got 0"),
        ("\n".join("abcdefghij"[i // 10] + "abcdefghij"[i % 10] for i in range(100)).encode()
         + b"\nmore", "got 101"),
        (b"a" * 65, "up to 64 characters"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_a_list_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        hotwords.from_file([item("a", ["hi"])], path, basic)


@pytest.mark.parametrize(
    ("heard", "expected", "recall", "precision"),
    [
        ("turn on the thermostat", Hits(1, 1, 1), 1.0, 1.0),
        ("turn on a thermal stat", Hits(1, 0, 0), 0.0, None),
        ("thermostat on the thermostat zebra", Hits(1, 3, 1), 1.0, 1 / 3),
        ("", Hits(1, 0, 0), 0.0, None),
    ],
)
def test_hits_are_counted_where_words_are_right(heard, expected, recall, precision):
    reference, words = ["turn", "on", "the", "thermostat"], heard.split()
    (chunks,) = measures.compare_words([" ".join(reference)], [heard])
    right = {place for _, place in measures.matches(chunks)}
    found = measures.hits({"thermostat", "zebra"}, reference, words, right)
    assert (found, found.recall, found.precision) == (expected, recall, precision)
    assert found + Hits(2, 1, 0) == Hits(found.said + 2, found.heard + 1, found.right)
    assert measures.hits({"zebra"}, (), ("a", "zebra"), ()) == Hits(0, 1, 0)
    assert Hits().recall is None
