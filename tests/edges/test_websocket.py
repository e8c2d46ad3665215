"""The websocket server: real sockets, the fake model, every way a client can behave."""

import asyncio
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.chunker import Window
from streamer.core.decoder import BeamSearch
from streamer.core.frames import Frames
from streamer.core.options import DecodingOptions
from streamer.core.scoring import NoScorer
from tests.fakes import BLANK, FakeModel, SearchedModel, audio, silence, speak
from tests.http import frame
from tests.serving import errors, finals, in_loop, pcm, raw_connection, said, said_to, service

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))


@in_loop
async def test_a_conversation() -> None:
    async with service() as running:
        heard, code = await said_to(running.url, START, LAMP, STOP)
    assert code == 1000
    ready, *rest, closed = heard
    assert isinstance(ready, m.Ready)
    assert (ready.model, ready.sample_rate, ready.latency_ms) == ("fake", 16_000, 335)
    assert ready.limits == m.Limits(1 << 20, 16 << 10, 1_000)
    assert closed == m.Closed(received=len(LAMP) // 2, utterances=1)
    assert finals(rest) == ["turn on the lamp"]
    assert any(isinstance(each, m.SpeechStart) for each in rest)
    partials = [each for each in rest if isinstance(each, m.Partial)]
    assert all(a.revision < b.revision for a, b in itertools.pairwise(partials))
    (final,) = [each for each in rest if isinstance(each, m.Final)]
    assert [word.word for word in final.words] == ["turn", "on", "the", "lamp"]


@settings(max_examples=20)
@given(st.lists(st.integers(1, 4_001), min_size=1, max_size=40))
def test_any_packets_give_the_same_transcript(sizes: list[int]) -> None:
    edges = [0, *np.minimum(np.cumsum(sizes), len(LAMP)).tolist(), len(LAMP)]
    packets = [LAMP[a:b] for a, b in itertools.pairwise(edges)]

    @in_loop
    async def scenario() -> None:
        async with service() as running:
            heard, code = await said_to(running.url, START, *packets, STOP)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)
        assert errors(heard) == []

    scenario()


@in_loop
async def test_several_clients_at_once_hear_their_own_words() -> None:
    texts = ["one", "two words", "three more words", "four"]
    async with service() as running:
        streams = (said_to(running.url, START, pcm(speak(text)), STOP) for text in texts)
        heard = await asyncio.gather(*streams)
    assert [finals(messages) for messages, _ in heard] == [[text] for text in texts]


@in_loop
async def test_acks_come_at_least_every_half_second_of_audio() -> None:
    async with service() as running:
        heard, _ = await said_to(running.url, START, pcm(silence(3.0)), STOP)
        packets = [pcm(silence(0.02))] * 150
        heard_in_packets, _ = await said_to(running.url, START, *packets, STOP)
    for each in (heard, heard_in_packets):
        acks = [0, *(ack.received for ack in each if isinstance(ack, m.Ack)), 48_000]
        assert all(0 <= b - a <= 8_000 for a, b in itertools.pairwise(acks))


@in_loop
async def test_flush_gives_the_final_and_then_its_id() -> None:
    async with service() as running, connect(running.url) as socket:
        for each in (START, pcm(speak("so")), m.encode(m.Flush("a"))):
            await socket.send(each)
        heard = []
        while not heard or not isinstance(heard[-1], m.Flushed):
            heard.append(m.decode_server(await socket.recv(decode=True)))
        assert heard[-1] == m.Flushed("a")
        assert finals(heard) == ["so"]
        for each in (pcm(speak("it goes on")), STOP):
            await socket.send(each)
        rest, code = await said(socket)
    assert (finals(rest), code) == (["it goes on"], 1000)


@in_loop
async def test_endpoint_rules_of_start_and_configure() -> None:
    quick = m.encode(m.Start(endpoint=m.EndpointPatch(silence_ms=200)))
    slow = m.encode(m.Configure(endpoint=m.EndpointPatch(silence_ms=5_000)))
    spoken = pcm(np.concatenate([speak("one"), silence(0.5)]))
    async with service() as running:
        heard, _ = await said_to(running.url, quick, spoken, spoken, STOP)
        assert finals(heard) == ["one", "one"]
        heard, _ = await said_to(running.url, quick, slow, spoken, spoken, STOP)
        assert finals(heard) == ["one one"]


@pytest.mark.parametrize(("blank_ms", "texts"), [(300, ["one", "one"]), (900, ["one one"])])
@in_loop
async def test_the_endpoint_rule_for_silence_that_is_not_quiet(blank_ms, texts) -> None:
    start = m.encode(m.Start(endpoint=m.EndpointPatch(silence_ms=200, blank_ms=blank_ms)))
    noisy = pcm(np.concatenate([speak("one"), audio([BLANK] * 25, [-0.9] * 25)]))
    async with service() as running:
        heard, _ = await said_to(running.url, start, noisy, noisy, STOP)
    assert finals(heard) == texts


