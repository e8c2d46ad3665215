"""Text rules in a stream: written finals, masks in every event, and the promises of partials."""

import dataclasses
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer import messages
from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final, Partial
from streamer.core.recognizer import Recognizer
from streamer.core.text_rules import TextRules
from streamer.text.written import written
from tests.fakes import FakeModel, SearchedModel, speak

WRITTEN = TextRules(written=True, writer=written)
REDACTED = TextRules(written=True, redact_numbers=True, writer=written)
DARN = TextRules(mask_profanity=True, profanity=frozenset({"darn"}))


def transcribe(text, rules, model=None, endpoint=EndpointRules()):  # noqa: B008
    return Recognizer(model or FakeModel(), endpoint, rules).transcribe(speak(text, 1, 1))


def final_of(events) -> Final:
    (final,) = (e for e in events if isinstance(e, Final))
    return final


def test_finals_carry_their_written_form_beside_the_spoken_one():
    final = final_of(transcribe("wake me at five thirty p m", WRITTEN))
    assert final.text == "wake me at five thirty p m"
    assert (final.display, final.shown) == ("Wake me at 5:30 p.m.",) * 2
    assert " ".join(word.word for word in final.shown_words) == final.display
    assert final.shown_words[-1].end == final.words[-1].end


def test_text_is_spoken_unless_asked_otherwise():
    final = final_of(transcribe("room five", TextRules()))
    assert (final.display, final.display_words) == (None, None)
    assert (final.shown, final.shown_words) == ("room five", final.words)
    assert "display" not in messages.encode(final)


def test_what_was_cut_for_its_length_goes_on_without_a_capital():
    rules = EndpointRules(max_utterance_s=1.0)
    finals = [
        e
        for e in transcribe("so it went on and on and on", WRITTEN, None, rules)
        if isinstance(e, Final)
    ]
    assert len(finals) > 1
    assert [f.display[0].isupper() for f in finals] == [True, *[False] * (len(finals) - 1)]


SAID = st.lists(
    st.sampled_from(("one", "two", "seven", "twentyone", "oh", "for", "the", "pin", "is", "darn")),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(SAID, st.integers(1, 30), st.integers(0, 20), st.sampled_from((0.0, 0.3)))
def test_no_event_holds_a_redacted_number_or_a_part_of_one(words, chunk, right, doubt):
    context = Context(0, chunk, right)
    model = SearchedModel(context, doubt=doubt) if doubt else FakeModel(context)
    events = transcribe(" ".join(words), REDACTED, model)
    text = " ".join(strings(events))
    assert not re.search(r"\b(one|tw|two|s|se|sev|seve|seven|twenty\w*)\b", text), text


def strings(events):
    """Every word in every field of what would be sent."""
    for event in events:
        body = json.loads(messages.encode(event))
        fields = json.dumps([body[name] for name in body.keys() - {"type", "reason"}])
        yield from re.findall(r"[a-z]+", fields.lower())


@settings(deadline=None, max_examples=60)
@given(SAID, st.integers(1, 30), st.integers(0, 20), st.sampled_from((WRITTEN, REDACTED, DARN)))
def test_committed_text_grows_and_finals_begin_with_it(words, chunk, right, rules):
    committed = ""
    for event in transcribe(" ".join(words), rules, FakeModel(Context(0, chunk, right))):
        if isinstance(event, Partial):
            assert event.committed.startswith(committed)
            committed = event.committed
            shown = " ".join(word.word for word in event.words)
            assert shown == f"{event.committed} {event.tail}".strip()
        elif isinstance(event, Final):
            assert event.text.startswith(committed)
            committed = ""


def test_profanity_is_masked_in_partials_and_finals():
    events = transcribe("darn it", DARN)
    assert {e.text for e in events if isinstance(e, Final)} == {"d*** it"}
    assert not any("darn" in messages.encode(event) for event in events)


def test_a_session_may_ask_for_masks_but_not_take_them_off():
    rules = TextRules(redact_numbers=True, writer=written)
    wished = rules.wished(True, True, False)
    assert (wished.written, wished.mask_profanity, wished.redact_numbers) == (True, True, True)
    assert wished.wished(False, False, None) == (dataclasses.replace(wished, written=False))


def test_written_text_needs_a_writer():
    with pytest.raises(ValueError, match="writer"):
        TextRules(written=True)
