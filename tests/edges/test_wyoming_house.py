"""How a house comes to us over Wyoming: a browser of the network, and the bridge from HTTP."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from streamer.config import ConfigError
from streamer.edges.wyoming import announcement
from streamer.edges.wyoming.announcement import reachable
from tests import peers
from tests.brokers import free_port
from tests.edges.over_wyoming import serving
from tests.edges.test_hermes import wav
from tests.fakes import speak
from tests.serving import in_loop

SERVICE = "_wyoming._tcp.local."
LOOPBACK = ["127.0.0.1"]


class Browser:
    """Services that are there, as a browser of another program would see them."""

    def __init__(self, zeroconf: AsyncZeroconf) -> None:
        self._zeroconf = zeroconf.zeroconf
        self.found: dict[str, int] = {}  # ports by name
        self._changed = asyncio.Event()
        self._looking: set[asyncio.Task[None]] = set()

    def add_service(self, _: Any, kind: str, name: str) -> None:
        task = asyncio.create_task(self._look(kind, name), name=name)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self, kind: str, name: str) -> None:
        info = AsyncServiceInfo(kind, name)
        if await info.async_request(self._zeroconf, 3_000):
            assert info.parsed_addresses() == LOOPBACK
            assert info.port is not None
            self.found[name] = info.port
            self._changed.set()

    def remove_service(self, _: Any, __: str, name: str) -> None:
        self.found.pop(name, None)
        self._changed.set()

    @property
    def ports(self) -> set[int]:
        return set(self.found.values())

    def update_service(self, *_: Any) -> None:
        pass

    async def until(self, *ports: int, without: Sequence[int] = ()) -> None:
        """Wait until those are there and these are not; others on this machine do not matter."""
        while not (set(ports) <= self.ports and self.ports.isdisjoint(without)):
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    zeroconf = AsyncZeroconf(interfaces=LOOPBACK)
    listener = Browser(zeroconf)
    looking = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, listener)
    try:
        yield listener
    finally:
        await looking.async_cancel()
        await zeroconf.async_close()


@in_loop
async def test_the_network_finds_who_wants_to_be_found() -> None:
    """Two at once get names of their own; on loopback nobody is told unless asked to."""
    async with browser() as seen:
        async with serving() as quiet, serving(zeroconf="on") as first:
            port = first.port
            await seen.until(port)
            async with serving(zeroconf="on") as second:
                other = second.port
                await seen.until(port, other)
                assert all(name.startswith("streamer") for name in seen.found)
            await seen.until(port, without=[other])
            assert quiet.port not in seen.ports
        await seen.until(without=[port, other])


@in_loop
async def test_a_server_may_end_while_it_is_still_being_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for turns in range(5):
        async with serving(zeroconf="on"):
            for _ in range(turns):
                await asyncio.sleep(0)
    assert "Traceback" not in caplog.text


def test_the_addresses_of_an_open_bind_are_others_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reachable(["127.0.0.1"]) == LOOPBACK
    assert reachable(["::1", "192.0.2.7"]) == ["192.0.2.7"]
    assert reachable(["::1"]) == ["::1"]
    own = ["127.0.0.1", "192.0.2.9", "169.254.3.4", "::1", "fe80::1", "2001:db8::5"]
    monkeypatch.setattr(announcement, "_own", lambda: own)
    assert reachable(["0.0.0.0"]) == ["192.0.2.9"]
    assert reachable(["::"]) == ["2001:db8::5"]
    assert reachable(["0.0.0.0", "::"]) == ["192.0.2.9"]


@in_loop
async def test_without_the_package_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "streamer.edges.wyoming.announcement", None)
    with pytest.raises(ConfigError, match=r"needs .*pip install -e '\.\[zeroconf\]'"):
        async with serving(zeroconf="on"):
            pass
    async with serving(zeroconf="auto"):
        pass
    assert caplog.text == ""


async def posted(port: int, path: str, body: bytes) -> Any:
    """The JSON that answers a POST."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.0\r\nContent-Type: audio/wav\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    _, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return json.loads(answer)


@in_loop
async def test_the_bridge_of_the_library_from_http(tmp_path: Path) -> None:
    """`python -m wyoming.http.asr_server` in front of us, and a WAV file posted to it."""
    port = free_port()
    async with serving() as server:
        uri = f"tcp://127.0.0.1:{server.port}"
        place = ("--host", "127.0.0.1", "--port", str(port), "--uri", uri)
        bridge = await asyncio.create_subprocess_exec(
            *(peers.python(), "-m", "wyoming.http.asr_server", *place),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert bridge.stderr is not None
            while f":{port}".encode() not in (line := await bridge.stderr.readline()):
                assert line, "the bridge has ended"
            query = urlencode({"language": "en", "transcript_names": "Lamp,Hall"})
            for text in ("turn on the lamp", "and off"):
                answer = await posted(port, f"/api/speech-to-text?{query}", wav(speak(text)))
                assert answer["text"] == text
        finally:
            bridge.kill()
            await bridge.communicate()