@in_loop
async def test_partials_and_words_can_be_left_out() -> None:
    start = m.encode(m.Start(partials=False, words=False))
    async with service() as running:
        heard, _ = await said_to(running.url, start, LAMP, STOP)
    assert not any(isinstance(each, m.Partial) for each in heard)
    (final,) = [each for each in heard if isinstance(each, m.Final)]
    assert (final.text, final.words) == ("turn on the lamp", ())


@in_loop
async def test_other_encodings() -> None:
    samples = speak("turn on the lamp")
    floats = m.encode(m.Start(m.AudioFormat("pcm_f32le")))
    stereo = m.encode(m.Start(m.AudioFormat("pcm_s16le", channels=2)))
    narrow = m.encode(m.Start(m.AudioFormat("mulaw", 8_000)))
    async with service() as running:
        heard, _ = await said_to(running.url, floats, samples.astype("<f4").tobytes(), STOP)
        assert finals(heard) == ["turn on the lamp"]
        heard, _ = await said_to(running.url, stereo, pcm(np.repeat(samples, 2)), STOP)
        assert finals(heard) == ["turn on the lamp"]
        heard, code = await said_to(running.url, narrow, b"\xff" * 8_000, STOP)
        assert (heard[-1], code) == (m.Closed(16_000, 0), 1000)


@in_loop
async def test_hotwords_reach_the_search_of_a_server_that_has_one() -> None:
    expected: list[tuple[str, ...]] = []

    def scorer(options: DecodingOptions) -> NoScorer:
        expected.append(tuple(each.text for each in options.hotwords))
        return NoScorer()

    search = BeamSearch(8, scorer, takes_hotwords=True)
    async with service(model=SearchedModel(slots=4, search=search)) as running:
        heard, code = await said_to(
            running.url,
            m.encode(m.Start(hotwords=("Lamp", "the hall"))),
            LAMP,
            m.encode(m.Configure(hotwords=())),
            m.encode(m.Configure()),
            m.encode(m.Configure(decoding=m.DecodingPatch(lm_alpha=0.5, beam=3))),
            '{"type":"configure","decoding":{"beam":1000}}',
            LAMP,
            STOP,
        )
    codes = [("unsupported", False), ("bad_request", False)]
    assert (errors(heard), code) == (codes, 1000)
    (unsupported,) = [e.message for e in heard if isinstance(e, m.Error) and "lm" in e.message]
    assert unsupported.startswith("lm_alpha: ignored")
    at = len(LAMP) // 2  # all three at one sample
    assert [e.sample for e in heard if isinstance(e, m.Configured)] == [at] * 3
    assert expected[-2:] == [("lamp", "the hall"), ()]  # before, there are none
    assert not any(expected[:-2])


class Broken(FakeModel):
    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        raise RuntimeError("the device is on fire")


@in_loop
async def test_a_failing_model_is_an_internal_error_without_details() -> None:
    async with service(model=Broken(slots=4)) as running:
        heard, code = await said_to(running.url, START, LAMP, STOP)
    assert (errors(heard), code) == ([("internal", True)], 1011)
    assert "fire" not in str(heard)


# --- shutdown -------------------------------------------------------------------------------------


@in_loop
async def test_shutdown_finishes_what_was_heard_and_says_so() -> None:
    running = service()
    serving = await running.__aenter__()
    async with connect(serving.url) as speaking, connect(serving.url) as silent:
        await speaking.send(START)
        await speaking.send(LAMP)
        heard: list[m.ServerMessage] = []
        while not any(
            isinstance(each, m.Ack) and each.received >= len(LAMP) // 2 - 4_000 for each in heard
        ):
            heard.append(m.decode_server(await speaking.recv(decode=True)))
        leaving = asyncio.create_task(running.__aexit__(None, None, None), name="leave")
        (rest, code), (nothing, silent_code) = await asyncio.gather(said(speaking), said(silent))
        await leaving
    assert finals(rest) == ["turn on the lamp"]
    assert isinstance(rest[-1], m.Closed)
    assert (code, silent_code, nothing) == (1012, 1012, [])


@in_loop
async def test_shutdown_does_not_wait_for_ever() -> None:
    config = ServerConfig(port=0, drain_timeout_s=0.05, send_timeout_s=30)
    async with service(config) as running:
        reader, writer = await raw_connection(running.server.port)
        writer.write(frame(0x1, START.encode()))
        assert await reader.read(4)  # ready; nothing is read from here on, not even the close
    writer.transport.abort()
