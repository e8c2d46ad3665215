"""A TCP proxy that cuts connections at chosen bytes, in either direction."""

import asyncio
import random
from typing import Literal, Self

HANDSHAKE_BYTES = 600  # passes the first time: who finds no server at all need not try again
Kind = Literal["reset", "end", "silence"]


class CuttingProxy:
    """Stands before a server; cuts each of its first `cuts` connections after some bytes.

    After how many bytes of either direction, and how, is drawn from `seed`: both directions are
    reset, the one whose bytes are used up comes to its end, or nothing more passes, and nobody is
    told.
    """

    def __init__(
        self, server_port: int, *, cuts: int, seed: int, max_up: int, max_down: int
    ) -> None:
        self._server_port, self._planned = server_port, cuts
        self._chance = random.Random(seed)
        self._max_up, self._max_down = max_up, max_down
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []
        self.cuts = 0  # so far

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    async def _join(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        self._ends.append(to_near)
        far, to_far = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._ends.append(to_far)
        up = down = None  # bytes until the cut
        if self.cuts < self._planned:
            least = 1 if self.cuts else HANDSHAKE_BYTES
            up = self._chance.randrange(least, self._max_up)
            down = self._chance.randrange(least, self._max_down)
        (kind,) = self._chance.choices(("reset", "end", "silence"), (9, 9, 2))
        passes = [self._pass(near, to_far, up, kind), self._pass(far, to_near, down, kind)]
        both = [asyncio.create_task(each, name="proxy") for each in passes]
        self._tasks.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        for way in both:
            way.cancel()  # of a reset or silent connection, nothing more passes
        if kind == "reset" or (up is None and down is None):
            to_near.transport.abort()
            to_far.transport.abort()

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        budget: int | None,
        kind: Kind,
    ) -> None:
        """Pass bytes on, to their end or for so many; raises ConnectionError to end both ways."""
        while data := await source.read(1 << 14):
            if budget is not None and len(data) >= budget:
                sink.write(data[:budget])
                await sink.drain()
                self.cuts += 1
                if kind != "end":
                    raise ConnectionResetError
                break
            sink.write(data)
            await sink.drain()
            budget = None if budget is None else budget - len(data)
        sink.write_eof()
