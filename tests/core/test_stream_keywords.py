"""Keywords in a stream: beside the decoding, in audio time, whatever the packets and the modes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.core.context import Context
from streamer.core.hypothesis import Closed, Final, Gap, Keyword
from streamer.core.keywords import Phrase
from streamer.core.recognizer import Recognizer
from streamer.core.text_rules import TextRules
from tests.fakes import FakeModel, SearchedModel, audio, silence, speak

PHRASES = (Phrase("computer"), Phrase("turn on"), Phrase("lamp", 0.9))
TALK = np.concatenate(
    [speak("turn on the lamp", 1, 1), silence(1.0), speak("my computer is on", 1, 1), silence(0.4)]
)


def hear(model, samples, keywords=PHRASES):
    return Recognizer(model, keywords=keywords).transcribe(samples)


def test_keywords_are_told_with_their_times():
    events = hear(FakeModel(), TALK)
    assert [e.keyword for e in events if isinstance(e, Keyword)] == ["turn on", "lamp", "computer"]
    words = [word for e in events if isinstance(e, Final) for word in e.words]
    spotted = {e.keyword: e for e in events if isinstance(e, Keyword)}
    assert spotted["turn on"].start == words[0].start
    assert spotted["turn on"].end == pytest.approx(words[1].end)
    assert (spotted["lamp"].start, spotted["lamp"].score) == (words[3].start, 1.0)


@pytest.mark.parametrize("model", [FakeModel(), SearchedModel(), SearchedModel(doubt=0.2)])
def test_the_other_events_are_the_same_without_keywords(model):
    with_keywords = [e for e in hear(model, TALK) if not isinstance(e, Keyword)]
    assert with_keywords == hear(model, TALK, keywords=())


def test_beam_search_spots_what_greedy_decoding_does():
    greedy = [e for e in hear(FakeModel(), TALK) if isinstance(e, Keyword)]
    beams = [e for e in hear(SearchedModel(), TALK) if isinstance(e, Keyword)]
    assert greedy == beams


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.lists(st.integers(0, len(TALK)), max_size=6))
def test_neither_chunks_nor_packets_change_what_is_spotted(chunk, cuts):
    model = FakeModel(Context(0, chunk, 0))
    recognizer = Recognizer(model, keywords=PHRASES)
    events = []
    for packet in np.split(TALK, sorted(cuts)):
        recognizer.stream.accept_waveform(packet)
        events += recognizer.decode()
    recognizer.stream.input_finished()
    events += recognizer.decode()
    assert [e for e in events if isinstance(e, Keyword)] == [
        e for e in hear(FakeModel(), TALK) if isinstance(e, Keyword)
    ]


def test_the_end_of_the_audio_ends_a_keyword():
    events = hear(FakeModel(), speak("the computer"))
    assert isinstance(events[-1], Closed)
    assert [e.keyword for e in events if isinstance(e, Keyword)] == ["computer"]


def test_a_flush_and_a_gap_end_a_keyword_and_its_times_go_on():
    recognizer = Recognizer(FakeModel(), keywords=PHRASES)
    for _ in range(2):
        recognizer.stream.accept_waveform(speak("lamp"))
        recognizer.stream.flush("x")
    recognizer.stream.report_gap(16_000)
    recognizer.stream.accept_waveform(speak("lamp"))
    recognizer.stream.input_finished()
    events = recognizer.decode()
    (gap,) = (e for e in events if isinstance(e, Gap))
    spoken_s = len(speak("lamp")) / 16_000
    assert [round(e.start, 3) for e in events if isinstance(e, Keyword)] == [
        0.0,
        round(spoken_s, 3),
        round(gap.start + gap.duration, 3),
    ]


def test_a_word_that_was_misheard_is_spotted_where_its_letters_were_likely():
    model = SearchedModel(doubt=0.4)
    said, meant = "lamp", "mbnq"  # each letter is also heard as the one behind it
    spotted = [
        e for e in hear(model, speak(said, 1, 1), [Phrase(meant, 0.5)]) if isinstance(e, Keyword)
    ]
    assert [e.keyword for e in spotted] == [meant]
    assert spotted[0].score == pytest.approx(0.4 / 0.599, abs=0.01)
    assert not [
        e for e in hear(model, speak(said, 1, 1), [Phrase(meant, 0.7)]) if isinstance(e, Keyword)
    ]


def test_a_keyword_that_the_model_cannot_spell_is_refused():
    with pytest.raises(ValueError, match="cannot spell 'é'"):
        hear(FakeModel(), audio([]), [Phrase("café")])


def test_a_keyword_that_is_redacted_is_refused():
    text = TextRules(redact_numbers=True)
    with pytest.raises(ValueError, match="without numbers"):
        Recognizer(FakeModel(), text=text, keywords=[Phrase("route five")])
    Recognizer(FakeModel(), text=text, keywords=PHRASES)
