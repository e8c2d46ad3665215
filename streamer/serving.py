"""`streamer serve`, put together: one engine and every edge that the settings ask for.

Owns which edges there are, the order in which they begin and end, and the lines that say where
they are. Must not know: the command line, what the engine's model is made of.
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from streamer import __version__
from streamer.config import Config, ConfigError
from streamer.edges import websocket
from streamer.edges.wyoming import Program, WyomingServer
from streamer.engine.engine import Engine

__all__ = ["serve", "warn_of_open_hosts"]


async def serve(
    engine: Engine, settings: Config, model: websocket.ServedModel, told: asyncio.Event
) -> None:
    """Serve until told; then stop accepting, finish what was heard and say goodbye.

    MQTT begins first and ends last: it publishes the sessions of all the others. Raises ConfigError
    and ListenError for what cannot be served.
    """
    async with AsyncExitStack() as edges:
        places = []
        if settings.mqtt.url:
            places.append(await _begin_mqtt(edges, engine, settings))
        if settings.wyoming.port:
            places.append(await _begin_wyoming(edges, engine, settings, model.name))
        own = websocket.WebSocketServer(engine, settings.endpoint, settings.server, model)
        listening = await edges.enter_async_context(own)
        address = f"{_shown(settings.server.host)}:{listening.port}"
        latency = f"latency {model.latency_ms} ms"
        print(f"serving {model.name} ({latency}) at ws://{address}/v1/stream")
        print(*places, f"live captions in a browser at http://{address}/", sep="\n", flush=True)
        await told.wait()


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


def warn_of_open_hosts(settings: Config) -> None:
    """Say on stderr which addresses others can reach: nothing asks them who they are."""
    hosts = [settings.server.host, *([settings.wyoming.host] if settings.wyoming.port else [])]
    for host in dict.fromkeys(hosts):
        if not websocket.is_loopback(host):
            print(
                f"streamer: warning: {host} can be reached from other machines, "
                "and there is no authentication yet: anyone who reaches it can use it",
                file=sys.stderr,
            )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
