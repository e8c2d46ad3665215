"""Wyoming: the client of its own library against our server."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from streamer.config import ConfigError, DecodingOptions, EndpointRules, WyomingConfig
from streamer.core.decoder import BeamSearch
from streamer.core.scoring import NoScorer
from streamer.edges.wyoming import Program, WyomingServer, connection
from streamer.edges.wyoming.framing import MAX_LINE_BYTES, encoded
from streamer.edges.wyoming.turn import Wishes
from streamer.engine.engine import Engine
from tests.engine.harness import GatedModel
from tests.fakes import FakeModel, SearchedModel, silence, speak
from tests.serving import in_loop, pcm

RULES = EndpointRules(silence_s=0.3)


@asynccontextmanager
async def serving(
    slots: int = 2, model: FakeModel | None = None, **settings: Any
) -> AsyncIterator[WyomingServer]:
    async with (
        Engine(model or FakeModel(slots=slots), max_sessions=slots, max_batch=4) as engine,
        WyomingServer(engine, RULES, WyomingConfig(**settings), Program("fake", "1")) as server,
    ):
        yield server
    assert engine.open_sessions == 0


@asynccontextmanager
async def client(server: WyomingServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{server.port}") as joined:
        yield joined


async def speak_to(joined: AsyncClient, samples: np.ndarray, size: int = 2_048) -> None:
    await joined.write_event(Transcribe(language="en").event())
    await joined.write_event(AudioStart(16_000, 2, 1).event())
    await chunks(joined, samples, size)
    await joined.write_event(AudioStop().event())


async def chunks(joined: AsyncClient, samples: np.ndarray, size: int = 2_048) -> None:
    data = pcm(samples)
    for at in range(0, len(data), size):
        await joined.write_event(AudioChunk(16_000, 2, 1, data[at : at + size]).event())


async def answer(joined: AsyncClient) -> tuple[str, list[str]]:
    """The transcript, and the types of events up to its end."""
    streamed, types = "", []
    while True:
        event = await joined.read_event()
        assert event is not None
        types.append(event.type)
        if TranscriptChunk.is_type(event.type):
            streamed += TranscriptChunk.from_event(event).text
        if Transcript.is_type(event.type):
            text = Transcript.from_event(event).text
            assert text == streamed  # append-only, and nothing was taken back
            if text:
                last = await joined.read_event()
                assert last is not None
                types.append(last.type)
            return text, types


@in_loop
async def test_describe_and_ping() -> None:
    async with serving() as server, client(server) as joined:
        await joined.write_event(Describe().event())
        event = await joined.read_event()
        assert event is not None
        (program,) = Info.from_event(event).asr
        (model,) = program.models
        assert (program.installed, program.supports_transcript_streaming) == (True, True)
        assert (model.name, model.languages, model.installed) == ("fake", ["en"], True)
        assert event.data["asr"][0]["requires_external_vad"] is True
        await joined.write_event(Ping(text="there?").event())
        assert await joined.read_event() == Event("pong", {"text": "there?"})


@in_loop
async def test_a_transcript_streams_and_ends() -> None:
    spoken = np.concatenate([speak("turn on"), silence(0.5), speak("the lamp")])
    async with serving() as server, client(server) as joined:
        for _ in range(2):  # one after another on one connection
            await speak_to(joined, spoken)
            text, types = await answer(joined)
            assert text == "turn on the lamp"
            assert types[0] == "transcript-start"
            assert types[-2:] == ["transcript", "transcript-stop"]
            assert types.count("transcript-chunk") > 1


@in_loop
async def test_many_connections_one_after_another_leave_nothing() -> None:
    before = asyncio.all_tasks()
    async with serving(slots=1) as server:
        for number in range(10):
            async with client(server) as joined:
                word = "abcdefghij"[number] * 2
                await speak_to(joined, speak(word))
                assert (await answer(joined))[0] == word
    assert asyncio.all_tasks() == before


@in_loop
async def test_no_audio_is_an_empty_transcript() -> None:
    async with serving() as server, client(server) as joined:
        await speak_to(joined, silence(0))
        assert await answer(joined) == ("", ["transcript"])
        await speak_to(joined, silence(1.0))
        assert await answer(joined) == ("", ["transcript"])


@in_loop
async def test_any_rate_and_channels() -> None:
    """A chunk's own numbers win: only they can be right when they differ."""
    stereo = pcm(np.repeat(speak("both ears"), 2))
    async with serving() as server, client(server) as joined:
        await joined.write_event(AudioStart(44_100, 2, 1).event())
        await joined.write_event(AudioChunk(16_000, 2, 2, stereo).event())
        await joined.write_event(AudioStop().event())
        assert (await answer(joined))[0] == "both ears"
        await joined.write_event(AudioStart(44_100, 2, 1).event())
        await joined.write_event(AudioChunk(44_100, 2, 1, bytes(88_200)).event())
        await joined.write_event(AudioStop().event())
        assert (await answer(joined))[0] == ""


