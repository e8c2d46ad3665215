"""Listening on one port: `/v1/stream` for audio, `/v1/captions` for viewers, `/` for the pages.

Owns the socket, what each path leads to, the connections and their shutdown. Must not know:
messages, sessions, audio, tokens.

Limits, and what happens at them: too many connections, or viewers among them, get HTTP 503, too
many of one token or address 429, too many sessions the error `capacity` and 1013; an audio frame
too large closes with 1009, a text too large with 4400; messages too frequent are read later, so
that TCP slows the client, and a session that lags does the same; a client that is silent for
`idle_timeout_s` gets `timeout` and 4408. `wire` and `door` have the limits of bytes and sockets.
"""

import asyncio
import http
import logging
from collections.abc import Awaitable, Collection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from streamer.config import ConfigError, EndpointRules, ServerConfig, cannot_listen
from streamer.edges.websocket.admission import is_this_machine, refused, wanted
from streamer.edges.websocket.broadcast import Broadcasts
from streamer.edges.websocket.connection import Connection
from streamer.edges.websocket.conversations import Conversations, ServedModel, ready
from streamer.edges.websocket.door import Door
from streamer.edges.websocket.gate import (
    FULL_RETRY_S,
    Client,
    Gate,
    RefusalError,
    chosen_subprotocol,
)
from streamer.edges.websocket.metrics import Metrics
from streamer.edges.websocket.peer import ENDINGS, PeerError
from streamer.edges.websocket.tls import Certificate, server_context
from streamer.edges.websocket.viewer import Viewer
from streamer.edges.websocket.web import Web
from streamer.edges.websocket.wire import Wire
from streamer.engine.engine import Engine
from streamer.engine.watchers import Opened

