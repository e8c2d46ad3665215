"""Wyoming: the client of its own library against our server."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from streamer.config import DecodingOptions, EndpointRules
from streamer.core.decoder import BeamSearch
from streamer.core.scoring import NoScorer
from streamer.edges.wyoming.turn import Wishes
from tests.edges.over_wyoming import answer, chunks, client, serving, speak_to
from tests.fakes import SearchedModel, silence, speak
from tests.serving import in_loop, pcm


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
