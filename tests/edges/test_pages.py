"""The web pages over HTTP: what is served, what is not, and to whom."""

import asyncio
import re
from pathlib import Path

import pytest

from streamer.config import ServerConfig
from tests.http import ask, get
from tests.serving import in_loop, raw_connection, service

WEB = Path(__file__).parents[2] / "clients" / "web"
FILES = sorted(path.name for path in WEB.iterdir())
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def address(name: str) -> str:
    return {"index.html": "/", "captions.html": "/captions"}.get(name, f"/web/{name}")


@pytest.mark.parametrize("name", FILES)
@in_loop
async def test_every_file_is_served_whole_and_guarded(name: str) -> None:
    async with service() as running:
        status, headers, body = await get(running.server.port, address(name))
    assert (status, body) == (200, (WEB / name).read_bytes())
    assert headers["Content-Type"].split(";")[0] == TYPES[name.rpartition(".")[2]]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web",
        "/web/index.html",
        "/index.html",
        "/web/../python.py",
        "/web/%2e%2e/python.py",
        "/web/..%2fpython.py",
        "/../../etc/passwd",
        "//etc/passwd",
        "/web//etc/passwd",
        "/web/main.js/",
        "/web/main.js%00",
        "/web/MAIN.JS",
        "/captions/",
        "http://localhost/web/../python.py",
    ],
)
@in_loop
async def test_no_other_file_is_served(path: str) -> None:
    async with service() as running:
        status, _, body = await get(running.server.port, path)
    assert status == 404
    assert len(body) < 100


@pytest.mark.parametrize("name", FILES)
@in_loop
async def test_a_query_changes_no_file(name: str) -> None:
    async with service() as running:
        status, _, body = await get(running.server.port, address(name) + "?session=../../x")
    assert (status, body) == (200, (WEB / name).read_bytes())


@in_loop
async def test_who_may_have_a_page() -> None:
    async with service() as running:
        port = running.server.port
        assert (await get(port, "/", host="evil.example"))[0] == 421
        assert (await get(port, "/web/main.js", host="evil.example"))[0] == 421
        assert (await get(port, "/", "Origin: https://evil.example"))[0] == 403
        assert (await get(port, "/", "Origin: null"))[0] == 403
        upgrade = ("Upgrade: websocket", "Connection: Upgrade")
        assert (await get(port, "/", *upgrade))[0] == 404


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("192.168.0.7:8765", "http://192.168.0.7:8765", 101),
        ("asr.example", "https://asr.example", 101),
        ("ASR.example", "https://asr.example", 101),
        ("192.168.0.7:8765", "http://192.168.0.7", 403),
        ("192.168.0.7:8765", "http://192.168.0.8:8765", 403),
        ("192.168.0.7:8765", "ftp://192.168.0.7:8765", 403),
        ("evil.example", "http://evil.example", 421),
    ],
)
@in_loop
async def test_a_page_of_ours_may_open_its_own_socket(host: str, origin: str, status: int) -> None:
    config = ServerConfig(host="0.0.0.0", port=0, allowed_hosts=("asr.example",))
    async with service(config) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(f"HTTP/1.1 {status} ".encode())
        writer.close()


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", 200), ("POST", 405), ("PUT", 405), ("OPTIONS", 405), ("TRACE", 405), ("get", 405)],
)
@in_loop
async def test_pages_are_only_read(method: str, status: int) -> None:
    async with service() as running:
        code, headers, body = await ask(running.server.port, method, "/")
    assert code == status
    if method == "HEAD":
        assert (int(headers["Content-Length"]) > 0, body) == (True, b"")
    else:
        assert headers["Allow"] == "GET, HEAD"


@in_loop
async def test_pages_come_when_all_connections_are_taken() -> None:
    async with service(ServerConfig(port=0, max_connections=1)) as running:
        _, writer = await raw_connection(running.server.port)
        assert (await get(running.server.port, "/"))[0] == 200
        writer.close()


@pytest.mark.parametrize("name", FILES)
def test_files_are_readable_and_need_nobody_else(name: str) -> None:
    text = (WEB / name).read_text()
    assert len(text.splitlines()) <= 300
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"(src|href|import|url)\W{1,3}(https?:)?//", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
    for used in re.findall(r'"(?:/web/|\./)([\w-]+\.\w+)"', text):
        assert used in FILES
