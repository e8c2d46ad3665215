"""`streamer serve`, put together: one engine and every edge that the settings ask for.

Owns which edges there are, the order in which they begin and end, and the lines that say where
they are. Must not know: the command line, what the engine's model is made of.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

from streamer import __version__
from streamer.config import CaptionsConfig, Config, ConfigError
from streamer.edges import websocket
from streamer.edges.caption_files import CaptionFolder
from streamer.edges.wyoming import Program, WyomingServer
from streamer.engine.engine import Engine
from streamer.engine.following import following

__all__ = ["check", "serve"]

FINISH_S = 5.0  # sessions that no edge ends have so long at shutdown

logger = logging.getLogger(__name__)


async def serve(
    engine: Engine,
    settings: Config,
    model: websocket.ServedModel,
    told: asyncio.Event,
    renew: asyncio.Event,
) -> None:
    """Serve until told; then stop accepting, finish what was heard and say goodbye.

    Whenever `renew` is set, tokens and certificate are read again.
    Caption files and MQTT begin first and end last: they have the sessions of all the others.
    Raises ConfigError, CaptionFileError and ListenError for what cannot be served.
    """
    try:
        async with AsyncExitStack() as edges:
            places = []
            if settings.captions.folder:
                places.append(await _begin_captions(edges, engine, settings.captions))
            if settings.mqtt.url:
                places.append(await _begin_mqtt(edges, engine, settings))
            if settings.wyoming.port:
                places.append(await _begin_wyoming(edges, engine, settings, model.name))
            own = websocket.WebSocketServer(engine, settings.endpoint, settings.server, model)
            listening = await edges.enter_async_context(own)
            address = f"{_shown(settings.server.host)}:{listening.port}"
            latency = f"latency {model.latency_ms} ms"
            ws, http = ("wss", "https") if settings.server.tls_cert else ("ws", "http")
            print(f"serving {model.name} ({latency}) at {ws}://{address}/v1/stream")
            print(
                *places, f"live captions in a browser at {http}://{address}/", sep="\n", flush=True
            )
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(_renew(own, renew), name="renew")
                await told.wait()
                renewing.cancel()
    except ExceptionGroup as failures:
        raise _unwrapped(failures) from None


def _unwrapped(failure: Exception) -> Exception:
    """What one edge raised alone, without the groups that the tasks of others put around it."""
    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        (failure,) = failure.exceptions
    return failure


async def _renew(server: websocket.WebSocketServer, asked: asyncio.Event) -> None:
    while await asked.wait():
        asked.clear()
        await server.reload()


async def _begin_captions(edges: AsyncExitStack, engine: Engine, settings: CaptionsConfig) -> str:
    folder = CaptionFolder(Path(settings.folder), settings.formats, logger.error)
    await edges.enter_async_context(following(engine, "captions", folder))
    edges.push_async_callback(engine.drain, FINISH_S)  # what the others leave behind ends here
    return f"captions of every session are kept in {settings.folder}"


async def _begin_mqtt(edges: AsyncExitStack, engine: Engine, settings: Config) -> str:
    try:
        from streamer.edges.mqtt import MqttEdge
    except ModuleNotFoundError as missing:
        raise ConfigError(f"MQTT needs {missing.name}: pip install -e '.[mqtt]'") from missing
    edge = await edges.enter_async_context(MqttEdge(engine, settings.endpoint, settings.mqtt))
    return f"events of every session go to {edge.address!r} under {settings.mqtt.topic}/out"


async def _begin_wyoming(
    edges: AsyncExitStack, engine: Engine, settings: Config, model: str
) -> str:
    server = WyomingServer(engine, settings.endpoint, settings.wyoming, Program(model, __version__))
    listening = await edges.enter_async_context(server)
    return f"Wyoming at tcp://{_shown(settings.wyoming.host)}:{listening.port}"


def check(settings: Config) -> None:
    """Raise ConfigError for what must not be served as it is set: open to others by oversight."""
    server, wyoming = settings.server, settings.wyoming
    has_tokens, is_open = websocket.asks_for_tokens(server), not websocket.is_loopback(server.host)
    reached = f"other machines can reach {server.host or 'every address'}"
    if is_open and not (has_tokens or server.allow_anonymous):
        raise ConfigError(f"{reached}: give a --token-file, or say --allow-anonymous")
    if is_open and not (server.tls_cert or server.allow_plaintext):
        raise ConfigError(f"{reached}: give a --tls-cert, or say --allow-plaintext")
    if wyoming.port and not (websocket.is_loopback(wyoming.host) or wyoming.allow_anonymous):
        text = f"other machines can reach Wyoming at {wyoming.host}, which has no tokens and no TLS"
        raise ConfigError(f"{text}: say --wyoming-allow-anonymous if they may")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
