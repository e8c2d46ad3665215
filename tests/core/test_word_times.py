"""A model tells of words with a delay: their times are earlier by it, and nothing else changes."""

import random
from bisect import bisect_left, bisect_right
from dataclasses import replace

import numpy as np
import pytest

from streamer.core.context import SAMPLE_RATE
from streamer.core.hypothesis import Final, Keyword, Partial, SpeechStart
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions
from streamer.core.recognizer import Recognizer
from tests.core.test_streaming_is_offline import (
    Case,
    check_promises,
    offline,
    random_case,
    streamed,
    without_partials,
)
from tests.fakes import LABELS, FakeModel, SearchedModel, audio, silence, speak


def late(start_ms, end_ms):
    return replace(LABELS, word_start_delay_ms=start_ms, word_end_delay_ms=end_ms)


def untimed(events):
    """The events as they are said, their words without times."""
    told = []
    for event in events:
        if isinstance(event, SpeechStart):
            told.append(SpeechStart)
        elif isinstance(event, Partial | Final):
            words = tuple(replace(word, start=0, end=0) for word in event.words)
            told.append(replace(event, words=words, start=0, end=0))
        else:
            told.append(event)
    return told


def words_of(events):
    return [word for event in events if isinstance(event, Final) for word in event.words]


def origins(case: Case) -> list[int]:
    """Where the segments of the clock begin, in samples."""
    found, lost = [0], 0
    for at, what in case.marks:
        lost += what if isinstance(what, int) else 0
        found.append(at + lost)
    return found


@pytest.mark.parametrize("max_utterance_s", [3600.0, 0.7])
def test_only_times_change_and_all_promises_hold(max_utterance_s):
    moved = 0
    for seed in range(400):
        rng = random.Random(seed)
        case = random_case(rng, max_utterance_s)
        end_ms = rng.choice([0, 20, 130])
        labels = late(end_ms + rng.choice([0, 60, 300]), end_ms)
        plain, events = offline(case), offline(case, labels)
        assert untimed(events) == untimed(plain), seed
        check_promises(case, events)
        in_packets = streamed(rng, case, labels)
        assert without_partials(in_packets) == without_partials(events), seed
        moved += check_times(case, labels, words_of(plain), words_of(events))
    assert moved > 100


def check_times(case, labels, plain, words):
    """Each time against the one by the frames' clock; how many have the whole delay."""
    begins, moved, before = origins(case), 0, 0
    start_delay = round(labels.word_start_delay_ms * SAMPLE_RATE / 1000)
    end_delay = round(labels.word_end_delay_ms * SAMPLE_RATE / 1000)
    for by_frames, word in zip(plain, words, strict=True):
        first, last, start, end = (
            round(time * SAMPLE_RATE)
            for time in (by_frames.start, by_frames.end, word.start, word.end)
        )
        begin = begins[bisect_right(begins, first) - 1]
        assert max(begin, before, first - start_delay) <= start <= first
        if first - begin >= 2 * start_delay:
            assert start == max(before, first - start_delay)
        begin = begins[bisect_left(begins, last) - 1]
        assert max(begin, start + 1, last - end_delay) <= end <= last
        if last - begin >= 2 * end_delay:
            assert end == last - end_delay
            moved += end_delay > 0
        before = end
    return moved


def test_committed_words_have_their_times_already():
    samples = np.concatenate([silence(0.5), speak("ab cd ef gh"), silence(1.0), speak("ij kl")])
    events = Recognizer(FakeModel(labels=late(190, 130))).transcribe(samples)
    committed = []
    for event in events:
        if isinstance(event, Partial):
            assert event.words[: len(committed)] == tuple(committed)
            committed = event.words[: len(event.committed.split())]
        elif isinstance(event, Final):
            assert event.words[: len(committed)] == tuple(committed)
            committed = []
    starts = [event.time for event in events if isinstance(event, SpeechStart)]
    assert starts == [event.start for event in events if isinstance(event, Final)]
    assert starts[0] == pytest.approx(0.5 - 0.19)


def test_near_the_beginning_a_word_lies_half_way():
    """Its sound cannot lie before the first sample."""
    (word,) = words_of(Recognizer(FakeModel(labels=late(200, 100))).transcribe(speak("a", 2)))
    assert (word.start, word.end) == (0.0, 0.02)


def test_alternatives_stay_as_they_are():
    samples = np.concatenate(
        [speak("ab cd"), silence(0.5), speak("ef", 1), silence(1.0), speak("g")]
    )
    told = []
    for labels in (LABELS, late(190, 130), late(400, 400)):
        model = SearchedModel(doubt=0.4)
        model.labels = labels
        events = Recognizer(model, options=DecodingOptions(n_best=5)).transcribe(samples)
        told.append([event.alternatives for event in events if isinstance(event, Final)])
    assert [len(each) for each in told[0]] == [5, 4]
    assert told[0] == told[1] == told[2]


def test_keywords_lie_where_their_words_do():
    samples = np.concatenate([silence(0.6), speak("turn on the lamp", 3), silence(1.0)])
    model = FakeModel(labels=late(190, 130))
    events = Recognizer(model, keywords=(Phrase("lamp"),)).transcribe(samples)
    (spotted,) = (event for event in events if isinstance(event, Keyword))
    word = words_of(events)[-1]
    assert (word.word, word.end) == ("lamp", spotted.end)
    assert word.start == pytest.approx(spotted.start, abs=0.06)  # the word before may end behind it


@pytest.mark.parametrize(("start_ms", "end_ms"), [(100, 130), (0, -1), (float("nan"), 0)])
def test_impossible_delays_are_refused(start_ms, end_ms):
    with pytest.raises(ValueError, match="word_start_delay_ms >= word_end_delay_ms >= 0"):
        late(start_ms, end_ms)


def test_a_word_that_a_gap_divides_lies_on_both_sides_of_it():
    recognizer = Recognizer(FakeModel(labels=late(190, 130)))
    recognizer.stream.accept_waveform(np.concatenate([silence(0.6), audio([2, 2])]))
    recognizer.stream.report_gap(1_600)
    recognizer.stream.accept_waveform(audio([3, 3]))
    recognizer.stream.input_finished()
    (word,) = words_of(recognizer.decode())
    assert (word.word, word.start) == ("ab", pytest.approx(0.6 - 0.19))
    assert word.end == pytest.approx(0.6 + 0.04 + 0.1 + 0.02)
