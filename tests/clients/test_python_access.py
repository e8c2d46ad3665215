"""The Python client and a server that asks for tokens over TLS: as a library and as a program."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import soundfile
import trustme

from clients.python import RecognizerError, recognize
from streamer import messages as m
from streamer.config import ServerConfig
from tests.commands import ROOT
from tests.fakes import speak
from tests.serving import finals, in_loop, pcm, service

TOKEN = "the-token-of-this-client"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    pem.write_to_path(tmp_path / "server.pem")
    (tmp_path / "tokens").write_text(f"{TOKEN} client\n")
    return authority


def guarded(folder: Path) -> ServerConfig:
    return ServerConfig(
        port=0, token_file=str(folder / "tokens"), tls_cert=str(folder / "server.pem")
    )


async def lamp() -> AsyncIterator[bytes]:
    yield pcm(speak("turn on the lamp"))


async def heard(url: str, token: str, trust: ssl.SSLContext | None) -> list[m.ServerMessage]:
    return [each async for each in recognize(url, lamp(), token=token, ssl=trust)]


@in_loop
async def test_a_token_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with service(guarded(tmp_path)) as running:
        url = f"wss://127.0.0.1:{running.server.port}/v1/stream"
        assert finals(await heard(url, TOKEN, trust)) == ["turn on the lamp"]
        with pytest.raises(RecognizerError, match=r"refused \(401\): a valid token is needed"):
            await heard(url, "wrong", trust)
        with pytest.raises(RecognizerError, match=r"refused \(401\)"):
            await heard(url, "", trust)
        with pytest.raises(RecognizerError, match="certificate verify failed") as caught:
            await heard(url, TOKEN, None)
        assert TOKEN not in str(caught.value)


@pytest.mark.usefixtures("authority")
@in_loop
async def test_the_program_takes_them_from_files_and_the_environment(tmp_path: Path) -> None:
    clip, ca = tmp_path / "lamp.wav", str(tmp_path / "ca.pem")
    soundfile.write(clip, speak("turn on the lamp"), 16_000)
    async with service(guarded(tmp_path)) as running:
        url = f"wss://127.0.0.1:{running.server.port}/v1/stream"
        for options, token, expected in [
            (["--token-file", str(tmp_path / "tokens"), "--ca-file", ca], "", (0, "lamp", "")),
            (["--ca-file", ca], TOKEN, (0, "lamp", "")),
            (["--ca-file", ca], "", (1, "", "a valid token is needed")),
            (["--ca-file", str(tmp_path / "none")], TOKEN, (1, "", "cannot use the certificates")),
            (["--token-file", str(tmp_path / "none")], "", (1, "", "cannot read the token")),
        ]:
            program = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "clients.python", str(clip), "--url", url, "--text"],
                *options,
                cwd=ROOT,
                env=os.environ | {"STREAMER_TOKEN": token},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await program.communicate()
            status, said, complained = expected
            assert (program.returncode, said in out.decode()) == (status, True), err.decode()
            assert complained in err.decode()
            assert err.count(b"\n") == status  # one line, and no traceback
