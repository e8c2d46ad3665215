"""Who may connect: hosts, origins and paths; a port that is taken."""

import asyncio

import pytest

from streamer.config import ServerConfig
from streamer.edges.websocket import ListenError
from tests.serving import in_loop, service


@pytest.mark.parametrize(
    ("host", "origin", "path", "status"),
    [
        ("localhost:8765", None, "/v1/stream", 101),
        ("127.0.0.1", None, "/v1/stream?x=1", 101),
        ("[::1]:8765", None, "/v1/stream", 101),
        ("LOCALHOST", None, "/v1/stream", 101),
        ("asr.example", None, "/v1/stream", 101),
        ("evil.example", None, "/v1/stream", 421),
        ("localhost.evil.example", None, "/v1/stream", 421),
        ("192.168.0.7", None, "/v1/stream", 421),
        ("[::1", None, "/v1/stream", 421),
        ("", None, "/v1/stream", 421),
        ("localhost", "http://localhost:3000", "/v1/stream", 101),
        ("localhost", "https://captions.example", "/v1/stream", 101),
        ("localhost", "HTTPS://Captions.Example", "/v1/stream", 101),
        ("localhost", "https://captions.example.evil.example", "/v1/stream", 403),
        ("localhost", "https://captions.example:444", "/v1/stream", 403),
        ("localhost", "http://captions.example", "/v1/stream", 403),
        ("localhost", "http://localhost.evil.example", "/v1/stream", 403),
        ("localhost", "null", "/v1/stream", 403),
        ("localhost", "file://", "/v1/stream", 403),
        ("localhost", None, "/", 404),
        ("localhost", None, "/v1/stream/", 404),
        ("localhost", None, "//[", 400),
        ("localhost\r\nHost: localhost", None, "/v1/stream", 400),
    ],
)
@in_loop
async def test_who_may_connect(host: str, origin: str | None, path: str, status: int) -> None:
    config = ServerConfig(
        port=0, allowed_origins=("https://captions.example",), allowed_hosts=("asr.example",)
    )
    async with service(config) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        origin_line = "" if origin is None else f"Origin: {origin}\r\n"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin_line}Upgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"deflate" not in answer
        writer.close()


@in_loop
async def test_an_open_bind_is_reached_by_any_address_but_no_foreign_name() -> None:
    async with service(ServerConfig(host="0.0.0.0", port=0)) as running:
        for host, status in (("192.168.0.7:80", 101), ("evil.example", 421)):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            writer.write(
                f"GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert (await reader.readline()).startswith(f"HTTP/1.1 {status} ".encode())
            writer.close()


@in_loop
async def test_a_port_in_use_is_one_clear_error() -> None:
    async with service() as running:
        port = running.server.port
        with pytest.raises(
            ListenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use$"
        ):
            async with service(ServerConfig(port=port)):
                pass
