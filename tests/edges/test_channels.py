"""Several channels in one session, each heard by itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from clients.demo import CLIP
from clients.python import recognize
from streamer import messages as m
from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.chunker import Window
from streamer.core.frames import Frames
from streamer.edges.websocket import conversations
from streamer.edges.websocket.journal import Journal
from tests.edges.test_resume import begun, cut, heard_until, open_sessions, resumed
from tests.fakes import FakeModel, silence, speak
from tests.serving import Service, errors, finals, in_loop, pcm, said, said_to, service

STEREO = m.AudioFormat(channels=2, separate=True)
START, STOP = m.encode(m.Start(STEREO)), m.encode(m.Stop())
RESUMABLE = m.encode(m.Start(STEREO, resume=True))
CALLER = np.concatenate([speak("good day"), silence(1.2), speak("turn on the lamp")])
AGENT = np.concatenate([silence(0.7), speak("which lamp is it"), silence(0.9), speak("so")])
Numbered = list[tuple[m.ServerMessage, int]]


def interleaved(*channels: np.ndarray) -> bytes:
    """The channels as one stream; the shorter ones end in silence."""
    length = max(len(each) for each in channels)
    padded = [np.pad(each, (0, length - len(each))) for each in channels]
    return pcm(np.stack(padded, axis=1).ravel())


CALL = interleaved(CALLER, AGENT)


def of_channel(heard: Sequence[m.ServerMessage], channel: int) -> list[m.ServerMessage]:
    """What a mono session would have said."""
    own = [each for each in heard if getattr(each, "channel", None) == channel]
    return [replace(each, channel=None) for each in own]  # type: ignore[type-var, call-arg]


def promised(heard: Sequence[m.ServerMessage]) -> list[m.ServerMessage]:
    """What does not depend on how fast somebody reads."""
    return [each for each in heard if isinstance(each, m.SpeechStart | m.Final | m.Append)]


def texts(heard: Sequence[m.ServerMessage]) -> list[list[str]]:
    return [finals(of_channel(heard, each)) for each in range(2)]


def packets_of(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    edges = [0, *np.minimum(np.cumsum(sizes), len(data)).tolist(), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=8)
@given(st.lists(st.integers(1, 9_001), min_size=1, max_size=40), st.booleans())
def test_each_channel_is_heard_as_if_it_were_alone(sizes: list[int], append_only: bool) -> None:
    start = m.Start(append_only=append_only)
    spoken = [np.pad(each, (0, len(CALL) // 4 - len(each))) for each in (CALLER, AGENT)]

    @in_loop
    async def scenario() -> None:
        async with service() as running:
            both = m.encode(replace(start, audio=STEREO))
            heard, code = await said_to(running.url, both, *packets_of(CALL, sizes), STOP)
            assert (errors(heard), code) == ([], 1000)
            alone = [await said_to(running.url, m.encode(start), pcm(x), STOP) for x in spoken]
        for channel, (expected, _) in enumerate(alone):
            assert promised(of_channel(heard, channel)) == promised(expected)
        assert texts(heard) == [["good day", "turn on the lamp"], ["which lamp is it", "so"]]
        assert heard[-1] == m.Closed(len(CALL) // 4, 4)
        kinds = (m.Partial, m.SpeechStart, m.Final, m.Append)
        assert all(each.channel in (0, 1) for each in heard if isinstance(each, kinds))

    scenario()


@in_loop
async def test_acks_count_what_all_channels_have() -> None:
    async with service() as running:
        heard, _ = await said_to(running.url, START, interleaved(silence(3.0), silence(3.0)), STOP)
    acks = [0, *(ack.received for ack in heard if isinstance(ack, m.Ack)), 48_000]
    assert all(0 <= b - a <= 8_000 for a, b in itertools.pairwise(acks))


@in_loop
async def test_flush_and_configure_are_answered_once_and_hold_for_all() -> None:
    slow = m.encode(m.Configure(endpoint=m.EndpointPatch(silence_ms=5_000)))
    pause = silence(1.2)
    spoken = interleaved(*(np.concatenate([speak(each), pause]) for each in ("one", "two")))
    flushes = [m.encode(m.Flush(each)) for each in ("a", "b", "c")]
    async with service() as running:
        part = interleaved(speak("one"), speak("two"))
        sent = [START, part, flushes[0], part, *flushes[1:], slow, spoken, spoken, STOP]
        heard, code = await said_to(running.url, *sent)
    assert (errors(heard), code) == ([], 1000)
    assert [each.id for each in heard if isinstance(each, m.Flushed)] == ["a", "b", "c"]
    before = heard[: heard.index(m.Flushed("a"))]
    assert texts(before) == [["one"], ["two"]]  # both, before the answer
    assert [each.sample for each in heard if isinstance(each, m.Configured)] == [len(part) // 2]
    assert texts(heard) == [["one", "one", "one one"], ["two", "two", "two two"]]


@in_loop
async def test_a_session_of_two_channels_takes_two_slots_or_none() -> None:
    async with service(slots=3) as running:
        async with connect(running.url) as socket:
            await socket.send(START)
            await socket.recv()
            assert running.engine.open_sessions == 2
            heard, code = await said_to(running.url, START)
            assert (errors(heard), code) == ([("capacity", True)], 1013)
            assert running.engine.open_sessions == 2
            heard, code = await said_to(running.url, m.encode(m.Start()), STOP)  # one is left
            assert (errors(heard), code) == ([], 1000)
            for each in (CALL, STOP):
                await socket.send(each)
            assert texts((await said(socket))[0])[0] == ["good day", "turn on the lamp"]
        await open_sessions(running, 0)
        too_many = m.encode(m.Start(replace(STEREO, channels=4)))
        heard, code = await said_to(running.url, too_many)
        assert (errors(heard), code) == ([("bad_request", True)], 4400)  # it can never be had


@in_loop
async def test_those_that_left_make_room_where_that_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversations, "YIELDS_AFTER_S", 0.0)
    mono = m.encode(m.Start(resume=True))
    async with service(slots=3) as running, connect(running.url) as stays:
        left = []
        for _ in range(2):
            socket, ready = await begun(running, mono)
            await cut(socket)
            left.append(ready)
        await stays.send(m.encode(m.Start()))
        await stays.recv()
        three = m.encode(m.Start(replace(STEREO, channels=3)))
        heard, _ = await said_to(running.url, three)
        assert errors(heard) == [("capacity", True)]
        assert running.engine.open_sessions == 3  # nobody was ended in vain
        heard, code = await said_to(running.url, START, CALL, STOP)
        assert (texts(heard)[1], code) == (["which lamp is it", "so"], 1000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
@in_loop
async def test_a_session_goes_on_where_its_connection_was_lost(share: float) -> None:
    at = int(len(CALL) * share) | 1  # within a sample
    async with service() as running:
        whole, _ = await said_to(running.url, RESUMABLE, CALL, STOP)
        socket, ready = await begun(running, RESUMABLE)
        await socket.send(CALL[:at])
        await socket.send(m.encode(m.Flush("")) if share == 0.9 else b"")
        first: Numbered = await heard_until(socket, m.Flushed) if share == 0.9 else []
        await cut(socket)
        socket, answer = await resumed(running, ready, seq=max([0, *(n for _, n in first)]))
        for each in (CALL[answer.audio_bytes :], STOP):
            await socket.send(each)
        rest = await heard_until(socket, m.Closed)
    numbers = [number for _, number in [*first, *rest] if number]
    assert numbers == list(range(1, len(numbers) + 1))
    heard = [message for message, _ in [*first, *rest]]
    if share != 0.9:  # the flush cuts words
        for channel in range(2):
            own, expected = (promised(of_channel(each, channel)) for each in (heard, whole))
            assert own == expected
    assert heard[-1] == m.Closed(len(CALL) // 4, sum(map(len, texts(heard))))


def _partial(channel: int, revision: int) -> m.Partial:
    return m.Partial(0, revision, "so", "", (), 0.0, 1.0, channel)


@in_loop
async def test_the_newest_partial_of_each_channel_waits_and_comes_again_after_a_resume() -> None:
    journal, final = Journal(8, keeps=True), m.Final(0, "so", (), 0.0, 1.0, 1.0, "end", channel=0)
    older, newer, other = _partial(0, 1), _partial(0, 2), _partial(1, 1)
    for each in (m.SpeechStart(0.0, 0), m.SpeechStart(0.0, 1), older, other, newer):
        journal.commit(each)
    assert [(await journal.next())[0] for _ in range(2)] == [1, 2]
    expected = [(None, other), (None, newer)]  # the one that waits longest goes first
    assert [await journal.next() for _ in range(2)] == expected
    journal.rewind(2)
    assert [await journal.next() for _ in range(2)] == expected
    journal.commit(final)
    journal.rewind(2)
    assert [await journal.next() for _ in range(2)] == [(None, other), (3, final)]


class Broken(FakeModel):
    """Fails on the session that had the last slot, once it hears a letter."""

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        if self.slots - 1 in slots and any(window.samples.any() for window in windows):
            raise RuntimeError("the model has failed")
        return super().run(slots, windows)


@in_loop
async def test_a_channel_that_fails_ends_the_session() -> None:
    async with service(slots=2, model=Broken(slots=2)) as running:
        heard, code = await said_to(running.url, RESUMABLE, CALL)
        assert (errors(heard), code) == ([("internal", True)], 1011)
        await open_sessions(running, 0)


@in_loop
async def test_what_cannot_be_heard_apart_is_refused() -> None:
    mono = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
    async with service() as running:
        heard, code = await said_to(running.url, START, mono, STOP)
        assert (errors(heard), code) == ([("unsupported_audio", True)], 4415)
        opus = '{"type":"start","audio":{"encoding":"ogg_opus","separate":true}}'
        heard, code = await said_to(running.url, opus)
        assert (errors(heard), code) == ([("unsupported_audio", True)], 4415)


async def _heard(running: Service, audio: m.AudioFormat, data: bytes) -> list[m.ServerMessage]:
    async def packets() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 3_333):
            yield data[at : at + 3_333]

    start = m.Start(audio, resume=True)
    return [each async for each in recognize(running.url, packets(), start)]


@pytest.mark.usefixtures("one_thread")
def test_the_model_that_ships_hears_both_sides_of_a_call() -> None:
    clip, rate = soundfile.read(CLIP, dtype="float32")
    sides = np.concatenate([clip, silence(1.0)]), np.concatenate([silence(1.0), clip])
    runner = build_model(ModelConfig(dtype="float32"), slots=2)

    @in_loop
    async def scenario() -> None:
        async with service(slots=2, model=runner) as running:
            call = await _heard(running, STEREO, interleaved(*sides))
            alone = await asyncio.gather(
                *(_heard(running, m.AudioFormat(), pcm(each)) for each in sides)
            )
        assert rate == 16_000
        assert texts(call) == [finals(each) for each in alone]
        assert all(texts(call))

    scenario()
