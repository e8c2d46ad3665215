"""The connection to a broker: it is kept up for good, and nobody ever waits for it.

Owns connecting, the status topic with its last will, and three ways out: `keep` (QoS 1, through
the store on disk), `say` (QoS 0, in order) and `show` (QoS 0, the newest of a topic). Must not
know: what messages mean.

At its limits: `say` beyond MAX_SAID drops the oldest; an incoming packet over
`client.MAX_PACKET_BYTES` is not sent by the broker, more than `client.MAX_INCOMING` at once are
discarded. While the broker is away, `say` and `show` drop everything and the store fills.
"""

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from aiomqtt import MqttError, Will

from streamer.edges.mqtt.client import Address, Client, explained
from streamer.edges.mqtt.store import Store

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
GOODBYE_S = 2.0  # for the last status
MAX_SAID = 1_024
LOST_PER_WARNING = 1_000
BATCH = 16  # kept messages on their way at once, so that a far broker takes many a second

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """One who takes messages: the topics it subscribes to, and what to do with each message."""

    @property
    def topics(self) -> Sequence[str]:
        """Topic filters."""

    def accept(self, topic: str, payload: bytes) -> None:
        """Take one message; must not wait, and never raises for what a peer sent."""


class Broker:
    """`run` connects, and connects again, until it is cancelled.

    `announced` are retained messages by topic, renewed at each connection, for a broker may forget
    them; with `withdraws` they are taken back at the end.
    """

    def __init__(
        self,
        address: Address,
        store: Store,
        status_topic: str,
        announced: Mapping[str, str],
        *,
        withdraws: bool,
    ) -> None:
        self.listeners: list[Listener] = []  # filled before `run`
        self._address, self._store, self._status_topic = address, store, status_topic
        self._announced, self._withdraws = announced, withdraws
        self._is_up = self._is_leaving = self._is_outage_reported = False
        self._lost_at_warning = 1
        self._said: deque[tuple[str, str]] = deque(maxlen=MAX_SAID)
        self._shown: dict[tuple[str, str], str | bytes] = {}  # a few for each session
        self._work, self._idle = asyncio.Event(), asyncio.Event()

    async def keep(self, key: str, topic: str, payload: str) -> None:
        """Publish for certain, in order, once the broker is there; waits for the disk only."""
        await self._store.put(key, topic, payload)
        if self._store.lost >= self._lost_at_warning:
            self._lost_at_warning = self._store.lost + LOST_PER_WARNING
            logger.warning("mqtt: the outbox is full; %d messages lost so far", self._store.lost)
        self._wake()

    def say(self, topic: str, payload: str) -> None:
        """Publish now or never."""
        if self._is_up:
            self._said.append((topic, payload))
            self._wake()

    def show(self, topic: str, payload: str | bytes, of: str = "") -> None:
        """Publish when nothing else waits, unless something newer comes for the topic `of` one."""
        if self._is_up:
            self._shown[topic, of] = payload
            self._wake()

    def hide(self, topic: str, of: str = "") -> None:
        """Forget what is shown and has not gone out."""
        self._shown.pop((topic, of), None)

    async def published(self) -> None:
        """Wait until everything is out; at once when the broker is away."""
        if self._is_up:
            await self._idle.wait()

    async def run(self) -> None:
        """Keep the connection; faults of the broker end up in the log, one line each time."""
        retry_s, will = FIRST_RETRY_S, Will(self._status_topic, _status("offline"), 1, True)
        while not self._is_leaving:
            begun = asyncio.get_running_loop().time()
            try:
                async with Client(self._address, will) as client:
                    await self._converse(client)
            except* MqttError as faults:
                self._report(faults)
            if asyncio.get_running_loop().time() - begun > LAST_RETRY_S:  # it was a good one
                retry_s = FIRST_RETRY_S
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    def leave(self) -> None:
        """Say goodbye and end `run`, which may be cancelled then.

        Cancelling alone is not enough: before Python 3.12 `asyncio.wait_for`, which the library
        uses, may swallow it.
        """
        self._is_leaving, self._is_up = True, False
        self._wake()

    async def _converse(self, client: Client) -> None:
        for listener in self.listeners:
            for topic in listener.topics:
                await client.listen(topic)
        try:
            await self._announce(client)
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(self._receive(client), name="mqtt receive")
                await self._send(client)
                receiving.cancel()
        finally:
            self._is_up = False
            self._said.clear()
            self._shown.clear()
            self._idle.set()
            if self._is_leaving:
                await self._say_goodbye(client)

    async def _announce(self, client: Client) -> None:
        for topic, announcement in self._announced.items():
            await client.publish(topic, announcement, qos=1, retain=True)
        await client.publish(self._status_topic, _status("online"), qos=1, retain=True)
        logger.info("mqtt: connected to %r", self._address)
        self._is_up, self._is_outage_reported = not self._is_leaving, False

    async def _say_goodbye(self, client: Client) -> None:
        last = {self._status_topic: _status("offline")}
        if self._withdraws:
            last |= dict.fromkeys(self._announced, "")
        with suppress(MqttError):
            for topic, payload in last.items():
                await client.publish(topic, payload, 1, retain=True, timeout=GOODBYE_S)

    async def _receive(self, client: Client) -> None:
        try:
            async for message in client.messages:
                topic, payload = message.topic.value, message.payload
                assert isinstance(payload, bytes), type(payload)
                for listener in self.listeners:
                    if any(message.topic.matches(each) for each in listener.topics):
                        _accept(listener, topic, payload)
        finally:
            self._is_up = False
            self._work.set()

    async def _send(self, client: Client) -> None:
        while self._is_up:
            self._work.clear()
            if self._said:
                await client.publish(*self._said.popleft())
            elif self._store.count:
                await self._send_kept(client)
            elif self._shown:
                topic, of = next(iter(self._shown))
                await client.publish(topic, self._shown.pop((topic, of)))
            else:
                self._idle.set()
                await self._work.wait()

    async def _send_kept(self, client: Client) -> None:
        """The oldest messages, which the broker gets and acknowledges in their order."""
        batch = await self._store.head(BATCH)
        sending = [
            asyncio.create_task(client.publish(each.topic, each.payload, qos=1), name=each.key)
            for each in batch
        ]
        if not sending:  # the disk cannot be read
            return
        try:
            await asyncio.wait(sending)
        finally:  # also when the line breaks: what was acknowledged need not go out again
            for task in sending:
                task.cancel()
            results = await asyncio.gather(*sending, return_exceptions=True)
            faults = [n for n, result in enumerate(results) if result is not None]
            await self._store.remove(batch[: faults[0]] if faults else batch)
        sending[faults[0] if faults else 0].result()

    def _wake(self) -> None:
        self._idle.clear()
        self._work.set()

    def _report(self, faults: ExceptionGroup[MqttError]) -> None:
        """Say why the connection is lost or not to be had, once for each outage."""
        fault: Exception = faults
        while isinstance(fault, ExceptionGroup):
            fault = fault.exceptions[0]
        if not self._is_outage_reported:
            self._is_outage_reported = True
            text = "mqtt: %r: %s; finals are kept, trying on"
            logger.warning(text, self._address, explained(fault))


def _accept(listener: Listener, topic: str, payload: bytes) -> None:
    """Hand on a message; a mistake of ours costs this message, and no other."""
    try:
        listener.accept(topic, payload)
    except Exception:
        logger.exception("mqtt: our own mistake on a message")


def _status(state: str) -> str:
    return json.dumps({"status": state})
