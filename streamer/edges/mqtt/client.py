"""The MQTT library's client as we need it: its settings, and a broker's refusals in words.

Owns who we are to a broker and the limits that we give it. Must not know: what is sent, when.
"""

import logging
import ssl
from dataclasses import dataclass
from typing import Any

import aiomqtt
from aiomqtt import MqttCodeError, MqttError, ProtocolVersion, Will
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

KEEPALIVE_S = 15  # a broker that is silent for so long counts as gone
TIMEOUT_S = 10.0  # an acknowledgement that takes longer does too
MAX_PACKET_BYTES = 1 << 20
MAX_INCOMING = 4_096
REFUSED = {0x86, 0x87, 4, 5}  # bad user name or password, not authorised; in MQTT 5 and 3.1.1
REFUSALS_PER_WARNING = 1_000

logger = logging.getLogger(__name__)
# The library logs peers' faults; what matters of them is logged by us.
library_logger = logging.getLogger(f"{__name__}.library")
library_logger.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and who we are there; the password is in no text of this object.

    `tls` is a context for a connection that is encrypted.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"


class Client(aiomqtt.Client):
    """One connection; the broker tells others `will` when it is lost.

    A message that the broker refuses is gone, since it would be refused again: the log says so
    for the first and then every REFUSALS_PER_WARNING. The library itself takes a refusal for
    success.
    """

    def __init__(self, address: Address, will: Will) -> None:
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = MAX_PACKET_BYTES
        super().__init__(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            tls_context=address.tls,
            protocol=ProtocolVersion.V5,
            properties=limits,
            clean_start=True,
            will=will,
            timeout=TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=MAX_INCOMING,
            logger=library_logger,
        )
        self._address, self._refused = address, 0

    async def listen(self, topic: str) -> None:
        """Subscribe with QoS 1; a refusal is a line in the log."""
        for code in await self.subscribe(topic, qos=1):
            if isinstance(code, ReasonCode) and code.is_failure:
                logger.warning("mqtt: %r: we may not read %s: %s", self._address, topic, code)

    def _on_publish(self, *arguments: Any) -> None:
        *_, code, _ = arguments
        if isinstance(code, ReasonCode) and code.is_failure:
            if self._refused % REFUSALS_PER_WARNING == 0:
                text = "mqtt: %r refuses a message, which is lost (%d so far on this line): %s"
                logger.warning(text, self._address, self._refused + 1, code)
            self._refused += 1
        super()._on_publish(*arguments)


def explained(fault: Exception) -> str:
    """Why there is no connection, in the words of the settings where those may be the reason."""
    code = fault.rc if isinstance(fault, MqttCodeError) else None
    if isinstance(code, ReasonCode) and code.value in REFUSED:
        return "the broker refuses this user name and password"
    if isinstance(fault, MqttError) and "CERTIFICATE_VERIFY_FAILED" in str(fault):
        reason = str(fault).rpartition("failed: ")[2].partition(" (_ssl")[0]
        return f"the broker's certificate is not trusted ({reason}); see --mqtt-ca-file"
    return str(fault)
