"""The library around the fake model: sources that end, and sources that fail."""

from collections.abc import AsyncIterator

import pytest

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
