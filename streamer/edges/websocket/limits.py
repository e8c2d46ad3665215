"""How often, and how many at once: allowances by key, which is an address or a token's name.

Owns the counting and how much of it is remembered. Must not know: what is counted, any clock (the
time is handed in), what happens to those who come too often.
"""

import ipaddress
from collections import Counter, OrderedDict

MAX_KEYS = 10_000  # remembered; one more forgets the one that came least lately
IPV6_PREFIX = 64  # bits: one customer has all addresses below


class Rate:
    """An allowance per key that refills evenly: `per_minute`, all of it at once at first."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._used: OrderedDict[str, float] = OrderedDict()  # key: when its allowance is full again

    def wait_s(self, key: str, now: float) -> float:
        """Seconds until the key may come again; 0 if it may now."""
        full_at = max(self._used.get(key, now), now)
        return max(0.0, full_at - now + 60 / self._per_minute - 60)

    def take(self, key: str, now: float) -> None:
        """The key has come."""
        self._used[key] = max(self._used.pop(key, now), now) + 60 / self._per_minute
        if len(self._used) > MAX_KEYS:
            self._used.popitem(last=False)


class Present:
    """How many of each key are here now; who is counted must leave."""

    def __init__(self) -> None:
        self._present: Counter[str] = Counter()

    def __getitem__(self, key: str) -> int:
        return self._present[key]

    def enter(self, key: str) -> None:
        """One more."""
        self._present[key] += 1

    def leave(self, key: str) -> None:
        """One less; a key that has none is forgotten."""
        self._present[key] -= 1
        if not self._present[key]:
            del self._present[key]


def address_key(address: str) -> str:
    """What an address is counted as: itself, or for IPv6 the network of its owner."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
