"""Listening on one port: `/v1/stream` for audio, `/v1/captions` for viewers, `/` for the pages.

Owns the socket, what each path leads to, the connections and their shutdown. Must not know:
messages, sessions, audio, tokens.

Limits, and what happens at them: too many connections, or viewers among them, get HTTP 503, too
many of one token or address 429, too many sessions the error `capacity` and 1013; an audio frame
too large closes with 1009, a text too large with 4400; messages too frequent are read later, so
that TCP slows the client, and a session that lags does the same; a client that sends nothing for
`idle_timeout_s` gets the error `timeout` and 4408. `wire` and `door` have the limits of bytes and
sockets.
"""

import asyncio
import http
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamer.config import EndpointRules, ServerConfig
from streamer.edges.websocket.admission import is_this_machine, refused, wanted
from streamer.edges.websocket.broadcast import Broadcasts
from streamer.edges.websocket.connection import Connection
from streamer.edges.websocket.conversations import Conversations, ServedModel, ready
from streamer.edges.websocket.door import Door
from streamer.edges.websocket.gate import FULL_RETRY_S, SUBPROTOCOL, Gate, RefusalError
from streamer.edges.websocket.metrics import Metrics
from streamer.edges.websocket.tls import server_context
from streamer.edges.websocket.viewer import Viewer
from streamer.edges.websocket.web import Web
from streamer.edges.websocket.wire import Wire
from streamer.engine.engine import Engine
from streamer.engine.watchers import Opened

STREAM, CAPTIONS = "/v1/stream", "/v1/captions"
QUEUED_FRAMES = 8  # received and not yet decoded; then TCP slows the client
WRITE_LIMIT_BYTES = 16 << 10  # unsent; then sending waits
UTTERANCE_SHARE = 0.8  # of `drain_timeout_s`, in which utterances may come to their end

logger = logging.getLogger(__name__)

# The library logs peers' faults with tracebacks; ours are logged by us, theirs are answered.
library_logger = logging.getLogger(f"{__name__}.library")
library_logger.setLevel(logging.CRITICAL)


class ListenError(Exception):
    """The address cannot be listened on, in one sentence for the user."""


def asks_for_tokens(config: ServerConfig) -> bool:
    """Whether a server with these settings would; ConfigError for tokens or TLS it cannot use."""
    if config.tls_cert:
        server_context(config.tls_cert, config.tls_key)
    return Gate(config).asks


