"""The web pages: the files of `clients/web` as HTTP answers, and no other file.

Owns addresses, content types and security headers. Must not know: who may ask, what a page does.
"""

import email.utils
import http
from importlib import resources
from pathlib import PurePath

from websockets import Headers
from websockets.http11 import Response

ADDRESSES = {"index.html": "/", "captions.html": "/captions"}  # others: /web/NAME
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # No inline script or style, nothing from elsewhere, no frame around a page that may listen.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a session's id is in its URL
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Cache-Control": "no-cache",
    "Connection": "close",
}


class Pages:
    """Answers by URL path, in `paths`. All files are read once, so that no request reaches one."""

    def __init__(self) -> None:
        self._pages: dict[str, tuple[str, bytes]] = {}  # content type and body
        for file in (resources.files("clients") / "web").iterdir():
            kind = TYPES.get(PurePath(file.name).suffix)
            if kind is not None:
                address = ADDRESSES.get(file.name, f"/web/{file.name}")
                self._pages[address] = kind, file.read_bytes()
        self.paths = frozenset(self._pages)

    def response(self, path: str) -> Response:
        """The answer to a GET of a path that is a page."""
        kind, body = self._pages[path]
        headers = Headers(HEADERS)
        headers["Date"] = email.utils.formatdate(usegmt=True)
        headers["Content-Type"] = kind
        headers["Content-Length"] = str(len(body))
        status = http.HTTPStatus.OK
        return Response(status.value, status.phrase, headers, body)
