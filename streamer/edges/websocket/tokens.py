"""Who a client is: bearer tokens, and the tickets that stand for one once.

A token file has one token a line, then perhaps a name for logs and limits, then perhaps what it is
for, of SCOPES with commas between (all of them, if it does not say):

    aZ7…(16 characters or more)      phones  speak
    sha256:9f86d081…(64 hex digits)  hall    view

Owns the comparison, which takes the same time for every token, and the life of tickets. Only
SHA-256 digests stay in memory. Must not know: HTTP, sockets, who asks how often.
"""

import hashlib
import hmac
import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streamer.config import ConfigError, ServerConfig

SCOPES = ("speak", "view", "metrics")
VARIABLE = "STREAMER_TOKENS"  # the lines of a file, in the environment
MIN_TOKEN_LENGTH = 16  # of random letters and digits: nobody guesses it
MAX_TOKENS = 1_000  # each is compared with whatever a client shows
TICKET_S = 30.0  # a browser asks for one just before it connects
MAX_TICKETS = 64  # that one token may have unused; one more makes the oldest invalid
HASHED = "sha256:"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token a client has, and what it may do."""

    name: str
    scopes: frozenset[str] = frozenset(SCOPES)
    digest: bytes = field(default=b"", repr=False)  # of the token


ANYONE = Identity("anyone")  # where no tokens are asked for


class Tokens:
    """The tokens that are valid; none: nobody is asked for one."""

    def __init__(self, lines: Sequence[str] = (), source: str = "") -> None:
        """ConfigError for a line that cannot be meant, without showing it."""
        self._known: list[Identity] = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                self._known.append(_read(words))
            except ValueError as error:
                raise ConfigError(f"{source}, line {number}: {error}") from None
        if len(self._known) > MAX_TOKENS:
            raise ConfigError(f"{source}: expected at most {MAX_TOKENS} tokens")

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, token: str) -> Identity | None:
        """Whose token it is; compares with all, so that time tells nothing."""
        return self.known(_digest(token))

    def known(self, digest: bytes) -> Identity | None:
        """The same, of a token's digest."""
        found = None
        for identity in self._known:
            if hmac.compare_digest(digest, identity.digest):
                found = identity
        return found


def _read(words: list[str]) -> Identity:
    token, name, scopes, *more = [*words, *["", ""][len(words) - 1 :]]
    wanted = scopes.split(",") if scopes else SCOPES
    if more or not set(wanted) <= set(SCOPES):
        raise ValueError(f"expected TOKEN [NAME [SCOPES]] with scopes of {','.join(SCOPES)}")
    if token.startswith(HASHED):
        digest = bytes.fromhex(token.removeprefix(HASHED))
        if len(digest) != hashlib.sha256().digest_size:
            raise ValueError("expected 64 hex digits behind sha256:")
    elif len(token) < MIN_TOKEN_LENGTH:
        raise ValueError(f"expected a token of at least {MIN_TOKEN_LENGTH} characters")
    else:
        digest = _digest(token)
    return Identity(name or f"token-{digest.hex()[:8]}", frozenset(wanted), digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def load(config: ServerConfig) -> Tokens:
    """The tokens of the file that is configured, else of the environment.

    ConfigError for a file that cannot be read, or has no token: that would let anyone in.
    """
    if not config.token_file:
        return Tokens(os.environ.get(VARIABLE, "").splitlines(), VARIABLE)
    try:
        text = Path(config.token_file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"cannot read tokens from {config.token_file}: {reason}") from error
    tokens = Tokens(text.splitlines(), config.token_file)
    if not tokens:
        raise ConfigError(f"{config.token_file} has no token")
    return tokens


class Tickets:
    """Short-lived passes for browsers, which cannot send a token with a websocket's handshake."""

    def __init__(self) -> None:
        self._unused: dict[Identity, OrderedDict[bytes, float]] = {}  # digest: loop time of its end

    def issue(self, identity: Identity, now: float) -> str:
        """A ticket that is valid once, until TICKET_S after `now`."""
        unused = self._unused.setdefault(identity, OrderedDict())
        while unused and (len(unused) >= MAX_TICKETS or next(iter(unused.values())) <= now):
            unused.popitem(last=False)
        ticket = secrets.token_urlsafe(24)
        unused[_digest(ticket)] = now + TICKET_S
        return ticket

    def keep(self, known: Tokens) -> None:
        """Only those of tokens that are still valid."""
        for identity in tuple(self._unused):
            if known.known(identity.digest) != identity:
                del self._unused[identity]

    def redeem(self, ticket: str, now: float) -> Identity | None:
        """Whose ticket it was; from now on it is nobody's."""
        digest = _digest(ticket)
        for identity, unused in self._unused.items():
            end = unused.pop(digest, None)
            if end is not None:
                return identity if now < end else None
        return None
