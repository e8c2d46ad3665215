"""Processes that decode, so that the device's thread need not: each has some of the streams.

Owns the processes and which stream is with which. Nothing here waits for a decoder but the task
that reads its answers. Must not know: what a decoder does, batches.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streamer.config import ConfigError
from streamer.core.decoder import BeamSearch, Decoded
from streamer.core.frames import Frames
from streamer.engine.decode_worker import LENGTH, Request
from streamer.engine.errors import SessionError
from streamer.engine.load import Load
from streamer.engine.session import Session
from streamer.engine.step import Result

END_S = 5.0  # that a process without an output has to end by itself
MAX_PAUSE_S = 30.0  # before a process is begun once more that died before it was ready

_PROGRAM = "from streamer.engine.decode_worker import main; main()"
_log = logging.getLogger(__name__)


class Host(Protocol):
    """What the processes ask of their engine."""

    def decoded(self, session: Session, results: Sequence[Decoded | Exception]) -> None:
        """What became of the session's windows in flight."""


@dataclass(slots=True)
class _Stream:
    """A session whose decoder is in a process, and whether chunks of it are there.

    `behind` them there were no frames, because of these errors.
    """

    session: Session
    is_asked: bool = False
    behind: Sequence[Exception] = ()


class _Worker:
    """One process and its streams; another process takes the place of one that has died."""

    def __init__(self, number: int, search: BeamSearch, host: Host, load: Load) -> None:
        self._number, self._host, self._load = number, host, load
        self._search = pickle.dumps(search, pickle.HIGHEST_PROTOCOL)
        self._process: asyncio.subprocess.Process | None = None
        self.is_ready = False  # there is a process, as far as is known
        self.deaths = 0  # processes that have ended by themselves
        self._held: list[bytes] = []  # requests for a process that is not there yet
        self.streams: dict[int, _Stream] = {}

    def ask(self, request: Request) -> None:
        """Send it now, or when there is a process."""
        data = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        if self.is_ready and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(data)  # bounded, see `DecodeWorkers`
        else:
            self._held.append(data)

    async def begin(self) -> None:
        """A process that is ready; ConfigError if it ends before."""
        paths = [path or os.getcwd() for path in sys.path]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
        command = (sys.executable, "-P", "-c", _PROGRAM)  # nothing of the folder it is in
        self._process = process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=environment, start_new_session=True
        )
        assert process.stdin is not None, process
        process.stdin.write(self._search)
        if await self._message() is None:
            status = await process.wait()
            raise ConfigError(f"a process for decoding ended before it was ready: status {status}")
        self.is_ready = True
        process.stdin.writelines(self._held)
        self._held.clear()

    async def serve(self) -> None:
        """Pass answers on, whatever becomes of the process, until cancelled."""
        while True:
            while (data := await self._message()) is not None:
                self._pass_on(*pickle.loads(data))  # noqa: S301 (our own process)
            self._lose_streams()
            await self._begin_again()

    async def end(self) -> None:
        """Kill the process; nothing of it is left then."""
        self.is_ready = False
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None

    async def _message(self) -> bytes | None:
        """What the process says next; None: it has ended."""
        assert self._process is not None, "no process was begun"
        assert self._process.stdout is not None, self._process
        try:
            (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
            return await self._process.stdout.readexactly(length)
        except asyncio.IncompleteReadError:
            return None

    def _pass_on(self, number: int, decoded: list[Decoded], error: str, taken_s: float) -> None:
        for _ in decoded:
            self._load.note(1, taken_s / len(decoded))
        stream = self.streams.get(number)
        if stream is not None:  # else its session was over
            stream.is_asked = False
            errors = [RuntimeError(error)] if error else stream.behind
            self._host.decoded(stream.session, [*decoded, *errors])

    def _lose_streams(self) -> None:
        """The process has died: so have the decoders in it."""
        self.is_ready = False
        self.deaths += 1
        lost, self.streams, self._held = self.streams, {}, []
        _log.error("decoding process %d has died with %d sessions", self._number, len(lost))
        for stream in lost.values():
            error = SessionError("engine", "the process that decoded this session has died")
            stream.session.fail(error)
            if stream.is_asked:
                self._host.decoded(stream.session, [error])

    async def _begin_again(self) -> None:
        pause_s = 0.0
        assert self._process is not None, "one has died"
        with contextlib.suppress(TimeoutError):  # to kill it now would take asyncio its status
            async with asyncio.timeout(END_S):
                await self._process.wait()
        while not self.is_ready:
            await self.end()
            await asyncio.sleep(pause_s)
            pause_s = min(max(1.0, 2 * pause_s), MAX_PAUSE_S)
            try:
                await self.begin()
            except (ConfigError, OSError) as error:
                _log.error("decoding process %d: %s", self._number, error)
                self._lose_streams()


class DecodeWorkers:
    """`count` processes; from its first chunk on a session's decoder is in one of them.

    That is the one with the fewest then, of those that are ready, if any is.

    Bounded: of a session there are the chunks of one step, and its slot is not free before the
    answer. So a process never has more than these of each session before it; one that is slow makes
    its sessions wait, and then who sends. When one dies its sessions fail, and another is begun.
    Where nothing is searched there are none. What a chunk takes them is noted in `load`.
    """

    def __init__(self, count: int, search: BeamSearch | None, host: Host, load: Load) -> None:
        self._workers: list[_Worker] = []
        if search is not None:
            self._workers += (_Worker(number, search, host, load) for number in range(count))
        self._host = host
        self._places: dict[Session, tuple[_Worker, int]] = {}
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> int:
        """Processes that are there."""
        return sum(worker.is_ready for worker in self._workers)

    @property
    def deaths(self) -> int:
        """Processes so far that have died; each was replaced, or one tries to."""
        return sum(worker.deaths for worker in self._workers)

    async def start(self) -> None:
        """Return when all are ready; raises ConfigError if one ends before it is."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, worker in enumerate(self._workers):
                    tasks.create_task(worker.begin(), name=f"begin decoder {number}")
        except BaseException as error:
            await self.stop()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise

    def serve(self, tasks: asyncio.TaskGroup) -> None:
        """Have the answers passed on, by these tasks, until `stop`."""
        for number, worker in enumerate(self._workers):
            self._tasks.append(tasks.create_task(worker.serve(), name=f"decoder {number}"))

    async def stop(self) -> None:
        """End the processes; what they have not answered is lost."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for worker in self._workers:
            await worker.end()

    def take(self, session: Session, results: Sequence[Result]) -> bool:
        """Have the frames of its windows in flight decoded, and the host told what became of them.

        False: that is not for these processes, because there are none, no frames or no session.
        """
        frames = [each for each in results if isinstance(each, Frames)]
        if not (self._workers and frames) or session.is_over:
            return False
        try:
            chunks = [session.chunk(each, index) for index, each in enumerate(frames)]
            settings = None
            if session not in self._places:
                worker = min(self._workers, key=lambda each: (not each.is_ready, len(each.streams)))
                number = next(self._numbers)
                worker.streams[number] = _Stream(session)
                self._places[session], settings = (worker, number), session.decoder_settings
            worker, number = self._places[session]
            worker.ask(Request(number, chunks, settings))
            stream = worker.streams[number]
            stream.is_asked = True
            stream.behind = [each for each in results if isinstance(each, Exception)]
        except Exception as error:  # a fault of one session must not stop the others
            self._host.decoded(session, [error])
        return True

    def forget(self, session: Session) -> None:
        """The session is over; no effect if it was never decoded here."""
        if session in self._places:
            worker, number = self._places.pop(session)
            if worker.streams.pop(number, None) is not None:
                worker.ask(Request(number))
