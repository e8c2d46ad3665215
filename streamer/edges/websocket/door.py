"""The listening socket: who has come in, who is still at the door, and who must make room.

asyncio shows a TLS connection to its protocol only after its handshake, so counting begins at
`accept`. Owns the sockets' bookkeeping and nothing of what goes over them.

At its limit, MAX_AT_DOOR sockets that have not said what they want: one more shuts the one that has
waited longest, so that those who come with half a request do not keep the others out.
"""

import socket
from contextlib import suppress
from typing import Any, Self

MAX_AT_DOOR = 128
BACKLOG = 100


class Visitor(socket.socket):
    """An accepted socket; the door hears of its end."""

    def __init__(self, door: "Door", accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self._door, self.number = door, self.fileno()

    def close(self) -> None:
        """Close, whoever does it."""
        self._door.left(self.number)
        super().close()


class Door(socket.socket):
    """A listening socket that counts the ones it has accepted until they are closed."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(fileno=bound.detach())
        self._waiting: dict[int, Visitor] = {}  # by file descriptor, in order of arrival
        self._inside: set[int] = set()

    @classmethod
    def at(cls, host: str, port: int) -> Self:
        """A door at an address, any of the machine's if `host` is ""; OSError if it is not free."""
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return cls(socket.create_server(address, family=family, backlog=BACKLOG))

    @property
    def inside(self) -> int:
        """Sockets that were let in and are not closed yet."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """Sockets that were not let in yet, or get an answer only."""
        return len(self._waiting)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next one who comes; whoever has waited longest may have to go."""
        accepted, address = super().accept()
        visitor = Visitor(self, accepted)
        if len(self._waiting) >= MAX_AT_DOOR:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            with suppress(OSError):  # it has left by itself
                oldest.shutdown(socket.SHUT_RDWR)
        self._waiting[visitor.number] = visitor
        return visitor, address

    def let_in(self, number: int) -> None:
        """This one, by file descriptor, goes on to a conversation; no effect if it was shut."""
        if self._waiting.pop(number, None) is not None:
            self._inside.add(number)

    def left(self, number: int) -> None:
        """Called by a visitor that closes."""
        self._waiting.pop(number, None)
        self._inside.discard(number)
