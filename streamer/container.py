"""Opus in Ogg or WebM, as browsers and telephones record it, decoded by a process of its own.

Owns that process and how it is talked to. Must not know: sessions, sockets, the container formats.
"""

import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from streamer.audio import AudioError, Samples, UnsupportedAudioError
from streamer.messages import CONTAINERS, Encoding

WORKER = Path(__file__).parent / "container_worker.py"
ANSWER_S = 20.0  # a decoder that says nothing for so long is stuck
MAX_ANSWER_BYTES = 1 << 20  # of one message; an Opus frame of 120 ms takes 4 KiB


def check_container(encoding: Encoding) -> None:
    """Raises UnsupportedAudioError for a container that cannot be decoded here; others pass."""
    if encoding in CONTAINERS and find_spec("av") is None:
        text = f"{encoding} needs PyAV on the server: pip install -e '.[opus]'"
        raise UnsupportedAudioError(text)


class ContainerDecoder:
    """Decodes one stream of bytes, cut anywhere; needs the extra `opus`.

    `accept` gives all samples that the bytes so far hold, piece by piece: whoever takes them slowly
    makes the decoder wait. The process begins with the first bytes and must be ended by `close`;
    its memory and computing time are limited. Raises AudioError for what cannot be decoded.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._process: asyncio.subprocess.Process | None = None

    async def accept(self, data: bytes) -> AsyncIterator[Samples]:
        """Take any number of bytes, give the 16 kHz mono samples (S,) that are ready."""
        if not data:
            return  # to the process it would be the end
        process = self._process or await self._begun()
        async for samples in self._exchanged(process, data):
            yield samples

    async def finish(self) -> AsyncIterator[Samples]:
        """Give what was held back; nothing may be accepted afterwards."""
        if self._process is None:
            return
        async for samples in self._exchanged(self._process, b""):
            yield samples

    async def close(self) -> None:
        """End the process; again: no effect."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _begun(self) -> asyncio.subprocess.Process:
        check_container(self._encoding)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", WORKER, self._encoding),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
        )
        if await self._answer(self._process) != b"":
            raise AssertionError("the decoder speaks before it is asked")
        return self._process

    async def _exchanged(
        self, process: asyncio.subprocess.Process, data: bytes
    ) -> AsyncIterator[Samples]:
        """Samples until the process asks for more, or ends behind the last block."""
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # its answer says why
            process.stdin.write(struct.pack("<I", len(data)) + data)
            await process.stdin.drain()
        while pcm := await self._answer(process, is_last=not data):
            yield np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)

    async def _answer(self, process: asyncio.subprocess.Process, *, is_last: bool = False) -> bytes:
        """The next message; b"" when more is needed, or at the end if that is expected."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                (length,) = struct.unpack("<I", await process.stdout.readexactly(4))
                if length > MAX_ANSWER_BYTES:
                    raise ValueError(length)
                return await process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            at_end = isinstance(error, asyncio.IncompleteReadError) and not error.partial
            if is_last and at_end and await process.wait() == 0:
                return b""
            raise AudioError(f"the audio is no {self._encoding} that can be decoded") from error
