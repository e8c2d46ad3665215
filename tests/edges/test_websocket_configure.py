"""What a client changes in mid-stream, over a real websocket: text, keywords, the rule of quiet."""

import json

import numpy as np

from streamer import messages as m
from streamer.config import Phrase
from streamer.core.text_rules import TextRules
from streamer.text.written import written
from streamer.wording import Wording
from tests.fakes import FakeDetector, FakeModel, silence, speak
from tests.serving import errors, finals, in_loop, pcm, said_to, service

READY = Wording(TextRules(writer=written, profanity=frozenset({"darn"})))
STOP, FLUSH = m.encode(m.Stop()), m.encode(m.Flush("x"))
CALL = pcm(speak("darn call five thirty"))


def configure(**wishes) -> str:
    return json.dumps({"type": "configure", **wishes})


async def heard(*sent, wording=READY, model=None, **start) -> list[m.ServerMessage]:
    async with service(wording=wording, model=model) as running:
        begin = json.dumps({"type": "start", **start})
        messages, code = await said_to(running.url, begin, *sent, STOP)
    assert code == 1000
    return messages


def samples(messages) -> list[int]:
    return [each.sample for each in messages if isinstance(each, m.Configured)]


def displayed(messages) -> list[str | None]:
    return [each.display for each in messages if isinstance(each, m.Final)]


def keywords(messages) -> list[str]:
    return [each.keyword for each in messages if isinstance(each, m.Keyword)]


@in_loop
async def test_written_form_and_masks_change_where_the_answer_says() -> None:
    masked = configure(text={"redact_numbers": True, "mask_profanity": True})
    plain = configure(text={"written": True, "redact_numbers": False, "mask_profanity": False})
    messages = await heard(CALL, FLUSH, masked, CALL, FLUSH, plain, CALL)
    assert finals(messages) == [
        "darn call five thirty",
        "d*** call [number]",
        "darn call five thirty",
    ]
    assert displayed(messages) == [None, None, "Darn call 5 30"]
    assert samples(messages) == [len(CALL) // 2, len(CALL)]
    assert errors(messages) == []


@in_loop
async def test_what_is_not_named_stays_as_it_is() -> None:
    change = configure(text={"mask_profanity": True}, endpoint={"silence_ms": 900})
    messages = await heard(CALL, FLUSH, change, CALL, text={"redact_numbers": True})
    assert finals(messages) == ["darn call [number]", "d*** call [number]"]


@in_loop
async def test_a_client_cannot_take_off_the_servers_masks_later_either() -> None:
    rules = Wording(TextRules(redact_numbers=True, writer=written))
    messages = await heard(configure(text={"redact_numbers": False}), CALL, wording=rules)
    assert finals(messages) == ["darn call [number]"]


@in_loop
async def test_keywords_change_and_the_servers_own_come_back_with_its_numbers() -> None:
    rules = Wording(READY.text, keywords=(Phrase("darn"), Phrase("five thirty")))
    masked = configure(text={"redact_numbers": True})
    plain = configure(text={"redact_numbers": False})
    messages = await heard(CALL, FLUSH, masked, CALL, FLUSH, plain, CALL, wording=rules)
    assert keywords(messages) == ["darn", "five thirty", "darn", "darn", "five thirty"]
    own = configure(keywords=[{"phrase": "call", "threshold": 0.9}])
    messages = await heard(CALL, FLUSH, own, CALL, FLUSH, configure(keywords=[]), CALL)
    assert keywords(messages) == ["call"]


@in_loop
async def test_what_cannot_be_is_refused_whole() -> None:
    for change in (
        configure(keywords=[{"phrase": "café"}], text={"mask_profanity": True}),
        configure(text={"redact_numbers": True, "mask_profanity": True}),
        configure(keywords=[{"phrase": "route five"}] * 101),
        configure(text={"written": "yes"}),
    ):
        wish = [{"phrase": "call five"}]
        messages = await heard(CALL, FLUSH, change, CALL, keywords=wish)
        assert errors(messages) == [("bad_request", False)]
        assert finals(messages) == ["darn call five thirty"] * 2
        assert keywords(messages) == ["call five"] * 2
        assert samples(messages) == []


@in_loop
async def test_what_a_server_cannot_do_is_said_in_mid_stream_too() -> None:
    wishes = {"text": {"written": True}, "endpoint": {"vad": True}, "decoding": {"n_best": 3}}
    messages = await heard(configure(**wishes), CALL, wording=Wording())
    assert errors(messages) == [("unsupported", False)] * 3
    assert (displayed(messages), len(samples(messages))) == ([None], 1)
    messages = await heard(CALL, endpoint={"vad": True})
    (error,) = (each for each in messages if isinstance(each, m.Error))
    assert "without silero-vad" in error.message


@in_loop
async def test_a_client_may_ask_for_a_voice_detector() -> None:
    model = FakeModel(slots=4)
    model.detector = FakeDetector()
    noise = np.full(16_000, 0.9 / 64, np.float32)
    said = pcm(np.concatenate([speak("turn on"), noise, speak("the lamp"), silence(1.5)]))
    rules = {"silence_ms": 400, "blank_ms": 3_000}
    assert finals(await heard(said, model=model, endpoint=rules)) == ["turn on the lamp"]
    heard_by = await heard(said, model=model, endpoint={**rules, "vad": True})
    assert finals(heard_by) == ["turn on", "the lamp"]
    messages = await heard(
        said, configure(endpoint={"vad": True}), said, model=model, endpoint=rules
    )
    assert finals(messages) == ["turn on the lamp", "turn on", "the lamp"]
    assert errors(messages) == []
