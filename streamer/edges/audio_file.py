"""Audio files and piped audio as blocks of float32 mono 16 kHz samples.

Owns opening and reading WAV, FLAC, OGG and MP3 (through libsndfile) from a path or standard input,
block by block, and the real-time pace. A whole file is never in memory. Must not know: sessions,
events, transcripts.
"""

import asyncio
import contextlib
import os
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from streamer.audio import SAMPLE_RATE, Resampler, Samples, clipped, mix
from streamer.messages import MAX_CHANNELS

STANDARD_INPUT = "-"
BLOCKS_PER_S = 10
RELAY_BYTES = 1 << 16
FORMATS = "(WAV, FLAC, OGG, MP3)"
# What libsndfile can read from a pipe; anything else needs to seek.
STREAMABLE = (b"RIFF", b"OggS")
# How other known formats begin; MP3 may also begin with a frame, eleven bits set.
MAGICS = (b"fLaC", b"ID3", b"FORM", b"RF64", b".snd", b"RIFX", b"caff", b"riff")
MAX_COPY_BYTES = 4 << 30


class AudioFileError(Exception):
    """Something that is no usable audio, in one sentence for the user."""


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # the library is not typed
    """Reads straight on: soundfile seeks after every read where it can, which breaks MP3."""

    def seekable(self) -> bool:
        return False


