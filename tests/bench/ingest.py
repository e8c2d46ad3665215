"""Audio messages that one core of the websocket server takes in: one table.

    python -m tests.bench.ingest [SECONDS]

A real server in a process of its own, with a model that costs nothing and hears silence, so that
what is measured is frames off the wire into sessions, and acknowledgements back. Clients send as
fast as the server reads. "µs" is processor time of the server's process for each audio message, and
"messages/s" what one core could take at that price, whatever else the machine does.
"""

import asyncio
import json
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from streamer import messages
from streamer.benchmark.observation import Geometry, Meters
from streamer.benchmark.remote import started
from streamer.config import EndpointRules, ServerConfig
from streamer.edges.websocket import ServedModel, WebSocketServer
from streamer.engine.engine import Engine
from tests.bench.host import FreeModel
from tests.fakes import CONTEXT, GRID, read_frames

WARM_UP_S = 1.0
CHUNK_SAMPLES = GRID.samples(CONTEXT.chunk)


def serve(pipe: "Connection[Any, Any]", slots: int) -> None:
    asyncio.run(_serve(pipe, slots))


async def _serve(pipe: "Connection[Any, Any]", slots: int) -> None:
    silence = read_frames(np.zeros(CHUNK_SAMPLES, np.float32), GRID.hop_samples)
    model = FreeModel(slots, silence)
    config = ServerConfig(port=0, max_connections=slots + 1, max_messages_per_s=1_000_000)
    async with (
        Engine(model, max_sessions=slots, max_batch=64) as engine,
        WebSocketServer(engine, EndpointRules(), config, ServedModel("free", 335)) as server,
    ):
        pipe.send((server.port, Geometry.of(CONTEXT, GRID)))
        while await asyncio.to_thread(pipe.recv) is not None:
            pipe.send(Meters(time.thread_time(), time.process_time()))


async def flood(socket: ClientConnection, packet: bytes) -> None:
    while True:
        await socket.send(packet)
        await asyncio.sleep(0)


async def read(socket: ClientConnection, taken: dict[ClientConnection, int]) -> None:
    """Note the samples that the server has taken in: what is sent may still be on its way."""
    async for text in socket:
        said = json.loads(text)
        if said["type"] == "ack":
            taken[socket] = said["received"]


async def measure(streams: int, packet_ms: int, seconds: float) -> None:
    packet = bytes(32 * packet_ms)
    async with started(serve, streams) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/stream"
        sockets = [await connect(url, compression=None, proxy=None) for _ in range(streams)]
        for socket in sockets:
            await socket.send(messages.encode(messages.Start()))
        taken: dict[ClientConnection, int] = {}
        tasks = [asyncio.create_task(flood(socket, packet)) for socket in sockets]
        tasks += [asyncio.create_task(read(socket, taken)) for socket in sockets]
        await asyncio.sleep(WARM_UP_S)
        before, first, begin_s = await server.meters(), sum(taken.values()), time.monotonic()
        await asyncio.sleep(seconds)
        after, samples = await server.meters(), sum(taken.values()) - first
        passed_s = time.monotonic() - begin_s
        for task in tasks:
            task.cancel()
        for socket in sockets:
            socket.transport.abort()
    count = samples / (16 * packet_ms)
    cpu_us = 1e6 * (after.process_s - before.process_s) / count
    print(
        f"{packet_ms:9d} {streams:8d} {count / passed_s:12.0f} {cpu_us:8.1f} {1e6 / cpu_us:12.0f}"
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    print("packet ms  streams    taken / s       µs   messages/s")
    for packet_ms in (20, 100):
        for streams in (1, 16, 100):
            asyncio.run(measure(streams, packet_ms, seconds))


if __name__ == "__main__":
    main()
