"""The library around the fake model: sources that end, and sources that fail."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import streamer
from streamer import api
from streamer.audio import Samples
from streamer.config import EngineConfig
from streamer.core.hypothesis import Closed, Event, Final
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop


@in_loop
async def test_a_source_that_fails_loses_nothing_that_was_heard_before() -> None:
    async def torn() -> AsyncIterator[Samples]:
        yield speak("one")
        yield silence(2.0)
        yield speak("two")
        raise RuntimeError("the tape has torn")

    heard: list[Event] = []
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with pytest.raises(RuntimeError, match="the tape has torn"):
            async for event in api.recognize(engine, torn()):
                heard.append(event)  # noqa: PERF401 (what came before the failure counts)
        assert engine.open_sessions == 0
    assert [event.text for event in heard if isinstance(event, Final)] == ["one", "two"]
    assert isinstance(heard[-1], Closed)


@in_loop
async def test_a_file_is_a_source(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", speak("one"), 16_000, subtype="FLOAT")
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with streamer.AudioFile(tmp_path / "talk.wav") as file:
            events = [event async for event in streamer.recognize(engine, streamer.stream(file))]
    assert [event.text for event in events if isinstance(event, Final)] == ["one"]
    broken = np.full(1_600, np.nan)
    soundfile.write(tmp_path / "broken.wav", broken, 16_000, subtype="FLOAT")
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with (
            streamer.AudioFile(tmp_path / "broken.wav") as file,
            pytest.raises(streamer.AudioFileError, match="not numbers"),
        ):
            events = [event async for event in streamer.recognize(engine, streamer.stream(file))]


@in_loop
async def test_transcribe_names_its_async_sister_in_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="use recognize"):
        streamer.transcribe("there-is-no-such-file.wav")
