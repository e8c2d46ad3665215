"""A real Mosquitto, and what is heard of it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiomqtt

CONFIG = """
listener {port} 127.0.0.1
allow_anonymous {anonymous}
connection_messages false
log_dest stderr
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker on a port of its own that remembers nothing: what it had when killed is gone.

    `certificate` is a file with its certificate and key, for TLS; `rights`, in its own words, who
    may read and write what.
    """

    def __init__(
        self,
        folder: Path,
        passwords: dict[str, str] | None = None,
        certificate: Path | None = None,
        rights: str | None = None,
    ) -> None:
        self.port = free_port()
        self._folder = folder
        config = CONFIG.format(port=self.port, anonymous="false" if passwords else "true")
        if os.getuid() == 0:  # else it becomes somebody who may not read our folder
            config += "user root\n"
        for user, password in (passwords or {}).items():
            users = folder / "users"
            new = [] if users.exists() else ["-c"]
            subprocess.run(["mosquitto_passwd", *new, "-b", users, user, password], check=True)
            config += f"password_file {users}\n"
        if certificate is not None:
            config += f"certfile {certificate}\nkeyfile {certificate}\n"
        if rights is not None:
            (folder / "rights").write_text(rights)
            (folder / "rights").chmod(0o600)
            config += f"acl_file {folder / 'rights'}\n"
        (folder / "mosquitto.conf").write_text(config)

    async def start(self) -> Self:
        command = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert command is not None, "the tests need the Debian package mosquitto"
        config = str(self._folder / "mosquitto.conf")
        self._process = await asyncio.create_subprocess_exec(
            command, "-c", config, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        said = b""
        while b"running" not in said:
            line = await self._process.stderr.readline()
            said += line
            assert line, said.decode()
        return self

    async def kill(self) -> None:
        """As a power cut would."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def hold(self) -> None:
        """It stops answering, and its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def mosquitto(
    passwords: dict[str, str] | None = None,
    certificate: Path | None = None,
    rights: str | None = None,
) -> AsyncIterator[Mosquitto]:
    with tempfile.TemporaryDirectory() as folder:
        broker = await Mosquitto(Path(folder), passwords, certificate, rights).start()
        try:
            yield broker
        finally:
            await broker.kill()


class Heard:
    """What a subscriber hears; `until` waits for it."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.messages: list[aiomqtt.Message] = []

    async def until(self, *topics: str) -> Any:
        """Hear on until a message of the last topic comes behind those of the first ones."""
        for topic in topics:
            body = await self._next(topic)
        return body

    async def _next(self, topic: str) -> Any:
        async for message in self.client.messages:
            self.messages.append(message)
            if message.topic.matches(topic):
                assert isinstance(message.payload, bytes)
                return json.loads(message.payload)
        raise AssertionError("the iteration ends by an exception only")

    def bodies(self, topic: str) -> list[Any]:
        """What was heard under a topic so far."""
        return [
            json.loads(each.payload)
            for each in self.messages
            if each.topic.matches(topic) and isinstance(each.payload, bytes)
        ]


@asynccontextmanager
async def subscriber(port: int, *topics: str, **settings: Any) -> AsyncIterator[Heard]:
    async with aiomqtt.Client("127.0.0.1", port, **settings) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)
        yield Heard(client)