class AudioFile:
    """An open audio file; `with AudioFile(path) as file: for block in file.blocks(): …`.

    `path` is a file, a named pipe, or "-" for standard input. WAV and OGG are read from a pipe as
    they come; FLAC and MP3 are first copied to a temporary file, since their decoders seek. Of
    several channels the mean is given, or the one that `channel` names, from 1, or with `separate`
    each, as the columns of a block; `columns` is their number then, else None. Raises
    AudioFileError when it is missing, a directory, empty, no audio, or has no such channel, or too
    many to be separate.
    """

    def __init__(
        self, path: str | Path, *, channel: int | None = None, separate: bool = False
    ) -> None:
        self.name = "standard input" if str(path) == STANDARD_INPUT else str(path)
        self._relay: socket.socket | None = None
        descriptor = self._open(path)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if regular and os.fstat(descriptor).st_size == 0:
                os.close(descriptor)
                raise AudioFileError(f"{self.name} is empty")
            if not regular:
                descriptor = self._from_pipe(descriptor)
            self._file = _Sequential(descriptor, closefd=True)
        except soundfile.SoundFileError as error:
            self.interrupt()
            raise AudioFileError(f"{self.name} is not audio in a known format {FORMATS}") from error
        self._channel, self.columns = channel, self._file.channels if separate else None
        self._check_channels()
        self.duration_s = self._file.frames / self._file.samplerate if regular else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no read may be in progress."""
        self.interrupt()
        self._file.close()

    def interrupt(self) -> None:
        """End the input now: a read that waits for a pipe, in whatever thread, returns."""
        if self._relay is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                self._relay.shutdown(socket.SHUT_RDWR)

    def blocks(self) -> Iterator[Samples]:
        """Give blocks (S,), or (S, C) of separate channels, of about 100 ms at 16 kHz.

        Reading a pipe waits for its writer.

        Raises AudioFileError for damaged data, NaN or infinite samples, and when there was nothing.
        """
        rate = self._file.samplerate
        resamplers, frames_read = [Resampler(rate) for _ in range(self.columns or 1)], 0
        while True:
            try:
                frames = self._file.read(max(1, rate // BLOCKS_PER_S), "float32", always_2d=True)
            except soundfile.SoundFileError as error:
                place = f"at {frames_read / rate:.2f} s"
                raise AudioFileError(f"{self.name} is damaged {place}: {error}") from error
            if len(frames) == 0:
                break
            if not np.isfinite(frames).all():
                first = frames_read + int(np.argmin(np.isfinite(frames).all(axis=1)))
                raise AudioFileError(
                    f"{self.name} has samples that are not numbers (NaN or infinite), "
                    f"first at {first / rate:.2f} s"
                )
            frames_read += len(frames)
            pairs = zip(resamplers, self._heard(frames), strict=True)
            yield self._joined([resampler.accept(column) for resampler, column in pairs])
        if frames_read == 0:
            raise AudioFileError(f"{self.name} contains no audio samples")
        yield self._joined([resampler.finish() for resampler in resamplers])

    def _heard(self, frames: Samples) -> list[Samples]:
        """The columns (S,) that are asked for, of frames (S, C)."""
        if self.columns is not None:
            return [column.copy() for column in frames.T]
        return [mix(frames) if self._channel is None else frames[:, self._channel - 1].copy()]

    def _joined(self, columns: list[Samples]) -> Samples:
        return clipped(columns[0] if self.columns is None else np.stack(columns, axis=1))

    def _check_channels(self) -> None:
        has, wanted = self._file.channels, self._channel
        mistake = ""
        if wanted is not None and not 1 <= wanted <= has:
            mistake = f"has {has} channel{'s' * (has > 1)}, and no channel {wanted}"
        elif self.columns is not None and has > MAX_CHANNELS:
            mistake = f"has {has} channels, and at most {MAX_CHANNELS} can be heard apart"
        if mistake:
            self.close()
            raise AudioFileError(f"{self.name} {mistake}")

    def _open(self, path: str | Path) -> int:
        if str(path) == STANDARD_INPUT:
            if sys.stdin is None or sys.stdin.isatty():
                raise AudioFileError("standard input is a terminal: pipe audio into it")
            return os.dup(sys.stdin.fileno())
        try:
            if Path(path).is_dir():
                raise AudioFileError(f"{self.name} is a directory, not an audio file")
            return os.open(path, os.O_RDONLY)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise AudioFileError(f"cannot open {self.name}: {reason}") from error

    def _from_pipe(self, source: int) -> int:
        """A descriptor that libsndfile can read, for a source that cannot seek."""
        head = b""
        while len(head) < 4 and (more := os.read(source, 4 - len(head))):
            head += more
        if not head:
            os.close(source)
            raise AudioFileError(f"{self.name} is empty")
        if head not in STREAMABLE:
            return self._copied(head, source)
        self._relay, reader = socket.socketpair()
        relaying = threading.Thread(
            target=_relay_bytes, args=(head, source, self._relay), name="relay", daemon=True
        )
        relaying.start()
        return reader.detach()

    def _copied(self, head: bytes, source: int) -> int:
        """A temporary file with all of a pipe, which may be endless.

        So what is no audio is refused at once, and anything at MAX_COPY_BYTES.
        """
        with tempfile.TemporaryFile() as copy, os.fdopen(source, "rb") as rest:
            if not _is_known(head):
                raise AudioFileError(f"{self.name} is not audio in a known format {FORMATS}")
            copy.write(head)
            while data := rest.read(RELAY_BYTES):
                if copy.tell() + len(data) > MAX_COPY_BYTES:
                    limit = f"{MAX_COPY_BYTES >> 30} GiB"
                    raise AudioFileError(f"{self.name} is longer than {limit}; pipe WAV or OGG")
                copy.write(data)
            copy.seek(0)
            return os.dup(copy.fileno())


def _is_known(head: bytes) -> bool:
    return head.startswith(MAGICS) or (head[0] == 0xFF and head[1:2] >= b"\xe0")


def _relay_bytes(head: bytes, source: int, sink: socket.socket) -> None:
    """Copy a pipe into a socket, first the bytes already read; a full socket makes it wait."""
    with sink, os.fdopen(source, "rb", buffering=0) as pipe, contextlib.suppress(OSError):
        sink.sendall(head)
        while data := pipe.read(RELAY_BYTES):
            sink.sendall(data)  # an OSError: the reader has closed, nobody wants the rest


async def stream(file: AudioFile, *, realtime: bool = False) -> AsyncIterator[Samples]:
    """Give the file's blocks, (S,) or (S, C), without blocking the event loop.

    `realtime`: a block is given at the time its last sample would have been spoken. The schedule
    is absolute, so a late consumer does not shift what follows.
    """
    loop = asyncio.get_running_loop()
    blocks, began, given_samples = file.blocks(), loop.time(), 0
    while True:
        reading = loop.run_in_executor(None, next, blocks, None)
        try:
            block = await asyncio.shield(reading)
        except asyncio.CancelledError:
            file.interrupt()  # the thread must be out of the file before it can be closed
            await asyncio.wait([reading])
            raise
        if block is None:
            return
        given_samples += len(block)
        if realtime:
            due = began + given_samples / SAMPLE_RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
        yield block
