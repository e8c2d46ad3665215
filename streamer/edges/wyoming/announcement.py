"""Telling the network where we are, over multicast DNS. Needs the extra `zeroconf`.

Owns the name and the addresses that Home Assistant finds. Must not know: listening, clients.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable
from contextlib import suppress

import ifaddr
from zeroconf import Error
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE = "_wyoming._tcp.local."
MAX_NAME_LENGTH = 50  # of a label's 63 bytes, so that a number still fits behind

logger = logging.getLogger(__name__)


class Announcement:
    """What is said of a server that is bound to `hosts`; `begin`, and `end` in any case."""

    def __init__(self, hosts: Iterable[str], port: int) -> None:
        self._addresses = reachable(hosts)
        self._zeroconf: AsyncZeroconf | None = None
        self._info = AsyncServiceInfo(
            SERVICE,
            f"{_name(socket.gethostname())}.{SERVICE}",
            parsed_addresses=self._addresses,
            port=port,
        )

    async def begin(self) -> None:
        """Announce; a network that does not let us is a line in the log."""
        if not self._addresses:
            logger.warning("wyoming: not announced: this machine has no address for others")
            return
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._addresses)
            registered = self._zeroconf.async_register_service(self._info, allow_name_change=True)
            await (await registered)
        except (OSError, Error) as fault:
            logger.warning("wyoming: not announced to the network: %s", fault or type(fault))
        else:
            logger.info("wyoming: announced to the network as %s", self._info.name)

    async def end(self) -> None:
        """Take it back."""
        if self._zeroconf is not None:
            with suppress(OSError, Error):
                await self._zeroconf.async_close()


def reachable(hosts: Iterable[str]) -> list[str]:
    """The addresses behind those that were bound to, IPv4 if there are any.

    An unspecified one stands for all of the machine's but loopback and link-local ones.
    """
    found: set[str] = set()
    for host in hosts:
        bound = ipaddress.ip_address(host.partition("%")[0])
        if bound.is_unspecified:
            found.update(each for each in _own() if _fits(each, bound.version))
        else:
            found.add(str(bound))
    old = [each for each in found if ipaddress.ip_address(each).version == 4]
    return sorted(old or found)


def _own() -> list[str]:
    """Every address of every interface."""
    ips = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    return [ip if isinstance(ip, str) else ip[0] for ip in ips]


def _fits(address: str, version: int) -> bool:
    own = ipaddress.ip_address(address)
    return own.version == version and not (own.is_loopback or own.is_link_local)


def _name(host: str) -> str:
    """A label for this machine's recognizer."""
    plain = re.sub("[^a-zA-Z0-9-]+", "-", host.partition(".")[0])
    return f"streamer-{plain}"[:MAX_NAME_LENGTH].strip("-")
