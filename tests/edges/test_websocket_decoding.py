"""How a client has its audio decoded, over a real websocket: n-best, stability, growing text."""

import json

import numpy as np
import pytest
from websockets.asyncio.client import connect

from streamer import messages as m
from tests.fakes import SearchedModel, silence, speak
from tests.serving import errors, in_loop, pcm, said_to, service

STOP = m.encode(m.Stop())
TWO = pcm(np.concatenate([speak("turn on the lamp"), silence(1.0), speak("now")]))


async def heard(*sent: str | bytes, **wishes) -> list[m.ServerMessage]:
    start = json.dumps({"type": "start", **wishes})
    async with service(model=SearchedModel(slots=4, doubt=0.4)) as running:
        messages, code = await said_to(running.url, start, *sent, STOP)
    assert code == 1000
    return messages


def finals(messages):
    return [each for each in messages if isinstance(each, m.Final)]


@in_loop
async def test_the_n_best_come_when_asked_for() -> None:
    change = '{"type":"configure","decoding":{"n_best":1}}'
    said = pcm(speak("lamp"))
    flush = m.encode(m.Flush("a"))
    messages = await heard(said, flush, change, said, decoding={"n_best": 3})
    one, other = finals(messages)
    assert [each.text for each in one.alternatives][:1] == ["lamp"]
    scores = [each.score for each in one.alternatives]
    assert (len(scores), scores[0]) == (3, 0.0)
    assert scores == sorted(scores, reverse=True)
    assert other.alternatives is None
    assert '"alternatives"' not in m.encode(other)
    assert [e.sample for e in messages if isinstance(e, m.Configured)] == [len(said) // 2]


@pytest.mark.parametrize("stability", ["low", "medium", "high"])
@in_loop
async def test_stability_is_a_clients_choice(stability) -> None:
    messages = await heard(TWO, decoding={"stability": stability})
    assert [each.text for each in finals(messages)] == ["turn on the lamp", "now"]
    tails = [each.tail for each in messages if isinstance(each, m.Partial)]
    assert any(tails) == (stability != "high")


@in_loop
async def test_appended_text_is_all_text_and_nothing_is_taken_back() -> None:
    messages = await heard(TWO, append_only=True)
    assert not any(isinstance(each, m.Partial) for each in messages)
    appended = [each for each in messages if isinstance(each, m.Append)]
    assert "".join(each.text for each in appended) == "turn on the lamp now"
    assert {each.utterance for each in appended} == {0, 1}
    assert [each.text for each in finals(messages)] == ["turn on the lamp", "now"]


@in_loop
async def test_committed_text_is_appended_before_its_final() -> None:
    async with service() as running, connect(running.url) as socket:
        await socket.send('{"type":"start","append_only":true,"words":false}')
        await socket.send(pcm(speak("turn on the lamp")))
        said = []
        while not (said and isinstance(said[-1], m.Append)):
            said.append(m.decode_server(await socket.recv()))
    assert said[-1].text.startswith("turn")
    assert finals(said) == []


@in_loop
async def test_too_many_changes_ahead_of_the_decoding_are_an_error_that_is_not_fatal() -> None:
    parts: list[str | bytes] = []
    for _ in range(70):
        parts += [pcm(silence(0.001)), '{"type":"configure"}']
    messages = await heard(*parts, pcm(speak("lamp")))
    assert [each.text for each in finals(messages)] == ["lamp"]
    assert errors(messages) == [("bad_request", False)] * 7  # and the one of the start
    assert sum(isinstance(each, m.Configured) for each in messages) == 63
