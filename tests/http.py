"""HTTP requests and websocket frames written by hand, so that they can be wrong."""

import asyncio
import ssl

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def ask(
    port: int,
    method: str,
    path: str,
    *headers: str,
    host: str = "localhost",
    tls: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; read to the end, or to that of the head for status 101."""
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status, *fields = head.decode().strip().split("\r\n")
    code = int(status.split()[1])
    body = b"" if code == 101 else await reader.read()
    writer.close()
    return code, dict(field.split(": ", 1) for field in fields), body


async def get(
    port: int, path: str, *headers: str, host: str = "localhost"
) -> tuple[int, dict[str, str], bytes]:
    """A GET, as `ask`."""
    return await ask(port, "GET", path, *headers, host=host)


async def knock(port: int, path: str, *headers: str, host: str = "localhost") -> int:
    """The status that a websocket's handshake gets."""
    return (await ask(port, "GET", path, *HANDSHAKE, *headers, host=host))[0]


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame; the mask is zero."""
    assert len(payload) < 126 or opcode
    length = (
        bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    )
    return bytes([0x80 | opcode]) + length + bytes(4) + payload
