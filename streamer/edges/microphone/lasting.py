"""A microphone that survives the sound system.

Owns when it is opened again. Must not know: PortAudio, sessions, terminals.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from streamer.audio import SAMPLE_RATE
from streamer.edges.microphone.device import Block, Microphone, MicrophoneError

FIRST_WAIT_S, MAX_WAIT_S = 0.25, 2.0  # between two attempts to open it again


class LastingMicrophone:
    """A microphone that is opened again whenever it goes away: used as `Microphone` is.

    `changed` is called with the reason when it has gone, and with None when it is back; the next
    block then says how much was lost, by the clock. It tries at once, then more and more patiently.
    Entering raises MicrophoneError as there; nothing else does.
    """

    def __init__(self, device: int | str | None, changed: Callable[[str | None], object]) -> None:
        self._device, self._changed = device, changed
        self._microphone = Microphone(device)
        self._finished = asyncio.Event()
        self._heard_at = 0.0  # loop time of the end of the last block
        self._overruns = 0  # of those before

    async def __aenter__(self) -> Self:
        await self._microphone.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._microphone.__aexit__(kind, error, trace)

    @property
    def overruns(self) -> int:
        """Times the sound system reported lost input."""
        return self._overruns + self._microphone.overruns

    def finish(self) -> None:
        """Stop listening: `blocks` gives what is queued and ends."""
        self._finished.set()
        self._microphone.finish()

    async def blocks(self) -> AsyncIterator[Block]:
        """Give what is heard until `finish`."""
        loop = asyncio.get_running_loop()
        missed_samples = 0
        while not self._finished.is_set():
            try:
                async for block in self._microphone.blocks():
                    if missed_samples:
                        away_s = loop.time() - self._heard_at
                        missed_samples = max(0, round(away_s * SAMPLE_RATE) - len(block.samples))
                    yield Block(block.samples, block.lost_samples + missed_samples)
                    self._heard_at, missed_samples = loop.time(), 0
                return
            except MicrophoneError as gone:
                self._changed(str(gone))
            missed_samples = 1  # at least
            await self._open_again()

    async def _open_again(self) -> None:
        """Return with an open microphone, or finished."""
        self._overruns += self._microphone.overruns
        await self._microphone.__aexit__(None, None, None)
        wait_s = 0.0
        while not self._finished.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._finished.wait()
            wait_s = min(wait_s + FIRST_WAIT_S, MAX_WAIT_S)
            again = Microphone(self._device)
            with contextlib.suppress(MicrophoneError):
                self._microphone = await again.__aenter__()
                self._changed(None)
                return
