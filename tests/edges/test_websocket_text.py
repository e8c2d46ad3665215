"""Text rules and keywords over a real websocket, by the server's settings and a client's wishes."""

import json

import pytest
from websockets.asyncio.client import connect

from clients.python import RecognizerError, recognize
from streamer import messages as m
from streamer.config import Phrase
from streamer.core.text_rules import TextRules
from streamer.text.written import written
from streamer.wording import Wording
from tests.fakes import SearchedModel, speak
from tests.serving import errors, in_loop, pcm, said_to, service

READY = Wording(TextRules(writer=written, profanity=frozenset({"darn"})))
STOP = m.encode(m.Stop())
CALL = pcm(speak("darn call four one one at five thirty p m", 1, 1))


def start(**wishes) -> str:
    return json.dumps({"type": "start", **wishes})


async def heard(wording: Wording, **wishes) -> list[m.ServerMessage]:
    async with service(wording=wording) as running:
        messages, _ = await said_to(running.url, start(**wishes), CALL, STOP)
    return messages


def final_of(messages) -> m.Final:
    (final,) = (each for each in messages if isinstance(each, m.Final))
    return final


@in_loop
async def test_written_text_is_given_to_who_asks_for_it() -> None:
    plain = final_of(await heard(READY))
    final = final_of(await heard(READY, text={"written": True}))
    assert (plain.display, plain.display_words) == (None, None)
    assert final.text == plain.text == "darn call four one one at five thirty p m"
    assert final.display == "Darn call 411 at 5:30 p.m."
    assert [word.word for word in final.shown_words] == final.display.split(" ")
    no_words = final_of(await heard(READY, text={"written": True}, words=False))
    assert (no_words.display, no_words.display_words) == (final.display, None)


@in_loop
async def test_a_server_may_write_for_all_and_a_client_decline() -> None:
    rules = Wording(TextRules(written=True, writer=written))
    assert final_of(await heard(rules)).display is not None
    assert final_of(await heard(rules, text={"written": False})).display is None


@in_loop
async def test_redacted_numbers_are_in_no_message() -> None:
    messages = await heard(READY, text={"written": True, "redact_numbers": True})
    final = final_of(messages)
    assert final.text == "darn call [number] at [number] p m"
    assert final.display == "Darn call [number] at [number] p m"
    everything = " ".join(map(m.encode, messages))
    for number in ("four", "one", "411", "five", "thirty", "5:30"):
        assert number not in everything, number


@in_loop
async def test_a_client_cannot_take_off_the_servers_masks() -> None:
    rules = TextRules(mask_profanity=True, redact_numbers=True, profanity=frozenset({"darn"}))
    wishes = {"mask_profanity": False, "redact_numbers": False}
    final = final_of(await heard(Wording(rules), text=wishes))
    assert final.text == "d*** call [number] at [number] p m"


@in_loop
async def test_a_server_that_cannot_write_says_so() -> None:
    messages = await heard(Wording(), text={"written": True})
    assert errors(messages) == [("unsupported", False)]
    assert final_of(messages).display is None


@pytest.mark.parametrize("model", [None, SearchedModel(slots=4)], ids=["greedy", "beams"])
def test_keywords_are_told_as_they_are_heard(model) -> None:
    @in_loop
    async def scenario() -> None:
        wishes = [{"phrase": "call"}, {"phrase": "at five", "threshold": 0.9}]
        async with service(model=model) as running:
            messages, code = await said_to(running.url, start(keywords=wishes), CALL, STOP)
        spotted = [each for each in messages if isinstance(each, m.Keyword)]
        assert [each.keyword for each in spotted] == ["call", "at five"]
        words = final_of(messages).words
        assert spotted[0].start == words[1].start
        assert all(each.score > 0.9 for each in spotted)
        kinds = [type(each) for each in messages]
        assert kinds.index(m.Keyword) < kinds.index(m.Final)
        assert code == 1000

    scenario()


@in_loop
async def test_a_clients_keywords_stand_for_the_servers() -> None:
    rules = Wording(keywords=(Phrase("darn"),))

    async def spotted(**wishes) -> list[str]:
        return [e.keyword for e in await heard(rules, **wishes) if isinstance(e, m.Keyword)]

    assert await spotted() == ["darn"]
    assert await spotted(keywords=[{"phrase": "thirty"}]) == ["thirty"]
    assert await spotted(keywords=[]) == []


@in_loop
async def test_who_redacts_does_without_the_servers_keywords_that_hold_numbers() -> None:
    rules = Wording(READY.text, keywords=(Phrase("darn"), Phrase("five thirty")))
    heard_of = [e for e in await heard(rules) if isinstance(e, m.Keyword)]
    assert [e.keyword for e in heard_of] == ["darn", "five thirty"]
    redacted = await heard(rules, text={"redact_numbers": True})
    assert [e.keyword for e in redacted if isinstance(e, m.Keyword)] == ["darn"]


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"keywords": [{"phrase": "route 5"}]}, "cannot spell '5'"),
        ({"keywords": [{"phrase": " "}]}, "1 to 64 characters"),
        ({"keywords": [{"phrase": "a", "threshold": 0}]}, "above 0"),
        ({"keywords": [{"phrase": "a"}] * 101}, "at most 100"),
        ({"keywords": ["alexa"]}, "an object"),
        ({"text": {"written": "yes"}}, "true or false"),
        ({"keywords": [{"phrase": "room one"}], "text": {"redact_numbers": True}}, "redacted"),
    ],
)
def test_a_wish_that_cannot_be_met_is_a_bad_request(wishes, said) -> None:
    @in_loop
    async def scenario() -> None:
        async with service(wording=READY) as running:
            messages, code = await said_to(running.url, start(**wishes))
            assert (errors(messages), code) == ([("bad_request", True)], 4400)
            assert said in messages[-1].message
            assert running.engine.open_sessions == 0

    scenario()


@in_loop
async def test_viewers_see_written_text_and_masks() -> None:
    async with (
        service(wording=READY) as running,
        connect(running.url, compression=None) as socket,
    ):
        await socket.send(start(text={"written": True, "redact_numbers": True}))
        ready = m.decode_server(await socket.recv(decode=True))
        assert isinstance(ready, m.Ready)
        url = running.url.replace("/stream", f"/captions?session={ready.session}")
        async with connect(url, compression=None) as viewer:
            assert "ready" in await viewer.recv(decode=True)
            await socket.send(CALL)
            await socket.send(STOP)
            seen = [str(text) async for text in viewer]
    (final,) = (m.decode_server(text) for text in seen if '"final"' in text)
    assert isinstance(final, m.Final)
    assert final.shown == "Darn call [number] at [number] p m"
    assert not any("four" in text or "thirty" in text for text in seen)


@in_loop
async def test_the_python_client_speaks_of_all_this() -> None:
    async def talk():
        yield CALL

    async with service(wording=READY) as running:
        wish = m.Start(text=m.TextWishes(written=True), keywords=(m.KeywordWish("call", 0.5),))
        events = [event async for event in recognize(running.url, talk(), wish)]
        assert final_of(events).shown == "Darn call 411 at 5:30 p.m."
        assert [e.keyword for e in events if isinstance(e, m.Keyword)] == ["call"]
        with pytest.raises(RecognizerError, match="cannot spell"):
            async for _ in recognize(running.url, talk(), m.Start(keywords=(m.KeywordWish("é"),))):
                pass
