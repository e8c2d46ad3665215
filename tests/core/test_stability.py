"""What is shown of the tail, under each stability: promises hold, finals are the same."""

import random

import numpy as np
import pytest

from streamer.core.context import Context
from streamer.core.endpoint import DEFAULT_RULES
from streamer.core.hypothesis import Final, Partial, SpeechStart
from streamer.core.options import DecodingOptions
from streamer.core.recognizer import Recognizer
from tests.fakes import FakeModel, SearchedModel, silence, speak

LEVELS = ("low", "medium", "high")
CONTEXTS = [Context(0, 1, 0), Context(0, 8, 0), Context(3, 5, 4)]


def events(level, context, seed, packets):
    """A stream in doubt, in random packets; the level changes on the way where it is None."""
    rng, sizes = random.Random(seed), random.Random(packets)
    samples = np.concatenate(
        [speak("turn on the lamp now"), silence(1.0), speak("it's too bright")]
    )
    options = DecodingOptions(stability=level or "low")
    recognizer = Recognizer(SearchedModel(context, doubt=0.45), options=options)
    said, begin = [], 0
    while begin < len(samples):
        end = begin + sizes.randint(1, 6000)
        recognizer.stream.accept_waveform(samples[begin:end])
        said += recognizer.decode()
        begin = end
        if level is None:
            recognizer.stream.configure(
                DEFAULT_RULES, DecodingOptions(stability=rng.choice(LEVELS))
            )
    recognizer.stream.input_finished()
    return said + recognizer.decode()


def taken_back(said):
    """Words that were shown and then replaced or removed."""
    count, before = 0, []
    for event in said:
        if isinstance(event, Partial | Final):
            is_final = isinstance(event, Final)
            now = (event.text if is_final else f"{event.committed} {event.tail}").split()
            count += sum(1 for i, word in enumerate(before) if now[i : i + 1] != [word])
            before = [] if is_final else now
    return count


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("level", [*LEVELS, None])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_committed_is_taken_back(level, context, seed):
    committed, revision, speaking = "", 0, False
    for event in events(level, context, seed, packets=seed):
        if isinstance(event, SpeechStart):
            speaking = True
        elif isinstance(event, Partial):
            assert speaking
            assert event.committed.startswith(committed)
            assert event.revision > revision
            assert not (level == "high" and event.tail)
            assert (
                " ".join(w.word for w in event.words) == f"{event.committed} {event.tail}".strip()
            )
            committed, revision = event.committed, event.revision
        elif isinstance(event, Final):
            assert event.text.startswith(committed)
            committed, speaking = "", False


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_finals_are_the_same_and_each_level_flickers_less(context):
    said = {level: events(level, context, 0, packets=level) for level in LEVELS}
    finals = [[e for e in said[level] if isinstance(e, Final)] for level in LEVELS]
    assert finals[0] == finals[1] == finals[2]
    low, medium, high = (taken_back(said[level]) for level in LEVELS)
    assert low >= medium >= high == 0
    assert low > high


def test_medium_shows_a_word_when_two_hypotheses_agree():
    options = DecodingOptions(stability="medium")
    recognizer = Recognizer(FakeModel(Context(0, 4, 0)), options=options)
    shown = []
    for part in np.split(speak("abc", 2, 0), [640, 1280]):
        recognizer.stream.accept_waveform(part)
        shown += recognizer.decode()
    recognizer.stream.accept_waveform(silence(0.16))
    shown += recognizer.decode()
    assert [(e.committed, e.tail) for e in shown if isinstance(e, Partial)] == [("", "abc")]
