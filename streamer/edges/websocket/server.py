"""Listening on `ws://host:port/v1/stream`, and who may connect.

Owns the socket, the handshake's checks, the set of connections and their shutdown. Must not know:
messages, sessions, audio.

Limits, and what happens at them: too many connections get HTTP 503, too many sessions the error
`capacity` and 1013; an audio frame too large closes with 1009, a text too large with 4400; messages
too frequent are read later, so that TCP slows the client, and a session that lags does the same; a
client that sends nothing for `idle_timeout_s` gets the error `timeout` and 4408, one that does not
read for `send_timeout_s` is dropped.
"""

import asyncio
import http
import ipaddress
import logging
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets import Headers
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from streamer.config import EndpointRules, ServerConfig
from streamer.edges.websocket.connection import Connection, ServedModel
from streamer.engine.engine import Engine

PATH = "/v1/stream"
QUEUED_FRAMES = 8  # received and not yet decoded; then TCP slows the client
WRITE_LIMIT_BYTES = 16 << 10  # unsent; then sending waits

# The library logs peers' faults with tracebacks; ours are logged by us, theirs are answered.
library_logger = logging.getLogger(f"{__name__}.library")
library_logger.setLevel(logging.CRITICAL)


class ListenError(Exception):
    """The address cannot be listened on, in one sentence for the user."""


class WebSocketServer:
    """Serves from `async with WebSocketServer(…) as server:` to the end of the block.

    At the end it stops accepting, lets every session finish what it has received, sends `closed`
    and closes with 1012; what is left after `drain_timeout_s` is cut.
    """

    def __init__(
        self, engine: Engine, endpoint: EndpointRules, config: ServerConfig, model: ServedModel
    ) -> None:
        self._engine, self._endpoint, self._config, self._model = engine, endpoint, config, model
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        config = self._config
        try:
            self._server: Server = await serve(
                self._handle,
                config.host,
                config.port,
                process_request=self._admit,
                compression=None,  # speech does not deflate, and bombs do
                # Pongs queue behind megabytes of audio while reading is paused, so a late one says
                # nothing; TCP_USER_TIMEOUT and the send timeout find the dead.
                ping_timeout=None,
                max_size=config.max_frame_bytes,
                max_queue=QUEUED_FRAMES,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=config.start_timeout_s,
                close_timeout=config.send_timeout_s,
                logger=library_logger,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close(close_connections=False)
        try:
            async with asyncio.timeout(self._config.drain_timeout_s):
                async with asyncio.TaskGroup() as leaving:
                    for each in self._connections:
                        leaving.create_task(each.leave(), name=f"leave {each.id}")
                await self._server.wait_closed()
        except TimeoutError:
            for each in self._connections:
                each.cut()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """An HTTP refusal, or None to go on with the handshake."""
        refusal = refused(request.path, request.headers, self._config)
        if refusal is not None:
            return connection.respond(*refusal)
        if len(self._server.connections) >= self._config.max_connections:
            response = connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
            response.headers["Retry-After"] = "5"
            return response
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        handler = Connection(connection, self._engine, self._endpoint, self._config, self._model)
        self._connections.add(handler)
        try:
            await handler.run()
        finally:
            self._connections.discard(handler)


def refused(
    path: str, headers: Headers, config: ServerConfig
) -> tuple[http.HTTPStatus, str] | None:
    """Status and reason when a handshake must not go on.

    Any web page may open a socket to this machine, so a browser's Origin must be a loopback one or
    configured; a page may also point its own name here, so the Host must be one of ours. Programs
    send no Origin.
    """
    hosts = headers.get_all("Host")
    try:
        wanted = urlsplit(path).path
    except ValueError:
        return http.HTTPStatus.BAD_REQUEST, "expected a URL path\n"
    if len(hosts) > 1:
        return http.HTTPStatus.BAD_REQUEST, "expected one Host header\n"
    if wanted != PATH:
        return http.HTTPStatus.NOT_FOUND, f"the recognizer is at {PATH}\n"
    host = _hostname(f"//{''.join(hosts)}")
    ours = {config.host.lower(), *(name.lower() for name in config.allowed_hosts)}
    # A page's own name cannot be an address, so on an open bind any address will do.
    by_address = not is_loopback(config.host) and _is_address(host)
    if not (is_loopback(host) or host in ours or by_address):
        return (
            http.HTTPStatus.MISDIRECTED_REQUEST,
            "not served under this host name: see --allowed-hosts\n",
        )
    allowed = {origin.lower() for origin in config.allowed_origins}
    for origin in headers.get_all("Origin"):
        web = origin.lower().startswith(("http://", "https://"))
        if origin.lower() not in allowed and not (web and is_loopback(_hostname(origin))):
            return http.HTTPStatus.FORBIDDEN, "this origin is not allowed: see --allowed-origins\n"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
