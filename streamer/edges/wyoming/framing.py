"""Wyoming's framing: a line of JSON, then perhaps more JSON, then perhaps bytes.

Owns the layout and its limits. Must not know: what events mean.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

MAX_LINE_BYTES = 64 << 10
MAX_DATA_BYTES = 64 << 10
MAX_PAYLOAD_BYTES = 1 << 20


class FrameError(ValueError):
    """What came is no Wyoming event, or one over a limit; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it is sent and received."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


async def read(reader: asyncio.StreamReader) -> Event | None:
    """The next event, None at the end of the stream.

    `reader` must have been made with the limit MAX_LINE_BYTES. Raises FrameError, and
    IncompleteReadError when the stream ends within an event.
    """
    try:
        line = await reader.readline()
    except ValueError as error:  # the reader's limit
        raise FrameError(f"expected a line of at most {MAX_LINE_BYTES} bytes") from error
    if not line:
        return None
    header = _object(line)
    kind = header.get("type")
    if not isinstance(kind, str):
        raise FrameError("expected a type that is a string")
    data = header.get("data") or {}
    if not isinstance(data, dict):
        raise FrameError("expected data that is an object")
    data_bytes = _length(header, "data_length", MAX_DATA_BYTES)
    if data_bytes:
        data = {**data, **_object(await reader.readexactly(data_bytes))}
    payload_bytes = _length(header, "payload_length", MAX_PAYLOAD_BYTES)
    return Event(kind, data, await reader.readexactly(payload_bytes))


def encoded(event: Event) -> bytes:
    """An event as bytes."""
    data = _json(event.data) if event.data else b""
    header: dict[str, Any] = {"type": event.type}
    if data:
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return _json(header) + b"\n" + data + event.payload


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _object(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("expected a JSON object") from error
    if not isinstance(body, dict):
        raise FrameError("expected a JSON object")
    return body


def _length(header: dict[str, Any], name: str, limit: int) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise FrameError(f"expected {name} from 0 to {limit}")
    return value
