"""MQTT as a whole: puts together the store, the connection and everyone who speaks over it.

Owns the order in which they begin and end, and how settings become an address. Must not know: any
topic but the status.
"""

import asyncio
import os
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from streamer.config import ConfigError, EndpointRules, MqttConfig
from streamer.edges.mqtt.audio_in import AudioIn
from streamer.edges.mqtt.broker import Broker
from streamer.edges.mqtt.client import Address
from streamer.edges.mqtt.discovery import announcement
from streamer.edges.mqtt.hermes import Hermes
from streamer.edges.mqtt.publisher import Publisher
from streamer.edges.mqtt.store import Store, StoreError
from streamer.engine.engine import Engine

PASSWORD_VARIABLE = "STREAMER_MQTT_PASSWORD"  # noqa: S105 (its name, not itself)
MAX_PASSWORD_BYTES = 4_096
FINISH_S = 5.0  # sessions that came over MQTT have so long to finish at shutdown
PUBLISH_S = 3.0  # and what they said, to go out; then it stays in the outbox


class MqttEdge:
    """`async with MqttEdge(engine, endpoint, config):` publishes all sessions of the engine.

    Enter it before whatever opens sessions, so that it leaves after it: at the end the finals that
    the broker did not take stay on disk, for the next run. Raises ConfigError for an outbox, a
    password file or certificates that cannot be used; a broker that is not there is no error.
    """

    def __init__(self, engine: Engine, endpoint: EndpointRules, config: MqttConfig) -> None:
        self._engine, self._endpoint, self._config = engine, endpoint, config
        self.address = address(config)
        self._store = Store(Path(config.outbox).expanduser(), config.max_outbox_messages)

    async def __aenter__(self) -> Self:
        config = self._config
        try:
            await self._store.__aenter__()
        except StoreError as error:
            raise ConfigError(str(error)) from error
        self._tasks = await asyncio.TaskGroup().__aenter__()
        broker = Broker(
            self.address,
            self._store,
            f"{config.topic}/status",
            announcement(config.discovery_topic, config.topic) if config.discovery_topic else {},
            withdraws=config.withdraws_discovery,
        )
        self._broker = broker
        self._publisher = Publisher(self._engine, broker, self._tasks, config.topic)
        self._audio_in = AudioIn(
            self._engine,
            self._endpoint,
            broker,
            self._tasks,
            prefix=config.topic,
            idle_timeout_s=config.idle_timeout_s,
        )
        self._hermes = Hermes(
            self._engine,
            self._endpoint,
            broker,
            self._tasks,
            sites=config.hermes_sites,
            idle_timeout_s=config.idle_timeout_s,
        )
        broker.listeners = (
            [self._audio_in, self._hermes] if config.hermes_sites else [self._audio_in]
        )
        self._publishing = self._tasks.create_task(self._publisher.run(), name="mqtt sessions")
        self._connecting = self._tasks.create_task(broker.run(), name="mqtt broker")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the sessions, publish what can be published, say goodbye."""
        try:
            if error is None:
                await self._finish()
        finally:
            self._publishing.cancel()
            self._broker.leave()
            self._connecting.cancel()
            try:
                await self._tasks.__aexit__(kind, error, trace)
            finally:
                await self._store.__aexit__()

    async def _finish(self) -> None:
        self._audio_in.close()
        self._hermes.close()
        try:
            async with asyncio.timeout(FINISH_S):
                await self._publisher.finished()
            async with asyncio.timeout(PUBLISH_S):
                await self._broker.published()
        except TimeoutError:
            return


def address(config: MqttConfig) -> Address:
    """The broker of `config.url`; its password from the environment or a file, never from there."""
    url = urlsplit(config.url)
    tls = _trusting(config.ca_file) if url.scheme == "mqtts" else None
    password = os.environ.get(PASSWORD_VARIABLE)
    if config.password_file:
        password = _first_line(Path(config.password_file).expanduser())
    return Address(
        host=url.hostname or "",
        port=url.port or (8883 if tls else 1883),
        tls=tls,
        username=None if url.username is None else unquote(url.username),
        password=password,
    )


def _trusting(ca_file: str) -> ssl.SSLContext:
    """TLS that believes these authorities, or the system's."""
    try:
        return ssl.create_default_context(cafile=Path(ca_file).expanduser() if ca_file else None)
    except ssl.SSLError as error:
        raise ConfigError(f"{ca_file} has no certificates") from error
    except OSError as error:
        raise ConfigError(f"cannot read the certificates {ca_file}: {error.strerror}") from error


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PASSWORD_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"cannot read the password file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the password file {path} is not UTF-8") from error
    return content.partition("\n")[0].rstrip("\r")
