"""TCP proxies that hold connections up, or cut them, in either direction."""

import asyncio
import random
from collections.abc import Iterable
from typing import Literal, Self

HANDSHAKE_BYTES = 600  # passes the first time: who finds no server at all need not try again
Kind = Literal["reset", "end", "silence"]
Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]  # bytes go from the one to the other


class Wire:
    """Stands before a server and passes bytes, both ways, while it is `open`.

    The first connections are reset after so many bytes to there as `budgets` names.
    """

    def __init__(self, server_port: int, budgets: Iterable[int] = ()) -> None:
        self._server_port, self._budgets = server_port, iter(budgets)
        self.port = 0  # a free one, from the first `listen` on
        self._ways: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.cuts = 0  # so far
        self.open = asyncio.Event()
        self.open.set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    def cut(self) -> None:
        """Reset every connection there is."""
        self.cuts += 1
        for end in self._ends:
            end.transport.abort()

    async def shut(self) -> None:
        """Reset every connection, and let nobody in until `listen`."""
        self._listening.close()
        self.cut()
        if self._ways:
            await asyncio.wait(self._ways)
        await self._listening.wait_closed()

    async def listen(self) -> None:
        """Let them in, always at the same port."""
        self._listening = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _join(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        self._ends.add(to_near)
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self._server_port)
        except ConnectionRefusedError:
            to_near.close()
            return
        self._ends.add(to_far)
        await self._carry((near, to_far), (far, to_near))

    async def _carry(self, up: Way, down: Way) -> None:
        """One connection, until both its ways have ended or one is reset."""
        budget = next(self._budgets, None)
        there = self._pass(*up) if budget is None else self._pass_some(*up, budget, "reset")
        both = [asyncio.create_task(each, name="wire") for each in (there, self._pass(*down))]
        await self._ended(both)
        for _, end in (up, down):
            end.transport.abort()

    async def _ended(self, both: list[asyncio.Task[None]]) -> None:
        self._ways.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        for way in both:
            way.cancel()  # of a reset or silent connection, nothing more passes

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 14):
            await self.open.wait()
            sink.write(data)
            await sink.drain()
        sink.write_eof()

    async def _pass_some(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        budget: int,
        kind: Kind,
    ) -> None:
        """Pass bytes on, to their end or for so many; raises ConnectionError to end both ways."""
        while data := await source.read(1 << 14):
            if len(data) >= budget:
                sink.write(data[:budget])
                await sink.drain()
                self.cuts += 1
                if kind != "end":
                    raise ConnectionResetError
                break
            sink.write(data)
            await sink.drain()
            budget -= len(data)
        sink.write_eof()


class CuttingProxy(Wire):
    """Cuts each of its first `cuts` connections after some bytes.

    After how many bytes of either direction, and how, is drawn from `seed`: both directions are
    reset, the one whose bytes are used up comes to its end, or nothing more passes, and nobody is
    told.
    """

    def __init__(
        self, server_port: int, *, cuts: int, seed: int, max_up: int, max_down: int
    ) -> None:
        super().__init__(server_port)
        self._planned, self._chance = cuts, random.Random(seed)
        self._max_up, self._max_down = max_up, max_down

    async def _carry(self, up: Way, down: Way) -> None:
        if self.cuts >= self._planned:
            await super()._carry(up, down)
            return
        least = 1 if self.cuts else HANDSHAKE_BYTES
        bytes_up = self._chance.randrange(least, self._max_up)
        bytes_down = self._chance.randrange(least, self._max_down)
        (kind,) = self._chance.choices(("reset", "end", "silence"), (9, 9, 2))
        passes = [self._pass_some(*up, bytes_up, kind), self._pass_some(*down, bytes_down, kind)]
        await self._ended([asyncio.create_task(each, name="wire") for each in passes])
        if kind == "reset":
            for _, end in (up, down):
                end.transport.abort()
