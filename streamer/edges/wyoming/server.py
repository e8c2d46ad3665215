"""Listening for Wyoming clients, such as Home Assistant.

Owns the socket, the set of connections and their shutdown. Must not know: events, sessions, audio.
At its limit, `max_connections`, a client is closed at once.
"""

import asyncio
from types import TracebackType
from typing import Self

from streamer.config import ConfigError, EndpointRules, WyomingConfig
from streamer.edges.wyoming.connection import Connection, Program
from streamer.edges.wyoming.framing import MAX_LINE_BYTES
from streamer.engine.engine import Engine

DRAIN_S = 5.0  # what was said has so long to be answered at shutdown
WRITE_LIMIT_BYTES = 16 << 10  # unsent; then sending waits


class WyomingServer:
    """Serves from `async with WyomingServer(…) as server:` to the end of the block.

    Raises ConfigError for an address that cannot be listened on.
    """

    def __init__(
        self, engine: Engine, endpoint: EndpointRules, config: WyomingConfig, program: Program
    ) -> None:
        self._engine, self._endpoint = engine, endpoint
        self._config, self._program = config, program
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        config = self._config
        self._tasks = asyncio.TaskGroup()
        try:
            self._server = await asyncio.start_server(
                self._join, config.host, config.port, limit=MAX_LINE_BYTES
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        try:
            async with asyncio.timeout(DRAIN_S), asyncio.TaskGroup() as leaving:
                for each in self._connections:
                    leaving.create_task(each.leave(), name=f"wyoming leave {each.id}")
        except TimeoutError:
            for each in self._connections:
                each.cut()
        finally:
            await self._tasks.__aexit__(kind, error, trace)
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(self._server.sockets[0].getsockname()[1])

    def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._config.max_connections:
            writer.transport.abort()
            return
        writer.transport.set_write_buffer_limits(WRITE_LIMIT_BYTES)
        connection = Connection(
            reader, writer, self._engine, self._endpoint, self._config, self._program
        )
        self._connections.add(connection)
        serving = self._tasks.create_task(connection.run(), name=f"wyoming {connection.id}")
        serving.add_done_callback(lambda _: self._connections.discard(connection))
