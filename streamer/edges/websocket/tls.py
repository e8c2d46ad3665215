"""TLS from a certificate and its key, with one clear sentence for every way they can be wrong."""

import asyncio
import ssl
from pathlib import Path

from streamer.config import ConfigError


class Certificate:
    """A certificate that can be renewed while it is in use.

    `context` is for a listening socket. Each handshake takes the newest certificate; connections
    that are open keep theirs.
    """

    def __init__(self, certificate: str, key: str) -> None:
        """ConfigError as `server_context`."""
        self._paths = certificate, key
        self._newest = self.context = server_context(certificate, key)
        self.context.sni_callback = self._take_newest

    async def reload(self) -> None:
        """Read the files again; ConfigError, and the old ones hold, if they cannot be used."""
        self._newest = await asyncio.to_thread(server_context, *self._paths)

    def _take_newest(self, handshake: ssl.SSLObject, *_: object) -> None:
        handshake.context = self._newest


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer for a server; `key` may be "" where the certificate's file has it too.

    Raises ConfigError for files that cannot be read or do not belong together.
    """
    for path in filter(None, (certificate, key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    keys = key or certificate
    try:
        # Without a password of ours, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, keys, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise ConfigError(f"the key in {keys} is not that of {certificate}") from error
        text = f"{certificate} and {keys}: expected a certificate and its key in PEM, unencrypted"
        raise ConfigError(text) from error
    return context
