"""A server that cannot be reached: why, in words."""

import socket

import pytest

from clients.python import Patience, Recognition, RecognizerError
from streamer.config import ServerConfig
from tests.serving import in_loop, service


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (["127.0.0.1", "127.0.0.2"], "Connection refused"),  # as of localhost, which has ::1 too
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
    ],
)
@in_loop
async def test_a_host_that_is_not_to_be_had_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, found: list[str] | OSError, reason: str
) -> None:
    def look_up(_host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    async with service(ServerConfig(port=0)) as running:
        port = running.server.port
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(RecognizerError) as caught:
        await Recognition(f"ws://host.test:{port}/", patience=Patience(total_s=0)).__aenter__()
    assert str(caught.value) == f"cannot reach ws://host.test:{port}/: {reason}"
