"""Captions: every word once, lines that fit and can be read, times that only go forward."""

import itertools
import random
import re
from dataclasses import replace

import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.captions import (
    CHARACTERS_PER_S,
    HOLD_MS,
    LINE_LENGTH,
    LINES,
    MAX_CUE_MS,
    PAUSE_MS,
    CaptionWriter,
    cues,
)
from streamer.messages import Final, Word, decode_server

texts = st.text("abcdefghij'é", min_size=1, max_size=30)
seeds = st.integers(0, 1000)


def final(words: list[str], start: float = 0.0, pace: float = 0.3, reason: str = "endpoint"):
    return spoken(words, [(pace, 0.0)] * len(words), start, reason)


def paces(seed: int) -> list[tuple[float, float]]:
    """Seconds of 60 words, and of the pauses behind them."""
    chance = random.Random(seed)
    return [(chance.uniform(0.05, 2.0), chance.choice([0.0, 0.1, 3.0])) for _ in range(60)]


def spoken(
    words: list[str],
    lengths: list[tuple[float, float]],
    start: float = 0.0,
    reason: str = "endpoint",
) -> Final:
    """Words of so many seconds, each with a pause behind it."""
    timed, at = [], start
    for word, (length, pause) in zip(words, lengths, strict=False):
        timed.append(Word(word, at, at + length, 1.0))
        at += length + pause
    end = timed[-1].end if timed else start
    return Final(0, " ".join(words), tuple(timed), start, end, 1.0, reason)


@settings(max_examples=40)
@given(st.lists(texts, max_size=60), seeds)
def test_every_word_is_in_one_cue_and_every_line_fits(words, seed: int) -> None:
    made = list(cues(spoken(words, paces(seed))))
    assert " ".join(line for cue in made for line in cue.lines).split() == words
    for cue in made:
        assert 1 <= len(cue.lines) <= LINES
        assert all(0 < len(line) <= LINE_LENGTH for line in cue.lines)


@settings(max_examples=40)
@given(st.lists(texts, min_size=1, max_size=60), seeds, st.floats(0, 100_000))
def test_cues_follow_one_another_at_word_times(words, seed: int, start: float) -> None:
    said = spoken(words, paces(seed), start)
    made = list(cues(said))
    starts = {round(word.start * 1000): word for word in said.words}
    assert made[0].start_ms == round(said.words[0].start * 1000)
    assert 0 <= made[-1].end_ms - round(said.words[-1].end * 1000) <= HOLD_MS
    for earlier, later in itertools.pairwise(made):
        assert earlier.start_ms < earlier.end_ms <= later.start_ms
        assert later.start_ms in starts


@settings(max_examples=40)
@given(st.lists(texts, min_size=1, max_size=60), seeds)
def test_a_cue_stays_until_it_is_read_or_the_next_one_comes(words, seed: int) -> None:
    made = list(cues(spoken(words, paces(seed), reason="end")))
    ends = [cue.start_ms for cue in made[1:]] + [made[-1].end_ms]
    for cue, end_ms in zip(made, ends, strict=True):
        characters = sum(map(len, cue.lines))
        reading_ms = max(1000, characters * 1000 // CHARACTERS_PER_S)
        assert cue.end_ms - cue.start_ms >= reading_ms or cue.end_ms == end_ms


@settings(max_examples=40)
@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=60), seeds)
def test_no_cue_is_longer_than_it_should_be_or_spans_a_pause(words, seed: int) -> None:
    said = spoken(words, paces(seed))
    beginnings = {cue.start_ms for cue in cues(said)}
    for before, word in itertools.pairwise(said.words):
        if round(word.start * 1000) - round(before.end * 1000) >= PAUSE_MS:
            assert round(word.start * 1000) in beginnings
    edges = [*sorted(beginnings), 10**9]
    for start_ms, next_ms in itertools.pairwise(edges):
        words_of = [w for w in said.words if start_ms <= round(w.start * 1000) < next_ms]
        assert round(words_of[-1].end * 1000) - start_ms <= MAX_CUE_MS


