"""Tokens and certificates that change while the server runs, with files made here."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect

from streamer import messages as m
from streamer.config import ServerConfig
from tests.fakes import speak
from tests.http import HANDSHAKE, ask, knock
from tests.serving import Service, errors, finals, in_loop, pcm, said, service

START, STOP = m.encode(m.Start(resume=True)), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))
OLD, NEW, VIEW = (f"the-{name}-token-of-this-test" for name in ("old", "new", "viewing"))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def put(path: Path, content: str | bytes | None) -> None:
    """What the file holds from now on; None: there is none."""
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


async def admitted(running: Service, token: str, path: str = "/v1/stream") -> int:
    return await knock(running.server.port, path, f"Authorization: Bearer {token}")


async def begun(running: Service, token: str) -> ClientConnection:
    socket = await connect(running.url, additional_headers=bearer(token))
    await socket.send(START)
    assert isinstance(m.decode_server(await socket.recv(decode=True)), m.Ready)
    return socket


# --- tokens ---------------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{OLD} phones\n{VIEW} hall view\n")
    return path


@in_loop
async def test_new_tokens_hold_for_new_handshakes_and_withdrawn_ones_for_nobody(
    tokens: Path,
) -> None:
    async with service(ServerConfig(port=0, token_file=str(tokens))) as running:
        leaving, viewing = await begun(running, OLD), await begun(running, OLD)
        captions = running.url.replace("stream", "captions?session=latest")
        viewer = await connect(captions, additional_headers=bearer(VIEW))
        other = await connect(captions, additional_headers=bearer(OLD))
        waiting = await connect(running.url, additional_headers=bearer(OLD))
        put(tokens, f"{NEW} phones\n{VIEW} hall view\n")
        assert (await admitted(running, OLD), await admitted(running, NEW)) == (101, 401)
        await running.server.reload()
        assert (await admitted(running, OLD), await admitted(running, NEW)) == (401, 101)
        for socket in (leaving, viewing, waiting, other):
            heard, code = await said(socket)
            assert (errors(heard), code) == ([("unauthorized", True)], 4401)
        socket = await begun(running, NEW)
        await socket.send(LAMP)
        await socket.send(STOP)
        assert finals((await said(socket))[0]) == ["turn on the lamp"]
        assert viewer.close_code is None  # whose token is still there
        await viewer.close()
    assert running.engine.open_sessions == 0


@in_loop
async def test_who_is_in_the_file_still_goes_on(tokens: Path) -> None:
    async with service(ServerConfig(port=0, token_file=str(tokens))) as running:
        socket = await begun(running, OLD)
        await socket.send(LAMP[:8_000])
        put(tokens, f"{NEW} phones\n{OLD} before\n")
        await running.server.reload()
        await socket.send(LAMP[8_000:])
        await socket.send(STOP)
        heard, code = await said(socket)
    assert (finals(heard), code) == (["turn on the lamp"], 1000)


@in_loop
async def test_a_token_may_lose_what_it_is_for(tokens: Path) -> None:
    async with service(ServerConfig(port=0, token_file=str(tokens))) as running:
        socket = await begun(running, OLD)
        put(tokens, f"{OLD} phones view\n")
        await running.server.reload()
        assert (await said(socket))[1] == 4401


@in_loop
async def test_tickets_of_a_withdrawn_token_are_withdrawn(tokens: Path) -> None:
    async with service(ServerConfig(port=0, token_file=str(tokens))) as running:
        port, issued = running.server.port, []
        for token in (OLD, VIEW):
            header = f"Authorization: Bearer {token}"
            issued.append(json.loads((await ask(port, "POST", "/v1/ticket", header))[2])["ticket"])
        put(tokens, f"{VIEW} hall view\n")
        await running.server.reload()
        offers = [f"Sec-WebSocket-Protocol: streamer.v1, ticket.{each}" for each in issued]
        statuses = [await knock(port, "/v1/captions?session=x", offer) for offer in offers]
        assert statuses == [401, 101]


@pytest.mark.parametrize("bad", ["", "short", None, b"\xff\xfe"])
@in_loop
async def test_tokens_that_cannot_be_read_leave_the_old(
    bad: str | bytes | None, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service(ServerConfig(port=0, token_file=str(tokens))) as running:
        socket = await begun(running, OLD)
        put(tokens, bad)
        await running.server.reload()
        (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert "what was read before holds" in told.getMessage()
        assert str(tokens) in told.getMessage()
        assert "\n" not in told.getMessage()
        assert await admitted(running, OLD) == 101
        await socket.send(LAMP)
        await socket.send(STOP)
        assert finals((await said(socket))[0]) == ["turn on the lamp"]


# --- certificates ---------------------------------------------------------------------------------


@asynccontextmanager
async def encrypted(path: Path) -> AsyncIterator[tuple[Service, trustme.CA]]:
    authority = trustme.CA()
    issue(authority, path)
    async with service(ServerConfig(port=0, tls_cert=str(path))) as running:
        yield running, authority


def issue(authority: trustme.CA, path: Path) -> None:
    pem = authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
    pem.write_to_path(path)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # an address sends no server name
@in_loop
async def test_a_new_certificate_is_for_new_handshakes(
    name: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    path = tmp_path / "both.pem"
    async with encrypted(path) as (running, old):
        url, new = f"wss://{name}:{running.server.port}/v1/stream", trustme.CA()
        socket = await connect(url, host="127.0.0.1", ssl=trusting(old))
        await socket.send(START)
        issue(new, path)
        await running.server.reload()
        trust = trusting(new)
        trust.maximum_version = version
        async with connect(url, host="127.0.0.1", ssl=trust) as other:
            for each in (START, LAMP, STOP):
                await other.send(each)
            assert finals((await said(other))[0]) == ["turn on the lamp"]
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(url, host="127.0.0.1", ssl=trusting(old))
        for each in (LAMP, STOP):  # what is open goes on
            await socket.send(each)
        heard, code = await said(socket)
    assert (finals(heard), code) == (["turn on the lamp"], 1000)


@pytest.mark.parametrize("bad", ["nonsense", "another's key", "nothing"])
@in_loop
async def test_a_bad_certificate_leaves_the_old(
    bad: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "both.pem"
    async with encrypted(path) as (running, old):
        port = running.server.port
        if bad == "nonsense":
            path.write_text("no certificate")
        elif bad == "nothing":
            path.unlink()
        else:
            issued, other = (trustme.CA().issue_cert("localhost") for _ in range(2))
            pems = (other.private_key_pem, issued.cert_chain_pems[0])
            path.write_bytes(b"".join(each.bytes() for each in pems))
        await running.server.reload()
        (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert told.getMessage().startswith("certificate: not renewed")
        asked = ask(port, "GET", "/v1/stream", *HANDSHAKE, tls=trusting(old))
        assert (await asked)[0] == 101
        issue(old, path)  # mended
        await running.server.reload()
        assert (await ask(port, "GET", "/", tls=trusting(old)))[0] == 200


@in_loop
async def test_reloading_in_mid_handshake_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    async with encrypted(path) as (running, old):
        trust = trusting(old)

        async def asks() -> None:
            for _ in range(20):
                assert (await ask(running.server.port, "GET", "/healthz", tls=trust))[0] == 200

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(asks())
            for _ in range(40):
                issue(old, path)
                await running.server.reload()