class WebSocketServer:
    """Serves from `async with WebSocketServer(…) as server:` to the end of the block.

    Viewers may follow the sessions of all edges. At the end it stops accepting, lets its own
    sessions come to the end of an utterance and finish what they have received, sends `closed` and
    closes with 1012; what is left after `drain_timeout_s` is cut.
    """

    def __init__(
        self, engine: Engine, endpoint: EndpointRules, config: ServerConfig, model: ServedModel
    ) -> None:
        """ConfigError for tokens or a certificate that cannot be used."""
        self._config, self._model = config, model
        self._tls = server_context(config.tls_cert, config.tls_key) if config.tls_cert else None
        self._broadcasts, self._gate = Broadcasts(), Gate(config)
        self._metrics = Metrics(engine)
        self._web = Web(engine, self._gate, self._metrics, lambda: self._is_ending)
        self._is_ending = False
        self._conversations = Conversations(engine, endpoint, config, model)
        self._paths = self._web.paths | {STREAM, CAPTIONS}
        self._opened = engine.watch()
        self._tasks = asyncio.TaskGroup()
        self._connections: set[Connection] = set()
        self._viewers: set[Viewer] = set()

    async def __aenter__(self) -> Self:
        config = self._config
        try:
            self._door = Door.at(config.host, config.port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        self._server: Server = await serve(
            self._handle,
            sock=self._door,
            ssl=self._tls,
            create_connection=Wire,
            process_request=self._admit,
            select_subprotocol=_select_subprotocol,
            server_header=None,
            compression=None,  # speech does not deflate, and bombs do
            max_size=config.max_frame_bytes,
            max_queue=QUEUED_FRAMES,
            write_limit=WRITE_LIMIT_BYTES,
            open_timeout=config.start_timeout_s,
            close_timeout=config.send_timeout_s,
            logger=library_logger,
        )
        await self._conversations.__aenter__()
        await self._tasks.__aenter__()
        self._showing = self._tasks.create_task(self._show_sessions(), name="broadcasts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_ending = True
        self._server.close(close_connections=False)
        own = self._conversations.ids
        self._conversations.give_up()
        grace_s = UTTERANCE_SHARE * self._config.drain_timeout_s
        try:
            async with asyncio.timeout(self._config.drain_timeout_s):
                async with asyncio.TaskGroup() as leaving:
                    for connection in self._connections:
                        leaving.create_task(
                            connection.leave(grace_s), name=f"leave {connection.id}"
                        )
                    for viewer in self._viewers:
                        leaving.create_task(viewer.leave(own), name=f"leave {viewer.id}")
                await self._server.wait_closed()
        except TimeoutError:
            for connection in self._connections:
                connection.cut()
            for viewer in self._viewers:
                viewer.cut()
            await self._server.wait_closed()
        finally:
            await self._conversations.__aexit__(None, None, None)
            self._showing.cancel()
            await self._tasks.__aexit__(kind, error, trace)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def sockets_inside(self) -> int:
        """Sockets of websockets, the ones that are being closed among them."""
        return self._door.inside

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """An answer over HTTP, or None to go on with the handshake."""
        assert isinstance(connection, Wire), connection
        refusal = refused(request.path, request.headers, self._config, self._paths)
        if refusal is not None:
            return self._web.refusal(request, RefusalError(*refusal))
        path = urlsplit(request.path).path
        peer = str(connection.remote_address[0])
        connection.address = self._gate.address(peer, request.headers)
        if path in self._web.paths:
            return self._web.answer(request, path, connection.address)
        try:
            self._let_in(connection, request, path)
        except RefusalError as why:
            return self._web.refusal(request, why)
        return None

    def _let_in(self, connection: Wire, request: Request, path: str) -> None:
        """Raises RefusalError for a websocket that may not be opened."""
        address, headers = connection.address, request.headers
        scope = "view" if path == CAPTIONS else "speak"
        connection.identity = self._gate.identify(address, headers, scope)
        may_guess = path == CAPTIONS and not wanted(request.path).is_secret
        if may_guess and not is_this_machine(address, headers):
            text = "only this machine may follow without a session's id\n"
            raise RefusalError(http.HTTPStatus.FORBIDDEN, text)
        too_many = self._door.inside >= self._config.max_connections
        if too_many or (path == CAPTIONS and len(self._viewers) >= self._config.max_viewers):
            unavailable = http.HTTPStatus.SERVICE_UNAVAILABLE
            raise RefusalError(unavailable, "too many clients\n", FULL_RETRY_S)
        self._gate.check_limits(address, connection.identity)

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Wire), connection
        assert connection.request is not None
        path, identity = connection.request.path, connection.identity
        kind = "captions" if urlsplit(path).path == CAPTIONS else "stream"
        self._door.let_in(connection.number)
        self._gate.enter(connection.address, identity)
        self._metrics.opened(kind)
        opened_at = asyncio.get_running_loop().time()
        about: dict[str, object] = {
            "kind": kind,
            "client": identity.name,
            "address": connection.address,
        }
        logger.info("websocket open", extra=about)
        try:
            if kind == "captions":
                await self._show(connection, path)
            else:
                await self._converse(connection)
        finally:
            self._gate.leave(connection.address, identity)
            self._metrics.closed(kind, connection.close_code)
            seconds = round(asyncio.get_running_loop().time() - opened_at, 3)
            about |= {"code": connection.close_code, "seconds": seconds}
            logger.info("websocket closed", extra=about)

    async def _converse(self, connection: ServerConnection) -> None:
        handler = Connection(connection, self._conversations, self._config)
        self._connections.add(handler)
        try:
            await handler.run()
        finally:
            self._connections.discard(handler)

    async def _show_sessions(self) -> None:
        """Broadcast every session that the engine opens, whichever edge it came by."""
        async with asyncio.TaskGroup() as relays:
            while True:
                opened = await self._opened.get()
                relays.create_task(self._broadcast(opened), name=f"broadcast {opened.id}")

    async def _broadcast(self, opened: Opened) -> None:
        about = ready(opened.id, self._config, self._model)
        broadcast = self._broadcasts.begin(about, opened.name)
        await self._broadcasts.relay(broadcast, opened.events)

    async def _show(self, connection: ServerConnection, path: str) -> None:
        viewer = Viewer(connection, self._broadcasts, wanted(path), self._config)
        self._viewers.add(viewer)
        try:
            await viewer.run()
        finally:
            self._viewers.discard(viewer)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours if it is offered, so that a browser with a ticket goes on; never a ticket."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None
