"""Sessions whose frames are searched: the same texts as one stream alone, decoded off the loop."""

import asyncio
import random
import threading

from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final
from streamer.core.options import DecodingOptions, Hotword
from streamer.core.recognizer import Recognizer
from streamer.core.scoring import NoScorer
from streamer.engine.engine import Engine
from streamer.engine.errors import SessionError
from tests.engine.harness import CHUNK, run
from tests.fakes import SearchedModel, silence, speak


class Watched(NoScorer):
    """Notes who calls; fails on a word it was told not to like."""

    def __init__(self, options=DecodingOptions()):  # noqa: B008
        self.threads, self.disliked = set(), {each.text for each in options.hotwords}

    def part(self, part):
        self.threads.add(threading.current_thread().name)
        if part in self.disliked:
            raise RuntimeError("cannot score this")
        return 0.0


async def said(session, samples, packet=3000):
    async def feed():
        for begin in range(0, len(samples), packet):
            await session.send(samples[begin : begin + packet])
        await session.finish()

    feeding = asyncio.create_task(feed())
    events = [event async for event in session]
    await feeding
    return [event for event in events if isinstance(event, Final)]


def model(slots=1, search=None):
    search = search or BeamSearch(10, lambda _: NoScorer(), takes_hotwords=False)
    return SearchedModel(CHUNK, slots=slots, doubt=0.4, search=search)


def test_concurrent_searches_equal_the_recognizer():
    texts = ["turn on the lamp", "it's too bright", "a b c", "goodbye"]

    async def main():
        async with Engine(model(slots=4), max_sessions=4, max_batch=3) as engine:
            return await asyncio.gather(
                *(
                    said(engine.open_session(), speak(text), random.Random(text).randint(100, 9000))
                    for text in texts
                )
            )

    for text, finals in zip(texts, run(main()), strict=True):
        alone = Recognizer(model()).transcribe(speak(text))
        assert finals == [event for event in alone if isinstance(event, Final)]
        assert len(finals) == 1


def test_the_loop_does_not_search():
    watched = Watched()

    async def main():
        search = BeamSearch(10, lambda _: watched, takes_hotwords=False)
        async with Engine(model(search=search), max_sessions=1, max_batch=1) as engine:
            return await said(engine.open_session(), speak("ab cd"))

    assert [final.text for final in run(main())] == ["ab cd"]
    assert all(name.startswith("device") for name in watched.threads)
    assert watched.threads


def test_a_search_that_fails_ends_its_session_only():
    async def main():
        search = BeamSearch(10, Watched, takes_hotwords=True)
        async with Engine(model(slots=2, search=search), max_sessions=2, max_batch=2) as engine:
            fine, bad = engine.open_session(), engine.open_session()
            bad.configure(EndpointRules(), DecodingOptions(hotwords=(Hotword("ab"),)))
            results = await asyncio.gather(
                said(fine, speak("ab")), said(bad, speak("ab")), return_exceptions=True
            )
            return results, await said(engine.open_session(), speak("ab"))

    (fine, failure), afterwards = run(main())
    assert [final.text for final in fine] == [final.text for final in afterwards] == ["ab"]
    assert isinstance(failure, SessionError)
    assert isinstance(failure.__cause__, RuntimeError)


def test_silence_is_no_work_for_the_scorer():
    watched = Watched()

    async def main():
        search = BeamSearch(10, lambda _: watched, takes_hotwords=False)
        async with Engine(model(search=search), max_sessions=1, max_batch=1) as engine:
            return await said(engine.open_session(), silence(3.0))

    assert run(main()) == []
    assert watched.threads == set()
