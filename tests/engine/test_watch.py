"""Watchers: every session's events, for one who did not open it."""

import asyncio

from streamer.engine import watchers
from streamer.engine.engine import Engine
from tests.engine.harness import play, run
from tests.fakes import FakeModel, speak


def test_a_watcher_sees_all_events_of_the_sessions_opened_after_it():
    async def main():
        async with Engine(FakeModel(slots=4), max_sessions=4, max_batch=4) as engine:
            await play(engine.open_session(name="before"), [speak("nobody watches")])
            watcher = engine.watch()
            heard = [
                await play(engine.open_session(name=text), [speak(text)])
                for text in ("one", "two words")
            ]
            seen = [watcher.get_nowait() for _ in heard]
            assert [each.name for each in seen] == ["one", "two words"]
            for each, events in zip(seen, heard, strict=True):
                watched = [event async for event in each.events]
                assert [event for event in watched if event in events] == events
            assert watcher.empty()

    run(main())


def test_a_watcher_that_takes_nothing_misses_sessions_and_delays_none(monkeypatch, caplog):
    monkeypatch.setattr(watchers, "MAX_UNSEEN", 1)

    async def main():
        async with Engine(FakeModel(), max_sessions=1, max_batch=1) as engine:
            watcher = engine.watch()
            for text in ("one", "two"):
                events = await play(engine.open_session(name=text), [speak(text)])
                assert events[1].text == text
            assert watcher.get_nowait().name == "one"
            assert watcher.empty()

    asyncio.run(main())
    assert "misses one" in caplog.text
