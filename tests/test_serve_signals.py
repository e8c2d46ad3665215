"""A real `streamer serve` that gets SIGHUP, SIGTERM and SIGKILL while it has sessions."""

import asyncio
import re
import signal
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
import trustme
from websockets.asyncio.client import connect

from clients.python import Patience, Recognition, RecognizerError
from streamer import messages as m
from tests.brokers import free_port
from tests.commands import finals, serving, use
from tests.http import ask
from tests.serving import said, until

pytestmark = pytest.mark.usefixtures("one_thread")
HANGS_S = 500  # a process that loads torch may take long on a busy machine
OLD, NEW = "the-old-token-of-this-test", "the-new-token-of-this-test"
START = m.encode(m.Start(resume=True))
BABBLE = (np.random.default_rng(0).normal(0, 0.1, 64_000) * 32767).astype("<i2").tobytes()


async def logged(server: asyncio.subprocess.Process, pattern: str) -> str:
    """The next line of the log that has this in it."""
    assert server.stderr is not None
    while line := (await server.stderr.readline()).decode():
        if re.search(pattern, line):
            return line
    raise AssertionError(f"expected {pattern} in the log")


def in_time(test):
    return asyncio.run(asyncio.wait_for(test, HANGS_S))


# --- SIGHUP, SIGTERM ------------------------------------------------------------------------------


def issue(path: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    pem = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    pem.write_to_path(path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def test_it_renews_its_secrets_and_drains_in_sight(model: str, tmp_path: Path) -> None:
    cert, tokens = tmp_path / "both.pem", tmp_path / "tokens"
    old = issue(cert)
    tokens.write_text(f"{OLD} phones\n")
    options = ["--port", "0", "--tls-cert", str(cert), "--token-file", str(tokens)]
    options += ["--drain-timeout-s", "300"]

    async def renewed(server: asyncio.subprocess.Process, url: str) -> None:
        port = int(url.split(":")[2].split("/")[0])
        bearer = {"Authorization": f"Bearer {OLD}"}
        local = url.replace("127.0.0.1", "localhost")
        async with connect(local, ssl=old, additional_headers=bearer) as socket:
            await socket.send(START)
            tokens.write_text("bad\n")
            server.send_signal(signal.SIGHUP)
            assert "at least 16 characters" in await logged(server, "not renewed")
            tokens.write_text(f"{OLD} phones\n{NEW} halls\n")
            new = issue(cert)
            server.send_signal(signal.SIGHUP)
            await logged(server, "certificate: read again")
            await logged(server, "tokens: read again")
            assert (await ask(port, "GET", "/readyz", tls=new))[0] == 200
            ticket = await ask(port, "POST", "/v1/ticket", f"Authorization: Bearer {NEW}", tls=new)
            assert ticket[0] == 200
            await socket.send(BABBLE)
            await until(m.SpeechStart, socket)
            server.send_signal(signal.SIGTERM)
            await until(m.GoAway, socket)
            assert (await ask(port, "GET", "/readyz", tls=new))[0] == 503
            status, _, body = await ask(port, "GET", "/metrics", tls=new)
            assert (status, b"streamer_sessions 1.0" in body) == (200, True)
            heard, code = await said(socket)
        assert (isinstance(heard[-1], m.Closed), code) == (True, 1012)
        assert await server.wait() == 0

    async def scenario() -> None:
        async with serving(*use(model), *options) as (server, url):
            await renewed(server, url)

    in_time(scenario())


# --- SIGKILL --------------------------------------------------------------------------------------


@dataclass
class Hearing:
    messages: list[m.ServerMessage] = field(default_factory=list)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stream: Recognition) -> None:
        async for message in stream:
            self.messages.append(message)
            if isinstance(message, m.Ack):
                self.has_begun.set()


def test_a_killed_server_is_found_again_and_what_is_lost_is_said(
    model: str, tmp_path: Path
) -> None:
    """One client begins again behind its last final, one says what is in no final."""
    port, half = str(free_port()), len(BABBLE) // 2
    hearings = Hearing(), Hearing()

    async def scenario() -> BaseException | None:
        async with serving(*use(model), "--port", port) as (server, url):
            patience = Patience(total_s=HANGS_S)
            again = Recognition(url, patience=patience, restart=True)
            once = Recognition(url, patience=patience)
            async with again, once:
                pairs = list(zip(hearings, (again, once), strict=True))
                hearing, losing = [asyncio.create_task(h.run(stream)) for h, stream in pairs]
                for each, stream in pairs:
                    await stream.send(BABBLE[:half])
                    await each.has_begun.wait()
                server.kill()
                await server.wait()
                async with serving(*use(model), "--port", port):
                    await again.send(BABBLE[half:])
                    await again.stop()
                    await hearing
                    (lost,) = await asyncio.gather(losing, return_exceptions=True)
                    return lost

    lost, heard = in_time(scenario()), hearings[0].messages
    assert sum(isinstance(each, m.Ready) for each in heard) == 2
    assert not any(isinstance(each, m.Gap) for each in heard)
    assert isinstance(heard[-1], m.Closed)
    assert heard[-1].received == len(BABBLE) // 2
    second = [at for at, each in enumerate(heard) if isinstance(each, m.Ready)][1]
    before = [each for each in heard[:second] if isinstance(each, m.Final)]
    from_sample = round(before[-1].end * 16_000) if before else 0
    path = tmp_path / "rest.wav"
    soundfile.write(path, np.frombuffer(BABBLE, "<i2")[from_sample:], 16_000)
    texts = [each.text for each in heard[second:] if isinstance(each, m.Final)]
    assert texts == [each.text for each in finals(model, str(path))] != []
    ends = [each.end for each in hearings[1].messages if isinstance(each, m.Final)]
    unheard_s = half / 32_000 - max(ends, default=0.0)
    assert isinstance(lost, RecognizerError)
    assert (lost.code, lost.unheard_s) == ("no_session", pytest.approx(unheard_s, abs=0.01))
    assert f"{unheard_s:.1f} s of audio are in no final" in str(lost)
