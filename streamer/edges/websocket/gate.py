"""Who may converse: tokens and tickets, what they are for, and how many come how often.

Owns the answers 401, 403, 429 and 503 to those who would open a websocket, ask for a ticket or for
metrics. Must not know: sockets, what is said behind it.
"""

import asyncio
import http
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from websockets import Headers
from websockets.asyncio.server import ServerConnection
from websockets.typing import Subprotocol

from streamer.config import ServerConfig
from streamer.edges.websocket import tokens
from streamer.edges.websocket.admission import is_address, is_loopback, is_this_machine
from streamer.edges.websocket.limits import Present, Rate, address_key
from streamer.edges.websocket.tokens import ANYONE, Identity, Tickets

SUBPROTOCOL = "streamer.v1"  # what a client with a ticket offers, and gets, beside the ticket
TICKET_PREFIX = "ticket."
MAX_FAILURES_PER_MINUTE = 5  # wrong tokens of one address
FULL_RETRY_S = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Client:
    """Whose a connection is, and where it comes from."""

    identity: Identity = ANYONE
    address: str = ""


class RefusalError(Exception):
    """A request that must not go on: the HTTP status, a text, and when to come back."""

    def __init__(self, status: http.HTTPStatus, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after_s = status, text, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the status."""
        if self.status == http.HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": "Bearer"}
        if self.retry_after_s:
            return {"Retry-After": str(math.ceil(self.retry_after_s))}
        return {}


class Gate:
    """One for a server. Every method is synchronous, so that nobody slips in between."""

    def __init__(self, config: ServerConfig) -> None:
        """ConfigError for tokens that cannot be read."""
        self._config = config
        self._tokens, self._tickets = tokens.load(config), Tickets()
        self._present = Present()
        self._arrivals = Rate(config.max_new_per_minute)
        self._failures = Rate(MAX_FAILURES_PER_MINUTE)

    async def reload(self) -> None:
        """Read the tokens again; ConfigError, and the old ones hold, if they cannot be read."""
        self._tokens = await asyncio.to_thread(tokens.load, self._config)
        self._tickets.keep(self._tokens)

    def admits(self, client: Client, scope: str) -> bool:
        """Whether one who was let in would be let in again, by the tokens of now."""
        known = self._tokens.known(client.identity.digest)
        return not self.asks or (known is not None and scope in known.scopes)

    @property
    def has_tls(self) -> bool:
        """Whether what is said here is encrypted."""
        return bool(self._config.tls_cert)

    @property
    def asks(self) -> bool:
        """Whether tokens are asked for at all."""
        return bool(self._tokens)

    def address(self, peer: str, headers: Headers) -> str:
        """Where a request comes from: the peer, or whom trusted proxies say they speak for."""
        told = ",".join(headers.get_all("X-Forwarded-For"))
        hops = [hop.strip() for hop in told.split(",")]
        address = peer
        while hops and address in self._config.trusted_proxies and is_address(hops[-1]):
            address = hops.pop()
        return address

    def identify(self, address: str, headers: Headers, scope: str) -> Identity:
        """Whose token, or ticket, a request carries; RefusalError unless it is good for `scope`.

        Every wrong one gets the same answer, and an address only a few of them.
        """
        if not self.asks:
            return ANYONE
        now = _now()
        is_limited = not is_loopback(address)
        if is_limited and (wait_s := self._failures.wait_s(address_key(address), now)):
            text = "too many wrong tokens from this address\n"
            raise RefusalError(http.HTTPStatus.TOO_MANY_REQUESTS, text, wait_s)
        identity = self._identity(headers, now)
        if identity is None:
            if is_limited and _shows_any(headers):
                self._failures.take(address_key(address), now)
                logger.warning("wrong token", extra={"address": address})
            raise RefusalError(http.HTTPStatus.UNAUTHORIZED, "a valid token is needed\n")
        if scope and scope not in identity.scopes:
            raise RefusalError(http.HTTPStatus.FORBIDDEN, "this token is not for this\n")
        return identity

    def _identity(self, headers: Headers, now: float) -> Identity | None:
        given = headers.get_all("Authorization")
        if given:
            scheme, _, token = given[0].strip().partition(" ")
            is_bearer = len(given) == 1 and scheme.lower() == "bearer"
            return self._tokens.find(token.strip()) if is_bearer else None
        offered = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
        tickets = [each.strip() for each in offered if each.strip().startswith(TICKET_PREFIX)]
        if len(tickets) != 1:
            return None
        return self._tickets.redeem(tickets[0].removeprefix(TICKET_PREFIX), now)

    def issue(self, client: Client) -> str:
        """A ticket for one websocket soon; raises RefusalError for those who come too often."""
        self.check_limits(client)
        return self._tickets.issue(client.identity, _now())

    def check_limits(self, client: Client) -> None:
        """Count an arrival; RefusalError if its address or token has too many, or too often."""
        limits, now = self._limits(client), _now()
        for key, limit in limits.items():
            whose = key.partition(" ")[0]
            status = http.HTTPStatus.TOO_MANY_REQUESTS
            if wait_s := self._arrivals.wait_s(key, now):
                raise RefusalError(status, f"too many new connections of this {whose}\n", wait_s)
            if limit and self._present[key] >= limit:
                raise RefusalError(status, f"too many connections of this {whose}\n", FULL_RETRY_S)
        for key in limits:
            self._arrivals.take(key, now)

    def check_waiting(self, client: Client, waiting: Iterable[Client]) -> None:
        """RefusalError if the client's websockets are too many together with what else is its.

        `waiting`: whose the sessions are that wait for a resume, of all clients.
        """
        waiting = tuple(waiting)
        for key, limit in self._limits(client).items():
            own = sum(key in _keys(each) for each in waiting)
            if limit and self._present[key] + own > limit:
                whose = key.partition(" ")[0]
                text = f"too many sessions of this {whose}: {own} wait for a resume"
                raise RefusalError(http.HTTPStatus.TOO_MANY_REQUESTS, text, FULL_RETRY_S)

    def _limits(self, client: Client) -> dict[str, int]:
        """What the client is counted as, and how many of it there may be; 0: any number."""
        token, address = _keys(client)
        limits = {token: self._config.max_per_token} if self.asks else {}
        if not is_loopback(client.address):
            limits[address] = self._config.max_per_address
        return limits

    def owner(self, client: Client) -> str:
        """Whom what the client has is counted as: its token's name, else its address."""
        token, address = _keys(client)
        return token if self.asks else address

    def enter(self, client: Client) -> None:
        """A websocket is open; it must `leave`."""
        for key in _keys(client):
            self._present.enter(key)

    def leave(self, client: Client) -> None:
        """It is closed."""
        for key in _keys(client):
            self._present.leave(key)

    def check_metrics(self, address: str, headers: Headers) -> None:
        """Raises RefusalError unless it is this machine that asks, or a token for metrics."""
        if is_this_machine(address, headers):
            return
        if not self.asks:
            text = "only this machine may read the metrics: give others a token\n"
            raise RefusalError(http.HTTPStatus.FORBIDDEN, text)
        self.identify(address, headers, "metrics")


def chosen_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours if it is offered, so that a browser with a ticket goes on; never a ticket."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _keys(client: Client) -> tuple[str, str]:
    return f"token {client.identity.name}", f"address {address_key(client.address)}"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _shows_any(headers: Headers) -> bool:
    """Whether a request has something that may be a guess."""
    return "Authorization" in headers or "Sec-WebSocket-Protocol" in headers
