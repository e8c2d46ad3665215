"""What is answered over plain HTTP: the pages, tickets, health, metrics.

Owns which path takes which method, and the headers of every answer. Must not know: websockets,
sessions.
"""

import email.utils
import http
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from websockets import Headers
from websockets.http11 import Request, Response

from streamer.edges.websocket.admission import is_loopback_host
from streamer.edges.websocket.gate import Client, Gate, RefusalError
from streamer.edges.websocket.metrics import CONTENT_TYPE, Metrics
from streamer.edges.websocket.pages import Pages
from streamer.edges.websocket.tokens import TICKET_S
from streamer.engine.engine import Engine

TICKET, METRICS, ALIVE, READY = "/v1/ticket", "/metrics", "/healthz", "/readyz"
STEP_LIMIT_S = 30.0  # a step that takes longer will not come back
HSTS = "max-age=31536000"
TEXT = "text/plain; charset=utf-8"


class Web:
    """Answers requests that are no websocket's; `paths` are those it knows."""

    def __init__(
        self, engine: Engine, gate: Gate, metrics: Metrics, is_ending: Callable[[], bool]
    ) -> None:
        self._engine, self._gate, self._metrics = engine, gate, metrics
        self._is_ending = is_ending
        self._pages = Pages()
        self.paths = self._pages.paths | {TICKET, METRICS, ALIVE, READY}

    def answer(self, request: Request, path: str, address: str) -> Response:
        """The response to a request for one of `paths`, whose Host and Origin were checked."""
        try:
            response = self._answer(request, path, address)
        except RefusalError as refusal:
            return self.refusal(request, refusal)
        return self._finished(request, response)

    def refusal(self, request: Request, refusal: RefusalError) -> Response:
        """The response that says no."""
        return self._finished(request, reply(refusal.status, refusal.text, **refusal.headers))

    def _answer(self, request: Request, path: str, address: str) -> Response:
        if "Upgrade" in request.headers:
            raise RefusalError(http.HTTPStatus.NOT_FOUND, "there is no websocket here\n")
        methods = ("POST",) if path == TICKET else ("GET", "HEAD")
        if request.method not in methods:
            text = f"expected {' or '.join(methods)}\n"
            return reply(http.HTTPStatus.METHOD_NOT_ALLOWED, text, Allow=", ".join(methods))
        if path == TICKET:
            return self._ticket(request, address)
        if path == METRICS:
            self._gate.check_metrics(address, request.headers)
            return reply(http.HTTPStatus.OK, self._metrics.text(), Content_Type=CONTENT_TYPE)
        if path in (ALIVE, READY):
            return self._health(path)
        return self._pages.response(path)

    def _health(self, path: str) -> Response:
        """Alive: the engine serves, and its device answers. Ready: it also takes sessions."""
        if not self._engine.is_alive(STEP_LIMIT_S):
            return reply(http.HTTPStatus.SERVICE_UNAVAILABLE, "the engine does not answer\n")
        if path == READY and self._is_ending():
            return reply(http.HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down\n")
        return reply(http.HTTPStatus.OK, "ok\n", Cache_Control="no-store")

    def _ticket(self, request: Request, address: str) -> Response:
        if not self._gate.asks:
            return reply(http.HTTPStatus.NO_CONTENT, "")
        scope = parse_qs(urlsplit(request.path).query).get("scope", [""])[0]
        identity = self._gate.identify(address, request.headers, scope)
        ticket = self._gate.issue(Client(identity, address))
        body = json.dumps({"ticket": ticket, "expires_in_s": TICKET_S}).encode()
        kind = "application/json"
        return reply(http.HTTPStatus.OK, body, Content_Type=kind, Cache_Control="no-store")

    def _finished(self, request: Request, response: Response) -> Response:
        """With what every answer has, without a body where none is wanted, and counted."""
        host = "".join(request.headers.get_all("Host"))
        # A promise of a name for all its ports: not for this machine's.
        if self._gate.has_tls and not is_loopback_host(host):
            response.headers["Strict-Transport-Security"] = HSTS
        if request.method == "HEAD":
            response.body = b""
        self._metrics.answered(response.status_code)
        return response


def reply(status: http.HTTPStatus, body: str | bytes, **headers: str) -> Response:
    """A short answer, in plain text unless said; `_` is `-` in the names of headers."""
    body = body.encode() if isinstance(body, str) else body
    fields = {"Date": email.utils.formatdate(usegmt=True), "Connection": "close"}
    if status != http.HTTPStatus.NO_CONTENT:
        fields |= {"Content-Length": str(len(body)), "Content-Type": TEXT}
    fields["X-Content-Type-Options"] = "nosniff"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status.value, status.phrase, Headers(fields), body)