@in_loop
async def test_we_end_the_utterance_when_asked_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serving(slots=2, endpointing="server") as server:
        for _ in range(3):
            async with client(server) as joined:
                await joined.write_event(AudioStart(16_000, 2, 1).event())
                await chunks(joined, np.concatenate([speak("turn on"), silence(1.0)]))
                assert (await answer(joined))[0] == "turn on"  # without any audio-stop
                await chunks(joined, speak("not heard"))
                await joined.write_event(AudioStop().event())
                await speak_to(joined, speak("and again"))
                assert (await answer(joined))[0] == "and again"
    assert caplog.text == ""


def wanted(**data: Any) -> Wishes:
    return Wishes.of(Transcribe(**data).event().data)


def test_a_client_says_which_words_and_how_much_patience() -> None:
    """Whatever it says; names first, as they count more."""
    wishes = wanted(transcript_terms=["dim"], transcript_names=["Lamp", "the hall", "Lamp"])
    assert wishes == Wishes(("Lamp", "the hall", "dim"))
    assert Wishes.of({"transcript_names": 3, "transcript_terms": [None, "", "x" * 99, "y"]}) == (
        Wishes(("y",))
    )
    assert len(wanted(transcript_names=[str(n) for n in range(999)]).hotwords) == 100
    rules = EndpointRules(silence_s=0.6, blank_s=1.2, max_utterance_s=7.0)
    for sensitivity, silence_s in (("relaxed", 1.2), ("aggressive", 0.3), ("default", 0.6)):
        patient = wanted(vad_sensitivity=sensitivity).rules(rules)
        assert patient == EndpointRules(
            silence_s=silence_s, blank_s=2 * silence_s, max_utterance_s=7.0
        )
    assert Wishes.of({"vad_sensitivity": ["relaxed"]}) == Wishes()
    assert wanted(vad_sensitivity="relaxed").rules(EndpointRules(blank_s=3600.0)).blank_s == 3600


@in_loop
async def test_the_words_of_a_request_reach_its_search_and_no_other() -> None:
    expected: list[tuple[str, ...]] = []

    def scorer(options: DecodingOptions) -> NoScorer:
        expected.append(tuple(each.text for each in options.hotwords))
        return NoScorer()

    search = BeamSearch(8, scorer, takes_hotwords=True)
    async with (
        serving(model=SearchedModel(slots=2, search=search)) as server,
        client(server) as joined,
    ):
        await joined.write_event(Transcribe(transcript_names=["Lamp"]).event())
        await joined.write_event(AudioStart(16_000, 2, 1).event())
        await chunks(joined, speak("the lamp"))
        await joined.write_event(AudioStop().event())
        assert (await answer(joined))[0] == "the lamp"
        await speak_to(joined, speak("again"))
        assert (await answer(joined))[0] == "again"
    assert [each for each in expected if each] == [("lamp",)]  # once, for its own turn