STREAM, CAPTIONS = "/v1/stream", "/v1/captions"
SCOPES = {STREAM: "speak", CAPTIONS: "view"}  # what a token must be for
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

    Viewers may follow the sessions of all edges. At the end it takes no more websockets but still
    answers over HTTP, lets its own sessions come to the end of an utterance and finish what they
    have received, sends `closed` and closes with 1012; what is left after `drain_timeout_s` is cut.
    """

    def __init__(
        self, engine: Engine, endpoint: EndpointRules, config: ServerConfig, model: ServedModel
    ) -> None:
        """ConfigError for tokens or a certificate that cannot be used."""
        self._config, self._model = config, model
        self._certificate = (
            Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
        )
        self._broadcasts, self._gate = Broadcasts(), Gate(config)
        self._metrics = Metrics(engine)
        self._web = Web(engine, self._gate, self._metrics, lambda: self._is_ending)
        self._is_ending = False
        self._conversations = Conversations(engine, endpoint, config, model, self._gate)
        self._paths = self._web.paths | {STREAM, CAPTIONS}
        self._opened = engine.watch()
        self._tasks = asyncio.TaskGroup()
        self._connections: dict[Connection, Client] = {}
        self._viewers: dict[Viewer, Client] = {}
        self._empty = asyncio.Event()  # the server ends, and nobody is there any more

    async def __aenter__(self) -> Self:
        config = self._config
        try:
            self._door = Door.at(config.host, config.port)
        except OSError as error:
            raise ListenError(cannot_listen(config.host, config.port, error)) from error
        self._server: Server = await serve(
            self._handle,
            sock=self._door,
            ssl=self._certificate and self._certificate.context,
            create_connection=Wire,
            process_request=self._admit,
            select_subprotocol=chosen_subprotocol,
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
        own = self._conversations.ids
        self._conversations.give_up()
        try:
            async with asyncio.timeout(self._config.drain_timeout_s):
                await self._send_away(own)
                await self._empty.wait()
        except TimeoutError:
            for connection in self._connections:
                connection.cut()
            for viewer in self._viewers:
                viewer.cut()
        finally:
            self._server.close(close_connections=False)
            await self._server.wait_closed()
            await self._conversations.__aexit__(None, None, None)
            self._showing.cancel()
            await self._tasks.__aexit__(kind, error, trace)

    async def _send_away(self, own: Collection[str]) -> None:
        """Tell everybody that this is the end; `own` are the ids of this server's sessions."""
        grace_s = UTTERANCE_SHARE * self._config.drain_timeout_s
        async with asyncio.TaskGroup() as leaving:
            for connection in self._connections:
                telling = connection.leave("restart", grace_s)
                leaving.create_task(telling, name=f"leave {connection.id}")
            for viewer in self._viewers:
                leaving.create_task(viewer.leave(own), name=f"leave {viewer.id}")
        self._note_if_empty()

    def _note_if_empty(self) -> None:
        if self._is_ending and not (self._connections or self._viewers):
            self._empty.set()

    async def reload(self) -> None:
        """Read tokens and certificate again; new ones hold for whoever comes from now on.

        What cannot be used is logged, and the old one holds. Whoever has a token that is no more,
        or is not for what it does any more, is told so and closed with 4401.
        """
        if self._certificate is not None:
            await _renewed("certificate", self._certificate.reload())
        if self._config.token_file:
            await _renewed("tokens", self._gate.reload())
        async with asyncio.TaskGroup() as leaving:
            for connection, client in self._connections.items():
                if not self._gate.admits(client, SCOPES[STREAM]):
                    connection.refuse(_withdrawn())
            for viewer, client in self._viewers.items():
                if not self._gate.admits(client, SCOPES[CAPTIONS]):
                    leaving.create_task(viewer.refuse(_withdrawn()), name=f"refuse {viewer.id}")

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def sockets_inside(self) -> int:
        """Sockets of websockets, the ones that are being closed among them."""
        return self._door.inside

    @property
    def sockets_waiting(self) -> int:
        """Sockets that have not said yet what they want, or get an answer over HTTP."""
        return self._door.waiting

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """An answer over HTTP, or None to go on with the handshake."""
        assert isinstance(connection, Wire), connection
        refusal = refused(request.path, request.headers, self._config, self._paths)
        if refusal is not None:
            return self._web.refusal(request, RefusalError(*refusal))
        path = urlsplit(request.path).path
        peer = str(connection.remote_address[0])
        address = self._gate.address(peer, request.headers)
        if path in self._web.paths:
            return self._web.answer(request, path, address)
        try:
            connection.client = self._let_in(address, request, path)
        except RefusalError as why:
            return self._web.refusal(request, why)
        return None

    def _let_in(self, address: str, request: Request, path: str) -> Client:
        """Who opens a websocket; raises RefusalError for one that may not be opened."""
        headers, unavailable = request.headers, http.HTTPStatus.SERVICE_UNAVAILABLE
        client = Client(self._gate.identify(address, headers, SCOPES[path]), address)
        if self._is_ending:
            raise RefusalError(unavailable, "the server is shutting down\n", FULL_RETRY_S)
        may_guess = path == CAPTIONS and not wanted(request.path).is_secret
        if may_guess and not is_this_machine(address, headers):
            text = "only this machine may follow without a session's id\n"
            raise RefusalError(http.HTTPStatus.FORBIDDEN, text)
        too_many = self._door.inside >= self._config.max_connections
        if too_many or (path == CAPTIONS and len(self._viewers) >= self._config.max_viewers):
            raise RefusalError(unavailable, "too many clients\n", FULL_RETRY_S)
        self._gate.check_limits(client)
        return client

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Wire), connection
        assert connection.request is not None
        path, client = connection.request.path, connection.client
        kind = "captions" if urlsplit(path).path == CAPTIONS else "stream"
        self._door.let_in(connection.number)
        self._gate.enter(client)
        self._metrics.opened(kind)
        opened_at = asyncio.get_running_loop().time()
        name, address = client.identity.name, client.address
        about: dict[str, object] = {"kind": kind, "client": name, "address": address}
        logger.info("websocket open", extra=about)
        try:
            if self._is_ending:
                await connection.close(ENDINGS["restart"].close_code)
            elif kind == "captions":
                await self._show(connection, path)
            else:
                await self._converse(connection)
        finally:
            self._gate.leave(client)
            self._metrics.closed(kind, connection.close_code)
            seconds = round(asyncio.get_running_loop().time() - opened_at, 3)
            about |= {"code": connection.close_code, "seconds": seconds}
            logger.info("websocket closed", extra=about)

    async def _converse(self, connection: Wire) -> None:
        handler = Connection(connection, connection.client, self._conversations, self._config)
        self._connections[handler] = connection.client
        try:
            await handler.run()
        finally:
            del self._connections[handler]
            self._note_if_empty()

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

    async def _show(self, connection: Wire, path: str) -> None:
        viewer = Viewer(connection, self._broadcasts, wanted(path), self._config)
        self._viewers[viewer] = connection.client
        try:
            await viewer.run()
        finally:
            del self._viewers[viewer]
            self._note_if_empty()


async def _renewed(what: str, reading: Awaitable[None]) -> None:
    try:
        await reading
        logger.info("%s: read again", what)
    except ConfigError as error:
        logger.error("%s: not renewed, what was read before holds: %s", what, error)


def _withdrawn() -> PeerError:
    return PeerError("unauthorized", "this token is not valid any more")
