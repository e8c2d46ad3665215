"""One connection to the server, and what it means when there is none.

Owns how a websocket is opened and which failures may pass. Must not know: sessions, audio.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from socket import gaierror
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

MAX_MESSAGE_BYTES = 4 << 20  # a final of a very long utterance with all its words
OVERLOADED = {429, 502, 503, 504}  # HTTP statuses that pass
PASSING = {"capacity", "quota"}  # errors that do, where a session is wanted


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, the token that it asks for, and how its certificate is checked."""

    url: str
    token: str = field(default="", repr=False)
    ssl: SSLContext | None = None  # for wss; None: by the authorities of this machine


class RecognizerError(Exception):
    """The server refused or failed, or is lost; `code` as in its error message, or "connection".

    `unheard_s` is how many seconds of the audio sent are in no final.
    """

    def __init__(
        self,
        code: str,
        message: str,
        retry_after_s: float | None = None,
        *,
        passes: bool = False,
        unheard_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.passes = passes  # it may be otherwise soon
        self.unheard_s = unheard_s


async def dial(address: Address, timeout_s: float) -> ClientConnection:
    """An open connection; raises RecognizerError."""
    url, token = address.url, address.token
    if token and (" " in token or not token.isprintable()):  # the library would show it
        raise RecognizerError("connection", "expected a token in one line, without spaces")
    options: dict[str, Any] = {} if address.ssl is None else {"ssl": address.ssl}
    try:
        return await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=timeout_s,
            close_timeout=3,
            # Pings queue behind audio that the server does not read yet: a late pong says
            # nothing. A server that has gone is found by TCP, or by its missing answers.
            ping_timeout=None,
            proxy=None if _is_this_machine(url) else True,
            **options,
        )
    except InvalidStatus as error:
        body = bytes(error.response.body or b"").decode(errors="replace").strip()
        status = error.response.status_code
        wait = error.response.headers.get("Retry-After", "")
        raise RecognizerError(
            "connection",
            f"the server refused ({status}): {body}",
            float(wait) if wait.isdecimal() else None,
            passes=status in OVERLOADED,
        ) from error
    except (InvalidURI, ValueError) as error:
        raise RecognizerError("connection", f"cannot reach {url}: {error}") from error
    except (OSError, TimeoutError, EOFError, InvalidHandshake, ConnectionClosed) as error:
        reason = f"cannot reach {url}: {_reason(error)}"
        raise RecognizerError("connection", reason, passes=True) from error


def _reason(error: Exception) -> str:
    """In words: a refusal, perhaps of several addresses, comes in numbers, a cut as nothing."""
    if isinstance(error, gaierror):  # whose numbers are others
        return error.strerror or str(error)
    if numbers := re.findall(r"\[Errno (\d+)\]", str(error)):
        return ", ".join(dict.fromkeys(os.strerror(int(each)) for each in numbers))
    return str(error) or "it hangs up at once; should it be ws:// or wss://?"


async def hang_up(connection: ClientConnection | None) -> None:
    """End a connection that is of no use any more, without a word."""
    if connection is not None:
        connection.transport.abort()
        await connection.wait_closed()


def _is_this_machine(url: str) -> bool:
    """Whether the URL can only mean this machine, which no proxy of the environment can reach."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
