"""`python -m tests.speaker PORT OUTBOX`: sessions of numbered finals for a broker, until killed.

Writes a line behind each session.
"""

import asyncio
import sys
from itertools import count

from streamer.config import EndpointRules, MqttConfig
from streamer.edges.mqtt import MqttEdge, broker
from streamer.engine.engine import Engine
from tests.fakes import FakeModel, speak

UTTERANCES = 5  # of a session


async def main(port: str, outbox: str) -> None:
    broker.FIRST_RETRY_S, broker.LAST_RETRY_S = 0.02, 0.1
    config = MqttConfig(f"mqtt://127.0.0.1:{port}", outbox=outbox)
    async with (
        Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
        MqttEdge(engine, EndpointRules(), config),
    ):
        for number in count():
            async with engine.open_session(name=f"session-{number}") as session:
                for letter in "abcdefgh"[:UTTERANCES]:
                    await session.send(speak(letter))
                    await session.flush()
                await session.finish()
                async for _ in session:
                    await asyncio.sleep(0.002)  # so that there is a moment to be killed at
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
