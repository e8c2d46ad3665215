"""A server over the fake model, and a client of the protocol's own library that speaks to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient

from streamer.config import EndpointRules, WyomingConfig
from streamer.edges.wyoming import Program, WyomingServer
from streamer.engine.engine import Engine
from tests.fakes import FakeModel
from tests.serving import pcm

RULES = EndpointRules(silence_s=0.3)


@asynccontextmanager
async def serving(
    slots: int = 2, model: FakeModel | None = None, **settings: Any
) -> AsyncIterator[WyomingServer]:
    async with (
        Engine(model or FakeModel(slots=slots), max_sessions=slots, max_batch=4) as engine,
        WyomingServer(engine, RULES, WyomingConfig(**settings), Program("fake", "1")) as server,
    ):
        yield server
    assert engine.open_sessions == 0


@asynccontextmanager
async def client(server: WyomingServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{server.port}") as joined:
        yield joined


async def speak_to(joined: AsyncClient, samples: np.ndarray, size: int = 2_048) -> None:
    await joined.write_event(Transcribe(language="en").event())
    await joined.write_event(AudioStart(16_000, 2, 1).event())
    await chunks(joined, samples, size)
    await joined.write_event(AudioStop().event())


async def chunks(joined: AsyncClient, samples: np.ndarray, size: int = 2_048) -> None:
    data = pcm(samples)
    for at in range(0, len(data), size):
        await joined.write_event(AudioChunk(16_000, 2, 1, data[at : at + size]).event())


async def answer(joined: AsyncClient) -> tuple[str, list[str]]:
    """The transcript, and the types of events up to its end."""
    streamed, types = "", []
    while True:
        event = await joined.read_event()
        assert event is not None
        types.append(event.type)
        if TranscriptChunk.is_type(event.type):
            streamed += TranscriptChunk.from_event(event).text
        if Transcript.is_type(event.type):
            text = Transcript.from_event(event).text
            assert text == streamed  # append-only, and nothing was taken back
            if text:
                last = await joined.read_event()
                assert last is not None
                types.append(last.type)
            return text, types
