"""Listening for Wyoming clients, such as Home Assistant.

Owns the socket, the set of connections and their shutdown. Must not know: events, sessions, audio.
At its limit, `max_connections`, a client is closed at once.
"""

import asyncio
import ipaddress
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streamer.config import ConfigError, EndpointRules, WyomingConfig, cannot_listen
from streamer.edges.wyoming.connection import Connection, Program
from streamer.edges.wyoming.framing import MAX_LINE_BYTES
from streamer.engine.engine import Engine

if TYPE_CHECKING:
    from streamer.edges.wyoming.announcement import Announcement

DRAIN_S = 5.0  # what was said has so long to be answered at shutdown
WRITE_LIMIT_BYTES = 16 << 10  # unsent; then sending waits

logger = logging.getLogger(__name__)


class WyomingServer:
    """Serves from `async with WyomingServer(…) as server:` to the end of the block.

    The network is told, over multicast DNS, if the settings want it: `auto` does beyond loopback.
    Raises ConfigError for an address that cannot be listened on, or a missing package.
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
            raise ConfigError(cannot_listen(config.host, config.port, error)) from error
        try:
            self._announcement = self._announced()
        except ConfigError:
            self._server.close()
            raise
        await self._tasks.__aenter__()
        if self._announcement is not None:
            beginning = self._announcement.begin()
            self._announcing = self._tasks.create_task(beginning, name="wyoming announcement")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        if self._announcement is not None:
            self._announcing.cancel()
            await asyncio.wait([self._announcing])
            await self._announcement.end()
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

    def _announced(self) -> "Announcement | None":
        hosts = [str(each.getsockname()[0]) for each in self._server.sockets]
        loopback = all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts)
        wish = self._config.zeroconf
        if wish == "off" or (wish == "auto" and loopback):
            return None
        try:
            from streamer.edges.wyoming.announcement import Announcement
        except ModuleNotFoundError as missing:
            text = f"--wyoming-zeroconf needs {missing.name}: pip install -e '.[zeroconf]'"
            if wish == "on":
                raise ConfigError(text) from missing
            logger.info("wyoming: not announced to the network: %s", text)
            return None
        return Announcement(hosts, self.port)

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
