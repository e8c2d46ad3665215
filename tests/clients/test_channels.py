"""The Python client with channels that are heard apart: lost connections, lost sessions."""

import asyncio
from itertools import groupby

import numpy as np
import pytest

from clients.python import Patience, Recognition, recognition
from clients.python.outgoing import Outgoing
from clients.python.timeline import Timeline
from streamer import messages as m
from tests.chaos import CuttingProxy
from tests.edges.test_channels import CALL, STEREO
from tests.serving import in_loop, pcm, service

PARTS = [CALL[at : at + 3_333] for at in range(0, len(CALL), 3_333)]


async def said_over(url: str) -> list[m.ServerMessage]:
    """What the call says, acknowledgements and partials left out."""
    soon = Patience(first_s=0.01, longest_s=0.05)
    async with Recognition(url, m.Start(STEREO), patience=soon) as stream:

        async def say() -> None:
            for each in PARTS:
                await stream.send(each)
                await asyncio.sleep(0)
            await stream.stop()

        saying = asyncio.create_task(say(), name="say")
        heard = [message async for message in stream]
        await saying
    return [each for each in heard if isinstance(each, m.SpeechStart | m.Final | m.Closed)]


def by_channel(heard: list[m.ServerMessage]) -> dict[int, list[m.ServerMessage]]:
    """Which channel is first to say something is nobody's promise."""

    def channel(message: m.ServerMessage) -> int:
        return getattr(message, "channel", None) or 0

    return {key: list(own) for key, own in groupby(sorted(heard, key=channel), channel)}


@in_loop
async def test_no_cut_loses_or_doubles_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "ANSWER_TIMEOUT_S", 1.0)
    cuts = 0
    async with service(slots=64) as running:
        uncut = await said_over(running.url)
        assert {len(own) for own in by_channel(uncut).values()} == {4, 5}  # and `closed`
        for seed in range(4):
            port = running.server.port
            proxy = CuttingProxy(port, cuts=5, seed=seed, max_up=60_000, max_down=3_000)
            async with proxy:
                assert by_channel(await said_over(proxy.url)) == by_channel(uncut)
            cuts += proxy.cuts
    assert cuts >= 10


def test_what_is_in_the_finals_of_all_channels_is_kept_no_longer() -> None:
    outgoing = Outgoing(m.Start(STEREO), keeps_finals=True)
    for _ in range(4):
        outgoing.add(pcm(np.zeros(32_000)))  # a second of both
        outgoing.next()
    outgoing.taken(4 * 64_000, 0)
    outgoing.final_until(3.0, 0)
    assert outgoing.unheard_s == 4.0
    outgoing.final_until(2.0, 1)
    assert outgoing.unheard_s == 2.0
    assert outgoing.restart() == (2.0, 0.0)
    outgoing.final_until(1.0)  # of all, on the clock of the new session
    assert outgoing.unheard_s == 1.0


def test_utterances_of_each_channel_are_counted_on_in_a_new_session() -> None:
    timeline = Timeline()

    def final(channel: int, utterance: int) -> m.ServerMessage:
        return timeline.placed(m.Final(utterance, "so", (), 0.0, 1.0, 1.0, "end", channel=channel))

    for channel, count in ((0, 3), (1, 1)):
        for utterance in range(count):
            assert final(channel, utterance) == m.Final(
                utterance, "so", (), 0.0, 1.0, 1.0, "end", channel=channel
            )
    timeline.begin(2.0)
    placed = [final(0, 0), final(1, 0)]
    assert [(each.utterance, each.end) for each in placed if isinstance(each, m.Final)] == [
        (3, 3.0),
        (1, 3.0),
    ]
    assert timeline.placed(m.SpeechStart(1.0, 1)) == m.SpeechStart(3.0, 1)
    assert timeline.placed(m.Gap(1.0, 1.0, 1)) == m.Gap(3.0, 1.0, 1)
    append = m.Append(0, "so", 1)
    assert [timeline.placed(append), timeline.placed(append)] == [
        m.Append(1, "so", 1),
        m.Append(1, " so", 1),
    ]
    assert timeline.placed(m.Closed(16_000, 2)) == m.Closed(48_000, 6)