@in_loop
async def test_mistakes_are_answered_and_end_the_connection() -> None:
    chunk = {"rate": 16_000, "width": 2, "channels": 1}
    data = json.dumps(chunk).encode()
    over = [
        (b"no json\n", "bad-request"),
        (b"[]\n", "bad-request"),
        (b"{}\n", "bad-request"),
        (b"x" * MAX_LINE_BYTES * 2 + b"\n", "bad-request"),
        (b'{"type":"a","data":3}\n', "bad-request"),
        (b'{"type":"a","data_length":99999999}\n', "bad-request"),
        (b'{"type":"a","payload_length":-1}\n', "bad-request"),
        (b'{"type":"a","payload_length":true}\n', "bad-request"),
        (b'{"type":"audio-chunk"}\n', "bad-request"),
        (encoded_chunk({**chunk, "width": 4}), "bad-request"),
        (encoded_chunk({**chunk, "rate": 3}), "bad-request"),
        (encoded_chunk({**chunk, "channels": "two"}), "bad-request"),
    ]
    assert data in encoded_chunk(chunk).replace(b'":', b'": ').replace(b',"', b', "')
    async with serving() as server:
        for sent, code in over:
            event = await last_event(server, sent)
            assert (event["type"], event["code"]) == ("error", code), sent[:60]


def encoded_chunk(data: dict[str, Any]) -> bytes:
    from streamer.edges.wyoming.framing import Event as Framed

    return encoded(Framed("audio-chunk", data, bytes(32)))


async def last_event(server: WyomingServer, sent: bytes) -> dict[str, Any]:
    """What is said before the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    said = b""
    try:
        while data := await reader.read(4_096):
            said += data
    except ConnectionError:
        pass
    writer.close()
    line, _, rest = said.partition(b"\n")
    return {**json.loads(rest), **json.loads(line)}


@in_loop
async def test_limits_of_sessions_connections_and_length() -> None:
    model = GatedModel(slots=1)
    async with serving(slots=1, model=model, max_audio_s=1.0, max_connections=2) as server:
        async with client(server) as first, client(server) as second:
            await chunks(first, speak("so"))
            await model.is_running()
            await chunks(second, speak("no"))
            event = await second.read_event()
            assert event is not None
            assert (event.type, event.data["code"]) == ("error", "capacity")
            assert await second.read_event() is None
            model.open_for_good()
            await chunks(first, silence(2.0))
            while (event := await first.read_event()) is not None:
                last = event
            assert (last.type, last.data["code"]) == ("error", "too-long")
        async with client(server) as first, client(server), client(server) as third:
            await first.write_event(Ping().event())
            await first.read_event()
            with suppress(ConnectionError):
                assert await third.read_event() is None


@in_loop
async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.05)
    async with serving() as server, client(server) as joined:
        event = await joined.read_event()
        assert event is not None
        assert (event.type, event.data["code"]) == ("error", "timeout")


@in_loop
async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_S", 0.2)
    ping = json.dumps({"type": "ping", "data": {"text": "x" * 1_000}}).encode() + b"\n"
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(ConnectionError):
            while True:
                writer.write(ping * 100)
                await writer.drain()
        writer.close()


@in_loop
async def test_a_client_that_vanishes_takes_its_session_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with serving(slots=1) as server:
        for _ in range(3):
            async with client(server) as joined:
                await chunks(joined, speak("hello"))
        while True:  # the slot is free again
            async with client(server) as joined:
                await speak_to(joined, speak("here"))
                event = await joined.read_event()
                assert event is not None
                if event.type != "error":
                    break
    assert caplog.text == ""


@in_loop
async def test_leaving_answers_what_was_heard() -> None:
    model = GatedModel(slots=1)
    async with Engine(model, max_sessions=1, max_batch=1) as engine:
        async with WyomingServer(engine, RULES, WyomingConfig(), Program("fake", "1")) as server:
            joined = AsyncClient.from_uri(f"tcp://127.0.0.1:{server.port}")
            await joined.connect()
            await chunks(joined, speak("just in time"))
            await model.is_running()
            model.open_for_good()
        text, _ = await answer(joined)
        assert "just in time".startswith(text)
        assert text
        assert await joined.read_event() is None
        await joined.disconnect()


@in_loop
async def test_an_address_in_use_is_one_sentence() -> None:
    async with serving() as server, Engine(FakeModel(), max_sessions=1, max_batch=1) as engine:
        config = WyomingConfig(port=server.port)
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1"):
            async with WyomingServer(engine, RULES, config, Program("fake", "1")):
                pass
