"""Caption files: every word once, lines that fit, times that only go forward."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from streamer.captions import LINE_LENGTH, LINES, CaptionWriter, cues
from streamer.messages import Final, Word

texts = st.text("abcdefghij'é", min_size=1, max_size=30)


def final(words: list[str], start: float = 0.0, pace: float = 0.3) -> Final:
    timed = tuple(
        Word(word, start + i * pace, start + (i + 1) * pace, 1.0) for i, word in enumerate(words)
    )
    end = start + len(words) * pace
    return Final(0, " ".join(words), timed, start, end, 1.0, "endpoint")


@given(st.lists(texts, max_size=60))
def test_every_word_is_in_one_cue_and_every_line_fits(words: list[str]) -> None:
    made = list(cues(final(words)))
    assert " ".join(line for cue in made for line in cue.lines).split() == words
    for cue in made:
        assert 1 <= len(cue.lines) <= LINES
        assert all(0 < len(line) <= LINE_LENGTH for line in cue.lines)


@given(st.lists(texts, min_size=1, max_size=60), st.floats(0, 100_000))
def test_cues_follow_one_another_at_word_times(words: list[str], start: float) -> None:
    said = final(words, start)
    made = list(cues(said))
    assert made[0].start_ms == round(said.words[0].start * 1000)
    assert made[-1].end_ms == round(said.words[-1].end * 1000)
    for earlier, later in itertools.pairwise(made):
        assert earlier.start_ms < earlier.end_ms <= later.start_ms


def test_srt() -> None:
    writer = CaptionWriter("srt")
    text = (
        writer.header()
        + writer.add(final(["turn", "on"], 0.42))
        + writer.add(final(["so"], 3661.0))
    )
    assert text == (
        "1\n00:00:00,420 --> 00:00:01,020\nturn on\n\n2\n01:01:01,000 --> 01:01:01,300\nso\n\n"
    )


def test_vtt() -> None:
    writer = CaptionWriter("vtt")
    text = writer.header() + writer.add(final(["<unk>", "&", "-->"], 1.0))
    assert text == ("WEBVTT\n\n00:00:01.000 --> 00:00:01.900\n&lt;unk&gt; &amp; --&gt;\n\n")


def test_srt_text_cannot_pass_for_tags_or_times() -> None:
    text = CaptionWriter("srt").add(final(["<b>", "-->"]))
    assert len(re.findall("-->", text)) == 1
    assert "<" not in text


def test_a_word_longer_than_a_cue_is_cut() -> None:
    (first, second, third) = cues(final(["x" * 200]))
    assert [len(line) for line in (*first.lines, *second.lines, *third.lines)] == [42] * 4 + [32]
    text = CaptionWriter("vtt").add(final(["x" * 200]))
    starts = re.findall(r"([\d:.]+) -->", text)
    ends = re.findall(r"--> ([\d:.]+)", text)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert all(start < end for start, end in zip(starts, ends, strict=True))


def test_nothing_said_gives_no_cue() -> None:
    assert CaptionWriter("srt").add(final([])) == ""
