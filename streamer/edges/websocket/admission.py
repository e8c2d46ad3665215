"""Who may connect: the checks of a request's Host, Origin and path, before anything is answered.

Knows no socket and no page; every path of the server, a page's as well as a websocket's, goes
through `refused` first.
"""

import http
import ipaddress
from collections.abc import Container
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from websockets import Headers

from streamer.config import ServerConfig

LATEST = "latest"  # instead of a session's id: the newest one, and at its end the next
FORWARDED = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Real-IP",
    "Via",
)  # what proxies add


def refused(
    path: str, headers: Headers, config: ServerConfig, known: Container[str]
) -> tuple[http.HTTPStatus, str] | None:
    """Status and reason when a request must not go on; `known` are the paths that exist.

    A path is compared as it came: nothing is decoded, so nothing can hide in it.

    Any web page may open a socket to this machine, so a browser's Origin must be a loopback one,
    configured, or our own page's: its Origin names the Host that it asks. A page may also point its
    own name here, so the Host must be one of ours. Programs send no Origin.
    """
    hosts = headers.get_all("Host")
    try:
        asked = urlsplit(path).path
    except ValueError:
        return http.HTTPStatus.BAD_REQUEST, "expected a URL path\n"
    if len(hosts) > 1:
        return http.HTTPStatus.BAD_REQUEST, "expected one Host header\n"
    if asked not in known:
        return http.HTTPStatus.NOT_FOUND, "the recognizer is at /v1/stream, its page at /\n"
    if not _is_our_host("".join(hosts), config):
        return (
            http.HTTPStatus.MISDIRECTED_REQUEST,
            "not served under this host name: see --allowed-hosts\n",
        )
    own = {f"{scheme}://{''.join(hosts).lower()}" for scheme in ("http", "https")}
    allowed = own | {origin.lower() for origin in config.allowed_origins}
    for origin in headers.get_all("Origin"):
        web = origin.lower().startswith(("http://", "https://"))
        if origin.lower() not in allowed and not (web and is_loopback(_hostname(origin))):
            return http.HTTPStatus.FORBIDDEN, "this origin is not allowed: see --allowed-origins\n"
    return None


def _is_our_host(netloc: str, config: ServerConfig) -> bool:
    host = _hostname(f"//{netloc}")
    ours = {config.host.lower(), *(name.lower() for name in config.allowed_hosts)}
    # A page's own name cannot be an address, so on an open bind any address will do.
    by_address = not is_loopback(config.host) and is_address(host)
    return is_loopback(host) or host in ours or by_address


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a viewer follows: one session by its id, or the newest of a source, one after another.

    An id is random and gives the right to follow; a source's name may be guessed and does not.
    """

    session: str = ""
    source: str = ""

    @property
    def is_secret(self) -> bool:
        """Whether only those who were told can ask for it."""
        return not self.source and self.session != LATEST


def wanted(path: str) -> Wanted:
    """The `session` or `source` of a viewer's URL."""
    query = parse_qs(urlsplit(path).query)
    return Wanted(query.get("session", [""])[0], query.get("source", [""])[0])


def is_this_machine(peer_address: str, headers: Headers) -> bool:
    """Whether a request comes from this machine, and from no proxy on it."""
    forwarded = any(name in headers for name in FORWARDED)
    host = headers.get("Host", "")
    return is_loopback(peer_address) and is_loopback_host(host) and not forwarded


def is_loopback_host(netloc: str) -> bool:
    """Whether a Host header can only mean this machine."""
    return is_loopback(_hostname(f"//{netloc}"))


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Whether it is an IP address."""
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
