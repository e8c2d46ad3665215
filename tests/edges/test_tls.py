"""TLS on the server's port, with certificates made here."""

import ssl
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ConfigError, ServerConfig
from streamer.edges.websocket.tls import server_context
from tests.fakes import speak
from tests.http import ask
from tests.serving import finals, in_loop, pcm, said, service

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for each in issued.cert_chain_pems:
        each.write_to_path(tmp_path / "cert.pem", append=True)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@in_loop
async def test_all_of_it_over_tls(authority: trustme.CA, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    config = ServerConfig(port=0, tls_cert=cert, tls_key=key)
    async with service(config) as running:
        port, trust = running.server.port, trusting(authority)
        url = f"wss://localhost:{port}/v1/stream"
        async with connect(url, host="127.0.0.1", ssl=trust) as socket:
            for each in (START, LAMP, STOP):
                await socket.send(each)
            heard, code = await said(socket)
        assert (finals(heard), code) == (["turn on the lamp"], 1000)
        status, fields, _ = await ask(port, "GET", "/", tls=trust)
        assert (status, "Strict-Transport-Security" in fields) == (200, False)  # localhost
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(url, host="127.0.0.1")
    assert server_context(cert, key).minimum_version == ssl.TLSVersion.TLSv1_2


@in_loop
async def test_a_name_is_promised_to_stay_with_tls(
    authority: trustme.CA, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    config = ServerConfig(port=0, tls_cert=cert, tls_key=key, allowed_hosts=("asr.example",))
    async with service(config) as running:
        asked = await ask(
            running.server.port, "GET", "/", host="asr.example", tls=trusting(authority)
        )
        assert asked[1]["Strict-Transport-Security"].startswith("max-age=")


@in_loop
async def test_a_certificate_and_key_in_one_file(authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    async with service(ServerConfig(port=0, tls_cert=str(path))) as running:
        assert (await ask(running.server.port, "GET", "/", tls=trusting(authority)))[0] == 200


def test_wrong_certificates_are_one_clear_sentence(
    authority: trustme.CA, certificate: tuple[str, str], tmp_path: Path
) -> None:
    cert, key = certificate
    other = tmp_path / "other.pem"
    authority.issue_cert("localhost").private_key_pem.write_to_path(other)
    locked, nonsense = tmp_path / "locked.pem", tmp_path / "nonsense.pem"
    locked.write_bytes(encrypted(Path(key)))
    nonsense.write_text("no certificate")
    for tls_cert, tls_key, words in [
        (str(tmp_path / "none.pem"), key, "none.pem: No such file"),
        (cert, str(tmp_path), "Is a directory"),
        (cert, str(other), "is not that of"),
        (cert, str(locked), "unencrypted"),
        (str(nonsense), key, "expected a certificate"),
        (cert, "", "expected a certificate and its key"),
    ]:
        with pytest.raises(ConfigError) as caught:
            server_context(tls_cert, tls_key)
        assert words in str(caught.value)
    with pytest.raises(ValueError, match="expected tls_cert"):
        ServerConfig(tls_key=key)


def encrypted(key: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    loaded = s.load_pem_private_key(key.read_bytes(), None)
    best = s.BestAvailableEncryption(b"secret")
    return loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, best)
