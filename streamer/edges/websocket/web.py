"""What is answered over plain HTTP: the pages, tickets, health, metrics.

Owns which path takes which method, and the headers of every answer. Must not know: websockets,
sessions.
"""

import email.utils
import http
import json

from websockets import Headers
from websockets.http11 import Request, Response

from streamer.edges.websocket.admission import is_loopback_host
from streamer.edges.websocket.gate import Gate, RefusalError
from streamer.edges.websocket.pages import Pages
from streamer.edges.websocket.tokens import TICKET_S

TICKET = "/v1/ticket"
HSTS = "max-age=31536000"
TEXT = "text/plain; charset=utf-8"


class Web:
    """Answers requests that are no websocket's; `paths` are those it knows."""

    def __init__(self, gate: Gate, *, has_tls: bool) -> None:
        self._gate, self._has_tls = gate, has_tls
        self._pages = Pages()
        self.paths = self._pages.paths | {TICKET}

    def answer(self, request: Request, path: str, address: str) -> Response:
        """The response to a request for one of `paths`, whose Host and Origin were checked."""
        try:
            return self._secured(request, self._answer(request, path, address))
        except RefusalError as refusal:
            return self.refusal(request, refusal)

    def refusal(self, request: Request, refusal: RefusalError) -> Response:
        """The response that says no."""
        return self._secured(request, reply(refusal.status, refusal.text, **refusal.headers))

    def _answer(self, request: Request, path: str, address: str) -> Response:
        if "Upgrade" in request.headers:
            raise RefusalError(http.HTTPStatus.NOT_FOUND, "there is no websocket here\n")
        methods = ("POST",) if path == TICKET else ("GET", "HEAD")
        if request.method not in methods:
            text = f"expected {' or '.join(methods)}\n"
            return reply(http.HTTPStatus.METHOD_NOT_ALLOWED, text, Allow=", ".join(methods))
        if path == TICKET:
            return self._ticket(request, address)
        return self._pages.response(path)

    def _ticket(self, request: Request, address: str) -> Response:
        if not self._gate.asks:
            return reply(http.HTTPStatus.NO_CONTENT, "")
        identity = self._gate.identify(address, request.headers, "")
        ticket = self._gate.issue(address, identity)
        text = json.dumps({"ticket": ticket, "expires_in_s": TICKET_S})
        response = reply(http.HTTPStatus.OK, text, Cache_Control="no-store")
        response.headers["Content-Type"] = "application/json"
        return response

    def _secured(self, request: Request, response: Response) -> Response:
        """With what every answer has, and without a body where none is wanted."""
        host = "".join(request.headers.get_all("Host"))
        if self._has_tls and not is_loopback_host(host):  # a promise of its name for all its ports
            response.headers["Strict-Transport-Security"] = HSTS
        if request.method == "HEAD":
            response.body = b""
        return response


def reply(status: http.HTTPStatus, text: str, **headers: str) -> Response:
    """A short answer in plain text, after which the connection is closed; `_` is `-` in names."""
    body = text.encode()
    fields = Headers({"Date": email.utils.formatdate(usegmt=True), "Connection": "close"})
    if status != http.HTTPStatus.NO_CONTENT:
        fields.update({"Content-Length": str(len(body)), "Content-Type": TEXT})
    fields["X-Content-Type-Options"] = "nosniff"
    for name, value in headers.items():
        fields[name.replace("_", "-")] = value
    return Response(status.value, status.phrase, fields, body)
