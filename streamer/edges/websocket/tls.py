"""TLS from a certificate and its key, with one clear sentence for every way they can be wrong."""

import ssl
from pathlib import Path

from streamer.config import ConfigError


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