def test_cues_and_lines_are_of_even_length() -> None:
    words = ["abcdefg"] * 12  # 95 characters: two cues, not one of 10 words and an orphan of two
    first, second = cues(final(words, pace=0.2))
    assert [len(cue.lines) for cue in (first, second)] == [2, 2]
    assert {len(line) for cue in (first, second) for line in cue.lines} == {23}


def test_srt() -> None:
    writer = CaptionWriter("srt")
    text = (
        writer.header()
        + writer.add(final(["turn", "on"], 0.42))
        + writer.add(final(["so"], 3661.0, reason="length"))
    )
    assert text == (
        "1\n00:00:00,420 --> 00:00:01,420\nturn on\n\n2\n01:01:01,000 --> 01:01:01,300\nso\n\n"
    )


def test_vtt() -> None:
    writer = CaptionWriter("vtt")
    text = writer.header() + writer.add(final(["<unk>", "&", "-->"], 1.0))
    assert text == ("WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n&lt;unk&gt; &amp; --&gt;\n\n")


def test_text_and_json_lines() -> None:
    said = [final(["turn", "on"]), final([]), final(["so"], 3.0)]
    text = "".join(map(CaptionWriter("txt").add, said))
    assert text == "turn on\nso\n"
    lines = "".join(map(CaptionWriter("jsonl").add, said)).splitlines()
    assert [decode_server(line).text for line in lines] == ["turn on", "", "so"]


def said_in(channel: int, start: float, *texts: str, pace: float = 0.5) -> Final:
    return replace(final(list(texts), start, pace), channel=channel)


def test_channels_are_told_apart_and_in_order() -> None:
    """The one talks for long, the other says a word in between, which is final before."""
    long = said_in(0, 1.0, *["abcdefgh"] * 12)
    finals = [said_in(1, 4.0, "<yes>"), long, said_in(1, 60.0, "so")]
    for kind, shown in (("srt", "Channel 2: ‹yes›"), ("vtt", "<v Channel 2>&lt;yes&gt;")):
        writer = CaptionWriter(kind)
        growing = [writer.header(), *map(writer.add, finals)]
        whole = "".join([*growing, *writer.rest()])
        assert [shown in "".join(growing[:count]) for count in (3, 4)] == [False, True]
        read = list(srt.parse(whole) if kind == "srt" else webvtt.from_string(whole))
        starts = [each.start for each in read]
        assert starts == sorted(starts)
        assert len(starts) == 4
        assert whole.index(shown) > whole.index("abc")
        assert "so" in whole
    text = CaptionWriter("txt")
    lines = "".join([*map(text.add, finals), *text.rest()]).splitlines()
    assert lines == [f"Channel 1: {long.text}", "Channel 2: <yes>", "Channel 2: so"]


@settings(max_examples=40)
@given(st.lists(texts, min_size=1, max_size=60), seeds)
def test_the_first_line_has_room_for_the_channel(words, seed: int) -> None:
    made = list(cues(spoken(words, paces(seed)), len("Channel 2: ")))
    assert " ".join(line for cue in made for line in cue.lines).split() == words
    for cue in made:
        first, *others = cue.lines
        assert len("Channel 2: " + first) <= LINE_LENGTH
        assert all(len(line) <= LINE_LENGTH for line in others)


def test_srt_text_cannot_pass_for_tags_or_times() -> None:
    text = CaptionWriter("srt").add(final(["<b>", "-->", "\n\n9\n"]))
    assert len(re.findall("-->", text)) == 1
    assert "<" not in text
    assert len(list(srt.parse(text))) == 1


def test_a_word_longer_than_a_cue_is_cut() -> None:
    (first, second, third) = cues(final(["x" * 200], pace=3.0))
    assert "".join((*first.lines, *second.lines, *third.lines)) == "x" * 200
    text = "WEBVTT\n\n" + CaptionWriter("vtt").add(final(["x" * 200]))
    captions = list(webvtt.from_string(text))
    assert [len(caption.text.replace("\n", "")) for caption in captions] == [84, 84, 32]
    for caption, later in itertools.pairwise(captions):
        assert caption.start_in_seconds <= caption.end_in_seconds <= later.start_in_seconds


def test_nothing_said_gives_no_cue() -> None:
    assert CaptionWriter("srt").add(final([])) == ""
