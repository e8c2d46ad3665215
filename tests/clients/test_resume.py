"""The Python client through connections that are cut: no word is lost, none doubled.

224 cuts at random bytes of both directions, over 16 sessions; what is heard equals the run without
cuts. Faults that a resume protocol may have are put in, and each must be noticed.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from clients.python import Patience, Recognition, recognition
from clients.python.outgoing import Outgoing
from streamer import messages as m
from streamer.config import ServerConfig
from streamer.edges.websocket import conversations
from streamer.edges.websocket.journal import Journal
from tests.chaos import CuttingProxy
from tests.fakes import silence, speak
from tests.serving import in_loop, pcm, service

SESSIONS, CUTS = 16, 14  # cuts of each session
SECONDS = 12  # of audio, about
SOON = Patience(first_s=0.01, longest_s=0.05)
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "nobody",
    "is",
    "looking",
    "at",
    "it",
]

Script = list[bytes | m.Flush | m.Configure]


def script(seed: int) -> Script:
    """Utterances, with flushes and settings between and within them, in packets of any size."""
    chance = random.Random(seed)
    said: Script = []
    while sum(len(each) for each in said if isinstance(each, bytes)) < SECONDS * 32_000:
        text = " ".join(chance.choices(WORDS, k=chance.randint(1, 8)))
        audio = pcm(np.concatenate([speak(text), silence(chance.choice([0.1, 0.3, 1.0]))]))
        while audio:
            size = chance.choice([1, 641, 3_200, 20_000])
            said.append(audio[:size])
            audio = audio[size:]
        if chance.random() < 0.3:
            said.append(m.Flush(str(len(said))))
        if chance.random() < 0.2:
            patch = m.EndpointPatch(silence_ms=chance.choice([300, 600, 900]))
            said.append(m.Configure(endpoint=patch))
    return said


async def heard(url: str, said: Script) -> list[m.ServerMessage]:
    """What a session says, partials and acknowledgements left out; its promises are checked."""
    messages: list[m.ServerMessage] = []
    async with Recognition(url, patience=SOON) as stream:
        saying = asyncio.create_task(say(stream, said), name="say")
        try:
            messages += [message async for message in stream]
            await saying
        finally:
            saying.cancel()
    check_promises(messages)
    return [each for each in messages if not isinstance(each, m.Partial | m.Ack | m.Ready)]


def in_order(heard: list[m.ServerMessage] | BaseException) -> object:
    """What must be equal: settings are answered when taken, whatever is decoded by then."""
    if isinstance(heard, BaseException):
        return repr(heard)
    answers = [each for each in heard if isinstance(each, m.Configured)]
    return answers, [each for each in heard if not isinstance(each, m.Configured)]


async def say(stream: Recognition, said: Script) -> None:
    for each in said:
        match each:
            case bytes():
                await stream.send(each)
            case m.Flush(id=name):
                await stream.flush(name)
            case m.Configure():
                await stream.configure(each)
        await asyncio.sleep(0)
    await stream.stop()


def check_promises(messages: list[m.ServerMessage]) -> None:
    assert sum(isinstance(each, m.Ready) for each in messages) == 1
    partials = [each for each in messages if isinstance(each, m.Partial)]
    shown = [each.revision for each in partials]
    # The newest partial may come again after a cut, and never an older one.
    assert shown == sorted(shown)
    committed: dict[int, str] = {}
    for each in messages:
        if isinstance(each, m.Partial):
            assert each.committed.startswith(committed.get(each.utterance, ""))
            committed[each.utterance] = each.committed
        elif isinstance(each, m.Final):
            assert each.text.startswith(committed.pop(each.utterance, ""))


@dataclass
class Outcome:
    uncut: list[list[m.ServerMessage]]
    cut: list[list[m.ServerMessage] | BaseException]
    cuts: int


async def run(sessions: int = SESSIONS) -> Outcome:
    scripts = [script(seed) for seed in range(sessions)]
    config = ServerConfig(port=0)
    # A client that is cut off before `ready` leaves a session that nobody knows.
    async with service(config, slots=SESSIONS * (CUTS + 2)) as running:
        uncut = await asyncio.gather(*(heard(running.url, each) for each in scripts))
        proxies = [
            CuttingProxy(running.server.port, cuts=CUTS, seed=seed, max_up=24_000, max_down=4_000)
            for seed in range(sessions)
        ]
        for proxy in proxies:
            await proxy.__aenter__()
        pairs = zip(proxies, scripts, strict=True)
        cut = await asyncio.gather(
            *(heard(proxy.url, each) for proxy, each in pairs), return_exceptions=True
        )
        for proxy in proxies:
            await proxy.__aexit__()
    return Outcome(list(uncut), list(cut), sum(proxy.cuts for proxy in proxies))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was cut off silently is soon given up; one that is only slow loses nothing."""
    monkeypatch.setattr(recognition, "ANSWER_TIMEOUT_S", 1.0)


@in_loop
async def test_no_cut_loses_or_doubles_anything() -> None:
    outcome = await run()
    for cut, uncut in zip(outcome.cut, outcome.uncut, strict=True):
        assert in_order(cut) == in_order(uncut)
    assert outcome.cuts >= 200
    finals = [each for each in itertools.chain(*outcome.uncut) if isinstance(each, m.Final)]
    assert sum(len(final.words) for final in finals) > 200


class EmitsFirst(Journal):
    """Sends events, and writes them down three at a time: what a cut comes between is not there."""

    def __init__(self, max_events: int, *, keeps: bool) -> None:
        super().__init__(max_events, keeps=keeps)
        self._waiting: deque[m.Event] = deque()
        self._emitted: list[m.Event] = []

    def commit(self, event: m.Event) -> None:
        self._waiting.append(event)
        self._changed.set()

    def rewind(self, number: int) -> None:
        self._emitted.clear()
        super().rewind(number)

    async def next(self) -> tuple[int | None, m.Event]:
        if self._read < self.last:
            return await super().next()
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        event = self._waiting.popleft()
        if isinstance(event, m.Partial):
            return None, event
        self._emitted.append(event)
        number = self.last + len(self._emitted)
        if len(self._emitted) == 3 or isinstance(event, m.Closed):
            for each in self._emitted:
                super().commit(each)
            self._emitted.clear()
            self._read = self.last
        return number, event


def replay_all_events(patch: pytest.MonkeyPatch) -> None:
    rewind = Journal.rewind
    patch.setattr(Journal, "rewind", lambda self, _: rewind(self, self._forgotten))


def emit_before_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conversations, "Journal", EmitsFirst)


def forget_what_was_heard(patch: pytest.MonkeyPatch) -> None:
    replay_all_events(patch)
    patch.setattr(Recognition, "_is_news", lambda *_: True)


def replay_all_audio(patch: pytest.MonkeyPatch) -> None:
    def resume(self: Outgoing, *_: int) -> None:
        self._rewind(self._first_bytes, self._first_messages)

    patch.setattr(Outgoing, "resume", resume)


@pytest.mark.parametrize("fault", [emit_before_commit, forget_what_was_heard, replay_all_audio])
@in_loop
async def test_a_fault_in_the_protocol_is_noticed(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    outcome = await run(sessions=2)
    assert list(map(in_order, outcome.cut)) != list(map(in_order, outcome.uncut))


@in_loop
async def test_events_that_come_twice_are_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replay_all_events(monkeypatch)
    outcome = await run(sessions=2)
    assert list(map(in_order, outcome.cut)) == list(map(in_order, outcome.uncut))
