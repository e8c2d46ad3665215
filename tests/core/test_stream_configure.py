"""Masks, written form and keywords that change in mid-stream: from their sample on, exactly."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core.context import Context
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.hypothesis import Final, Keyword, Partial, Word
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions
from streamer.core.recognizer import Recognizer
from streamer.core.text_rules import SPOKEN, TextRules
from streamer.core.wordings import MAX_RULES, Wordings
from streamer.text.written import written
from tests.fakes import FakeModel, SearchedModel, silence, speak

REDACTED = TextRules(redact_numbers=True, writer=written)
WRITTEN = TextRules(written=True, writer=written)
DARN = TextRules(mask_profanity=True, profanity=frozenset({"darn"}))
PHRASES = (Phrase("lamp"), Phrase("turn on"))
CONTEXTS = [Context(0, 1, 0), Context(0, 16, 0), Context(3, 5, 4)]


def configured(changes, model=None, rules=DEFAULT_RULES):
    """What is said of parts of audio, each behind a change of text and keywords, or None."""
    recognizer = Recognizer(model or FakeModel(), rules)
    events = []
    for change, samples in changes:
        if change is not None:
            text, keywords = change
            at = recognizer.stream.configure(rules, text=text, keywords=keywords)
            assert at == recognizer.stream.received_samples
        recognizer.stream.accept_waveform(samples)
        events += recognizer.decode()
    recognizer.stream.input_finished()
    return events + recognizer.decode()


def finals(events):
    return [e for e in events if isinstance(e, Final)]


def test_masks_hold_for_the_words_behind_their_sample():
    said = speak("room five one ")
    events = configured([(None, said), ((REDACTED, None), said), ((SPOKEN, None), said)])
    (final,) = finals(events)
    assert final.text == "room five one room [number] room five one"


def test_what_sounds_like_a_number_is_masked_by_the_rules_of_its_own_word():
    events = configured([(None, speak("for ")), ((REDACTED, None), speak("five for "))])
    assert [final.text for final in finals(events)] == ["for [number]"]


def test_a_final_is_written_if_its_last_word_is_behind_the_change():
    one = np.concatenate([speak("at five thirty"), silence(1.5)])
    events = configured([(None, one), ((WRITTEN, None), one), ((SPOKEN, None), one)])
    assert [final.display for final in finals(events)] == [None, "At 5:30", None]
    events = configured([(None, speak("at five ")), ((WRITTEN, None), speak("thirty"))])
    assert [final.display for final in finals(events)] == ["At 5:30"]


def test_keywords_hold_from_their_sample():
    said = np.concatenate([speak("turn on the lamp"), silence(0.4)])
    events = configured([(None, said), ((None, PHRASES), said), ((None, ()), said)])
    spotted = [e for e in events if isinstance(e, Keyword)]
    assert [e.keyword for e in spotted] == ["turn on", "lamp"]
    begin_s = len(said) / 16_000
    assert all(begin_s <= e.start < e.end <= 2 * begin_s for e in spotted)


def test_keywords_that_stay_are_not_checked_again(monkeypatch):
    stream = Recognizer(FakeModel()).stream
    stream.configure(DEFAULT_RULES, keywords=PHRASES)
    monkeypatch.setattr("streamer.core.stream.check_keywords", lambda *_: 1 / 0)
    stream.configure(EndpointRules(silence_s=0.3), keywords=tuple(PHRASES))
    with pytest.raises(ZeroDivisionError):
        stream.configure(DEFAULT_RULES, keywords=PHRASES[:1])


def test_a_phrase_that_began_before_the_change_is_not_heard():
    events = configured([(None, speak("turn ")), ((None, PHRASES), speak("on "))])
    assert not [e for e in events if isinstance(e, Keyword)]
    kept = configured([((None, PHRASES), speak("turn ")), ((None, PHRASES), speak("on "))])
    assert [e.keyword for e in kept if isinstance(e, Keyword)] == ["turn on"]


def test_what_cannot_be_is_refused_and_changes_nothing():
    recognizer = Recognizer(FakeModel(), text=SPOKEN, keywords=[Phrase("route five")])
    stream = recognizer.stream
    for text, keywords in ((REDACTED, None), (REDACTED, [Phrase("two")]), (None, [Phrase("é")])):
        with pytest.raises(ValueError, match=r"expected keywords without|cannot spell"):
            stream.configure(DEFAULT_RULES, text=text, keywords=keywords)
    stream.accept_waveform(speak("route five "))
    stream.input_finished()
    events = recognizer.decode()
    assert [e.keyword for e in events if isinstance(e, Keyword)] == ["route five"]
    assert [final.text for final in finals(events)] == ["route five"]


def test_a_word_from_before_all_rules_that_are_left_has_the_oldest_of_them():
    """Words are aligned when they are settled, and may be found to begin much sooner."""
    wordings = Wordings(SPOKEN)
    wordings.add(5.0, REDACTED)
    wordings.forget(6.0)
    wordings.add(7.0, SPOKEN)
    words = [Word("five", start, start + 0.5, 1.0) for start in (4.0, 6.5, 8.0)]
    assert [word.word for word in wordings.final(words)] == ["[number]", "five"]


def test_rules_that_keep_changing_within_an_utterance_come_to_an_end():
    recognizer = Recognizer(FakeModel(Context(0, 1, 0)), EndpointRules(max_utterance_s=60))
    for index in range(MAX_RULES - 1):
        recognizer.stream.accept_waveform(speak("a ", 1, 0))
        recognizer.decode()
        recognizer.stream.configure(DEFAULT_RULES, text=(REDACTED, SPOKEN)[index % 2])
    recognizer.stream.accept_waveform(speak("a"))
    with pytest.raises(ValueError, match="at most 64 changes of the text"):
        recognizer.stream.configure(DEFAULT_RULES, text=DARN)
    recognizer.stream.configure(DEFAULT_RULES, DecodingOptions())  # the text stays as it is
    recognizer.stream.accept_waveform(silence(4.0))
    recognizer.decode()
    recognizer.stream.configure(DEFAULT_RULES, text=DARN)


TEXTS = (SPOKEN, REDACTED, WRITTEN, DARN)
SAID = ["the", "darn", "five", "to", "lamp", "turn", "on", "for", "two", "computer"]


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_packets_and_decoding_so_far_change_nothing(context, searched, seed):
    """Changes anywhere, decoded early or late, in any packets; and committed text only grows."""
    rng = random.Random(seed)
    words = " ".join(rng.choice(SAID) for _ in range(12))
    samples = np.concatenate([speak(words, 1, 1), silence(1.5), speak(words, 1, 1)])
    cuts = sorted(rng.sample(range(len(samples)), 4))
    changes = [(rng.choice(TEXTS), rng.choice([(), PHRASES, PHRASES[1:]])) for _ in cuts]

    def heard(*, lazy, packets):
        sizes, events = random.Random(packets), []
        model = SearchedModel(context) if searched else FakeModel(context)
        recognizer = Recognizer(model)
        for part, change in zip(np.split(samples, cuts), [*changes, None], strict=True):
            begin = 0
            while begin < len(part):
                end = begin + sizes.randint(1, 9000)
                recognizer.stream.accept_waveform(part[begin:end])
                begin = end
                events += [] if lazy else recognizer.decode()
            if change is not None:
                recognizer.stream.configure(DEFAULT_RULES, text=change[0], keywords=change[1])
        recognizer.stream.input_finished()
        return events + recognizer.decode()

    each = [heard(lazy=lazy, packets=i) for lazy in (False, True) for i in range(2)]
    one, *others = [[e for e in events if isinstance(e, Final | Keyword)] for events in each]
    assert others == [one] * 3
    for events in each:
        assert_committed_grows(events)


def assert_committed_grows(events):
    committed = ""
    for event in events:
        if isinstance(event, Partial):
            assert event.committed.startswith(committed)
            committed = event.committed
        elif isinstance(event, Final):
            assert event.text.startswith(committed)
            committed = ""


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_no_event_holds_a_number_that_begins_behind_the_sample(seed):
    rng = random.Random(seed)
    before = " ".join(rng.choice(["the", "to", "for", "lamp"]) for _ in range(rng.randint(0, 4)))
    behind = " ".join(rng.choice(["five", "two", "to", "the"]) for _ in range(5))
    model = FakeModel(Context(0, rng.randint(1, 20), rng.choice([0, 4])))
    parts = [(None, speak(f"{before} ", 1, 1)), ((REDACTED, None), speak(behind, 1, 1))]
    events = configured(parts, model)
    assert_committed_grows(events)
    for event in events:
        if isinstance(event, Partial | Final):
            shown = " ".join(word.word for word in event.words)
            assert not re.search(r"\b(fi|fiv|five|tw|two)\b", shown), shown
