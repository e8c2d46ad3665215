"""Audio of a file, of standard input or of a microphone, as blocks of PCM bytes.

Owns what the operating system and its libraries ask for. WAV needs no library; other files need
soundfile, a microphone sounddevice. Must not know: servers, sessions.
"""

import asyncio
import sys
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streamer.messages import AudioFormat

BLOCKS_PER_S = 20
MAX_QUEUED_BLOCKS = 10 * BLOCKS_PER_S  # of a microphone; then the oldest becomes silence
MICROPHONE_RATES = (16_000, 48_000, 44_100)  # Hz, tried in this order


class SourceError(Exception):
    """There is no such audio, in one sentence for the user."""


class File:
    """An audio file, or standard input for "-", in a `with` block: `audio` says what it gives."""

    def __init__(self, name: str) -> None:
        self._name = "standard input" if name == "-" else name
        self._resources = ExitStack()
        try:
            file: Any = sys.stdin.buffer
            if name != "-":
                file = self._resources.enter_context(Path(name).open("rb"))  # noqa: SIM115
            self.audio, self._read = self._opened(file)
        except OSError as error:
            raise SourceError(f"cannot open {self._name}: {error.strerror or error}") from error
        except (ValueError, wave.Error, EOFError) as error:
            raise SourceError(f"cannot read {self._name}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    async def blocks(self, *, realtime: bool) -> AsyncIterator[bytes]:
        """All of it in blocks of 50 ms; `realtime` at the pace of speech."""
        loop, frames = asyncio.get_running_loop(), self.audio.sample_rate // BLOCKS_PER_S
        due = loop.time()
        while block := await asyncio.to_thread(self._read, frames):
            if realtime:
                due += 1 / BLOCKS_PER_S
                await asyncio.sleep(due - loop.time())
            yield block

    def _opened(self, file: Any) -> tuple[AudioFormat, Callable[[int], bytes]]:
        """The format, and what reads so many frames; WAV may come through a pipe."""
        head = file.peek(12)[:12]
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            reader = self._resources.enter_context(wave.open(file))  # noqa: SIM115
            if reader.getsampwidth() == 2:
                audio = AudioFormat("pcm_s16le", reader.getframerate(), reader.getnchannels())
                return audio, reader.readframes
            file.seek(0)
        try:
            import soundfile
        except ImportError as missing:
            wanted = "only 16-bit WAV without: pip install 'streamer-client[files]'"
            raise SourceError(f"cannot read {self._name}: {wanted}") from missing
        try:
            sound = self._resources.enter_context(soundfile.SoundFile(file))
        except soundfile.LibsndfileError as error:
            raise SourceError(f"cannot read {self._name}: {error.error_string}") from error
        audio = AudioFormat("pcm_s16le", sound.samplerate, sound.channels)
        return audio, lambda frames: bytes(sound.buffer_read(frames, dtype="int16"))


class Microphone:
    """The default microphone, or another by number or name: `async with Microphone() as mic:`.

    When nobody takes its blocks for 10 s the oldest are given as silence, so that times stay true;
    `lost_blocks` counts them.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self.lost_blocks = 0
        self._device = device
        self._queue: deque[bytes] = deque()
        self._silent_blocks = 0  # to be given before what is queued

    async def __aenter__(self) -> Self:
        try:
            import sounddevice
        except (ImportError, OSError) as missing:
            reason = "pip install 'streamer-client[mic]', and PortAudio"
            raise SourceError(f"a microphone needs sounddevice: {reason}") from missing
        self._loop, self._heard = asyncio.get_running_loop(), asyncio.Event()
        for rate in MICROPHONE_RATES:
            self.audio = AudioFormat("pcm_s16le", rate)
            try:
                self._stream = sounddevice.RawInputStream(
                    rate, rate // BLOCKS_PER_S, self._device, 1, "int16", callback=self._callback
                )
            except (sounddevice.PortAudioError, ValueError) as error:
                reason = str(error)
                continue
            await asyncio.to_thread(self._stream.start)
            return self
        raise SourceError(f"there is no microphone, or it cannot be used: {reason}")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._stream.close)

    async def blocks(self) -> AsyncIterator[bytes]:
        """What is heard, in blocks of 50 ms, until the block is left."""
        while True:
            while self._queue:
                block = self._queue.popleft()
                for _ in range(self._silent_blocks):
                    yield bytes(len(block))
                self._silent_blocks = 0
                yield block
            self._heard.clear()
            await self._heard.wait()

    def _callback(self, data: Any, frames: int, time: Any, status: Any) -> None:
        """In PortAudio's thread."""
        self._loop.call_soon_threadsafe(self._take, bytes(data))

    def _take(self, block: bytes) -> None:
        if len(self._queue) == MAX_QUEUED_BLOCKS:
            self._queue.popleft()
            self._silent_blocks += 1
            self.lost_blocks += 1
        self._queue.append(block)
        self._heard.set()
