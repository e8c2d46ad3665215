"""Caption files that grow while people speak.

Owns their names, how they are written and what happens when they cannot be. Must not know: layout
and formats, audio.
"""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

from streamer.captions import CaptionFormat, CaptionWriter
from streamer.engine.errors import SessionError
from streamer.engine.watchers import Opened
from streamer.messages import Event, Final

KINDS: tuple[CaptionFormat, ...] = get_args(CaptionFormat)
NAME_LENGTH = 64


class CaptionFileError(Exception):
    """A caption file that cannot be written, in one sentence for the user."""


class CaptionFile:
    """A new file of the format that its name ends with; `add` each final, then `close`.

    It grows by whole cues or lines, each in one write that is on the disk before the next: it can
    be read at any moment, and stays whole when the program or the machine dies. What does not fit
    on the disk is taken back. Raises CaptionFileError; for a file that exists, without `overwrite`.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._writer = CaptionWriter(_kind(path))
        mode = os.O_TRUNC if overwrite else os.O_EXCL
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | mode, 0o666)
        except FileExistsError as error:
            raise CaptionFileError(f"{path} exists already: see --overwrite") from error
        except OSError as error:
            raise CaptionFileError(f"cannot write {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise CaptionFileError(f"cannot write {path}: it is no regular file")
        self.is_empty = True  # but for a header
        self._size = 0  # bytes of whole records
        try:
            self._append(self._writer.header())
        except CaptionFileError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def add(self, final: Final) -> None:
        """Write a final; returns when it is on the disk."""
        self._write(self._writer.records(final))

    def finish(self) -> None:
        """Write what is held back of several channels; no more finals will come."""
        self._write(self._writer.rest())

    def close(self) -> None:
        """Close the file; what it has is on the disk."""
        os.close(self._descriptor)

    def _write(self, records: Iterable[str]) -> None:
        for record in records:
            self._append(record)
            self.is_empty = False

    def _append(self, record: str) -> None:
        data = record.encode("utf-8", "replace")  # a vocabulary may hold half a surrogate pair
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                raise OSError(0, "the disk is full")
            os.fdatasync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise CaptionFileError(f"cannot write {self.path}: {error.strerror}") from error
        self._size += len(data)


def _kind(path: Path) -> CaptionFormat:
    for kind in KINDS:
        if path.suffix == f".{kind}":
            return kind
    known = ", ".join(f".{kind}" for kind in KINDS)
    raise CaptionFileError(f"expected a caption file that ends in {known}, got {path}")


@contextlib.contextmanager
def opened(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[list[CaptionFile]]:
    """New files for the length of the block; raises CaptionFileError."""
    with contextlib.ExitStack() as stack:
        files = []
        for path in paths:
            files.append(CaptionFile(path, overwrite=overwrite))
            stack.callback(files[-1].close)
        yield files


async def keep(
    events: AsyncIterable[Event], files: Sequence[CaptionFile], tell: Callable[[str], None]
) -> None:
    """Write a session's finals into the files; nobody else waits for the disk.

    A file that fails is given up, and `tell` gets a sentence for the user; so do finals that are
    lost because the disk is slower than speech (see Outbox).
    """
    good = list(files)

    async def write(change: Callable[[CaptionFile], None], lacking: str) -> None:
        for file in tuple(good):
            try:
                await asyncio.to_thread(change, file)
            except CaptionFileError as error:
                good.remove(file)
                tell(f"{error}; the file ends here, without what was said {lacking}")

    try:
        async for event in events:
            if isinstance(event, Final):
                minutes, seconds = divmod(int(event.start), 60)
                await write(
                    partial(CaptionFile.add, final=event), f"from {minutes}:{seconds:02} on"
                )
    except SessionError as failure:
        if failure.code == "too_slow":
            tell("the disk is too slow for captions; the file ends here")
    await write(CaptionFile.finish, "last")


class CaptionFolder:
    """A sink that keeps each session in files of its own in a folder, one for each of `kinds`.

    Their names are the time, the session's name and its id; a session in which nothing is said
    leaves none. What cannot be written is told to `tell`, and nobody else notices. Raises
    CaptionFileError for an unknown kind and for a folder that cannot be made.
    """

    def __init__(self, folder: Path, kinds: Sequence[str], tell: Callable[[str], None]) -> None:
        self._folder, self._kinds, self._tell = folder, kinds, tell
        for kind in kinds:
            _kind(Path(f"captions.{kind}"))
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CaptionFileError(f"cannot make {folder}: {error.strerror}") from error

    async def __call__(self, session: Opened) -> None:
        """Keep one session."""
        name = re.sub(r"[^\w.-]+", "-", session.name or "session")[:NAME_LENGTH]
        began = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        files: list[CaptionFile] = []
        try:
            for kind in self._kinds:
                path = self._folder / f"{began}-{name}-{session.id}.{kind}"
                files.append(await asyncio.to_thread(CaptionFile, path))
            await keep(session.events, files, self._tell)
        except CaptionFileError as error:
            self._tell(str(error))
        finally:
            for file in files:
                file.close()
                if file.is_empty:
                    with contextlib.suppress(OSError):  # somebody else has removed or moved it
                        file.path.unlink()
