"""How fast a client may send: by the clock of the test, which nothing else moves."""

import asyncio
from typing import cast

import pytest

from streamer.config import ServerConfig
from streamer.edges.websocket.intake import TEXT_CHARACTERS, Intake
from streamer.edges.websocket.peer import Peer
from tests.clock import Clock, in_clock


class Sending:
    """A peer that has everything sent already."""

    def __init__(self, *messages: str | bytes) -> None:
        self._messages = list(messages)

    async def receive(self) -> str | bytes:
        return self._messages.pop(0)


@pytest.mark.parametrize(
    ("message", "taken_s"),
    [
        ("x" * (TEXT_CHARACTERS - 1), 1.0),
        (bytes(10 * TEXT_CHARACTERS), 1.0),  # audio is no work by its length: it is paced as audio
        ("x" * TEXT_CHARACTERS, 3.0),
        ("x" * (4 * TEXT_CHARACTERS), 9.0),
    ],
)
@in_clock
async def test_a_text_counts_by_its_length(
    clock: Clock, message: str | bytes, taken_s: float
) -> None:
    peer = cast("Peer", Sending(*[message] * 20))
    intake = Intake(peer, ServerConfig(max_messages_per_s=10))

    async def read() -> None:
        for _ in range(20):
            assert await intake.receive(None) == message

    begun_at = clock.now
    reading = asyncio.create_task(read(), name="read")
    while not reading.done():
        await clock.wait(0.1)
    await reading
    assert clock.now - begun_at == pytest.approx(taken_s, abs=0.25)  # behind a burst of a second
