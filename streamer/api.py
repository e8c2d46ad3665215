r"""The recognizer as a library: everything is put together here and in `streamer.cli`.

A file, in three lines (`import streamer` loads these names lazily):

    import streamer
    for final in streamer.transcribe("talk.wav"):
        print(f"{final.start:7.2f} {final.text}")

A microphone, or any async source of float32 16 kHz samples, in ten:

    import asyncio, streamer

    async def main():
        async with streamer.open_engine() as engine, streamer.Microphone() as microphone:
            async for event in streamer.listen(engine, microphone):
                match event:
                    case streamer.Partial(committed=committed, tail=tail):
                        print(committed, tail, end="\r")
                    case streamer.Final(text=text):
                        print(text)

    asyncio.run(main())

A file in async code: `with streamer.AudioFile("talk.wav") as file:` its blocks are the source
`streamer.stream(file)`.

An engine with many sessions: `recognize(engine, source)` once for each source, in as many tasks as
you like, or `engine.open_session()` to send, flush and read by yourself.

Owns the conversations with a running engine. Must not know: the command line.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from streamer.assembly import (
    build_engine,
    build_model,
    build_runner,
    build_search,
    check_endpoint,
    decoding_options,
    geometry,
    load_acoustic,
)
from streamer.audio import Samples
from streamer.config import Config, DecodingOptions, EndpointRules
from streamer.core.hypothesis import Event, Final
from streamer.core.recognizer import Model
from streamer.edges import audio_file
from streamer.edges.microphone import Heard
from streamer.engine.channels import Channels
from streamer.engine.engine import Engine
from streamer.engine.errors import SessionError
from streamer.engine.session import Session
from streamer.wording import Wording, build_wording

# fmt: off
__all__ = [
    "build_engine", "build_model", "build_runner", "build_search", "check_endpoint",
    "decoding_options", "geometry",
    "listen", "load_acoustic", "open_engine", "recognize", "recognize_channels", "transcribe",
]
# fmt: on

_Heard = TypeVar("_Heard", Session, Channels)


def transcribe(path: str | Path, config: Config = Config()) -> list[Final]:  # noqa: B008 (frozen)
    """Recognise a file (WAV, FLAC, OGG, MP3; "-" is standard input); returns its finals.

    Blocks until done, so it is not for async code: there use `recognize`. Raises AudioFileError
    for what is no audio, ConfigError for a model or setting that cannot be had, RuntimeError in a
    running event loop.
    """
    _check_no_loop()
    with audio_file.AudioFile(path) as file:
        wording = build_wording(config.text, config.keywords)
        model = build_model(config.model)
        return asyncio.run(_finals(model, config, wording, file))


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("transcribe blocks and an event loop is running here: use recognize")


async def _finals(
    model: Model, config: Config, wording: Wording, file: audio_file.AudioFile
) -> list[Final]:
    options = decoding_options(model, config.model, config.endpoint)
    async with build_engine(model, config.engine, wording, options) as engine:
        events = recognize(engine, audio_file.stream(file), config.endpoint)
        return [event async for event in events if isinstance(event, Final)]


@asynccontextmanager
async def open_engine(config: Config = Config()) -> AsyncIterator[Engine]:  # noqa: B008 (frozen)
    """Load the model of `config` and run an engine for the length of the block.

    Raises ConfigError for a model or setting that cannot be had.
    """
    wording = build_wording(config.text, config.keywords)
    room = config.engine.max_sessions, config.engine.max_batch
    model = await asyncio.to_thread(build_model, config.model, *room)
    options = decoding_options(model, config.model, config.endpoint)
    async with build_engine(model, config.engine, wording, options) as engine:
        yield engine


def recognize(
    engine: Engine,
    source: AsyncIterable[Samples],
    endpoint: EndpointRules | None = None,
    options: DecodingOptions | None = None,
) -> AsyncGenerator[Event, None]:
    """Recognise one source of float32 (S,) samples in [-1, 1] at 16 kHz; give events as they come.

    The last one is `Closed`. `endpoint` and `options` None are the engine's own; options that its
    model cannot have are ignored. Raises CapacityError when the engine is full, SessionError when
    the engine fails, and whatever the source raises, behind all events of what it gave before.
    """

    async def feed(session: Session) -> None:
        async for samples in source:
            await session.send(samples)

    return _conversation(lambda: engine.open_session(endpoint, options), feed)


def recognize_channels(
    engine: Engine,
    source: AsyncIterable[Samples],
    channels: int,
    endpoint: EndpointRules | None = None,
    options: DecodingOptions | None = None,
) -> AsyncGenerator[Event, None]:
    """Recognise each channel of a source of float32 (S, C) samples by itself, C being `channels`.

    Events have the `channel` that they are of; the last one is one `Closed` for all. Each takes a
    session: CapacityError when the engine has not so many. Otherwise as `recognize`.
    """

    def opened() -> Channels:
        engine.check_room(channels)
        sessions = [engine.open_session(endpoint, options) for _ in range(channels)]
        return Channels(sessions, separate=True)

    async def feed(session: Channels) -> None:
        async for samples in source:
            await session.send(samples)

    return _conversation(opened, feed)


def listen(
    engine: Engine,
    microphone: Heard,
    endpoint: EndpointRules | None = None,
    options: DecodingOptions | None = None,
) -> AsyncGenerator[Event, None]:
    """Recognise an open Microphone until its `finish()`; lost audio comes as `Gap`.

    Raises as `recognize`, and MicrophoneError when the device goes away.
    """

    async def feed(session: Session) -> None:
        async for block in microphone.blocks():
            if block.lost_samples:
                session.report_gap(block.lost_samples)
            await session.send(block.samples)

    return _conversation(lambda: engine.open_session(endpoint, options), feed)


async def _conversation(
    opened: Callable[[], _Heard], feed: Callable[[_Heard], Awaitable[None]]
) -> AsyncGenerator[Event, None]:
    """One session: `feed` fills it in a task of its own, its events are given meanwhile."""

    async def fill(session: _Heard) -> None:
        try:
            await feed(session)
        except Exception:
            await session.finish()  # what was heard before is told, and then the failure
            raise
        await session.finish()

    async with opened() as session:
        filling = asyncio.create_task(fill(session), name="feed")
        try:
            async for event in session:
                yield event
        finally:
            filling.cancel()
            await asyncio.wait([filling])
            failure = None if filling.cancelled() else filling.exception()
            if failure is not None and not isinstance(failure, SessionError):
                raise failure  # the source's own fault, not the reader's view of it
