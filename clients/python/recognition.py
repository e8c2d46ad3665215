"""A conversation with the server that outlives its connections.

Owns the client's side of the protocol: what is sent when, how a lost connection is taken up again,
and what is told when it cannot be. Must not know: models, engines, files, sound cards.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ssl import SSLContext
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.python.link import PASSING, Address, RecognizerError, dial, hang_up
from clients.python.outgoing import Item, Outgoing, Patience
from clients.python.sender import Sender
from clients.python.timeline import SAMPLE_RATE, Timeline
from streamer import messages as m

DEFAULT_URL = "ws://127.0.0.1:8765/v1/stream"
ANSWER_TIMEOUT_S = 10.0  # a server that owes an answer for so long is taken for gone


class Recognition:
    """One conversation: `async with Recognition(url) as stream:` send in one task, read in another.

    Reading must go on while audio is sent: the server drops a client that does not read, and
    reading is what takes up a lost connection. The iteration ends after `Closed`; it raises
    RecognizerError when the server reports a fatal error, is not found again for
    `patience.total_s`, or has lost the session. With `restart`, a session that is lost is followed
    by another, which begins behind the last final: `Ready` comes once more, before it a `Gap` if
    audio could not be kept so long; times and numbers go on. Errors that are not fatal come as
    `Error` messages. `token` is what the server asks for, `ssl` checks the certificate of a `wss`
    one (None: by the authorities of this machine).
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        start: m.Start = m.Start(),  # noqa: B008 (frozen)
        *,
        patience: Patience = Patience(),  # noqa: B008
        restart: bool = False,
        token: str = "",
        ssl: SSLContext | None = None,
    ) -> None:
        self._address = Address(url, token, ssl)
        self._patience, self._restarts = patience, restart
        self._outgoing = Outgoing(replace(start, resume=patience.total_s > 0), keeps_finals=restart)
        self._timeline = Timeline()
        self._sender = Sender(self._outgoing, self._expect_answer)
        self._link: ClientConnection | None = None
        self._ready: m.Ready | None = None  # of the session; None: it has not begun, or is lost
        self._heard = 0  # the number of the last event
        self._has_begun = self._has_stopped = self._is_over = False
        self._last_reason = ""  # of a final
        self._room = asyncio.Event()
        self._waiting: asyncio.Timeout | None = None  # while reading waits for the server

    async def __aenter__(self) -> Self:
        link = await dial(self._address, ANSWER_TIMEOUT_S)
        await _tell(link, self._outgoing.start)
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._sending = self._tasks.create_task(self._sender.run(), name="send")
        self._use(link)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._sending.cancel()
        if self._link is not None:
            await self._link.close()
        await self._tasks.__aexit__(None, None, None)

    # --- what the caller says ---------------------------------------------------------------------

    async def send(self, audio: bytes) -> None:
        """Send audio in the encoding of `start`, any number of bytes.

        Waits while a minute of audio is not taken by the server. After the end it does nothing:
        reading says what happened.
        """
        while self._outgoing.is_full and not self._is_over:
            self._room.clear()
            await self._room.wait()
        self._add(audio)

    async def flush(self, name: str = "") -> None:
        """Ask for a final of what was sent so far; `Flushed(name)` follows it."""
        self._add(m.Flush(name))

    async def configure(self, change: m.Configure) -> None:
        """Change endpoint rules or hotwords in mid-stream."""
        self._add(change)

    async def stop(self) -> None:
        """No more audio: the last finals and `Closed` follow."""
        self._has_stopped = True
        self._add(m.Stop())

    def _add(self, item: Item) -> None:
        if not self._is_over:
            self._sender.add(item)

    # --- what the server says ---------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[m.ServerMessage]:
        while not self._is_over:
            try:
                for message in await self._read():
                    yield message
            except RecognizerError:
                self._end()
                raise

    async def _read(self) -> list[m.ServerMessage]:
        """The next message; or, after a lost connection, what it has cost."""
        assert self._link is not None, "expected a connection: enter the block first"
        try:
            async with asyncio.timeout(self._limit_s()) as self._waiting:
                text = await self._link.recv(decode=True)
        except TimeoutError:
            return await self._come_back("the server does not answer")
        except ConnectionClosed as error:
            return await self._come_back(str(error))
        finally:
            self._waiting = None
        message, number = m.decode_numbered(text)
        if isinstance(message, m.Error) and message.fatal:
            return await self._refused(message)
        if number is not None and not self._is_news(number):
            return []
        self._note(message)
        if isinstance(message, m.Closed):
            if not (self._has_stopped and self._outgoing.all_taken(message.received)):
                self._ready = None
                return await self._come_back("the server has ended the session")
            self._end()
        return [self._timeline.placed(message)]

    def _is_news(self, number: int) -> bool:
        """Count an event; one that came before is not given again."""
        if number <= self._heard:
            return False
        if number > self._heard + 1:
            raise RecognizerError("protocol", f"event {self._heard + 1} did not come, {number} did")
        self._heard = number
        self._sender.heard(number)
        return True

    def _note(self, message: m.ServerMessage) -> None:
        """What a message says about the audio that was sent."""
        outgoing = self._outgoing
        match message:
            case m.Ready():
                self._ready, self._has_begun = message, True
            case m.Ack(audio_bytes=int(taken), messages=int(count)):
                outgoing.taken(taken, count)
            case m.Ack():
                outgoing.taken_until(message.received / SAMPLE_RATE)
            case m.Final():
                self._last_reason = message.reason
                outgoing.final_until(message.end, message.channel)
            case m.Flushed():  # nobody else asks for one
                outgoing.flushed()
            case m.Closed() if self._last_reason == "end":
                outgoing.final_until(message.received / SAMPLE_RATE)
        if not outgoing.is_full:
            self._room.set()

    async def _refused(self, error: m.Error) -> list[m.ServerMessage]:
        may_resume = error.resume or error.code == "timeout"
        if may_resume and self._ready is not None and self._ready.token:
            return await self._come_back(error.message, error.retry_after_s or 0.0)
        raise self._failure(error.code, error.message, error.retry_after_s)

    # --- connections ------------------------------------------------------------------------------

    async def _come_back(self, why: str, wait_s: float = 0.0) -> list[m.ServerMessage]:
        """Find the server and the session again; gives what a new session has cost, if it took one.

        It begins after `wait_s`. Raises RecognizerError when patience ends or the session is lost
        for good.
        """
        self._sender.use(None)
        await hang_up(self._link)
        is_lost = self._has_begun and (self._ready is None or self._ready.token is None)
        if is_lost and not self._restarts:
            raise self._failure("connection", f"the session is lost: {why}")
        loop, patience = asyncio.get_running_loop(), self._patience
        until = loop.time() + patience.total_s
        for pause_s in patience.pauses_s():
            pause_s = max(pause_s, wait_s)
            if loop.time() + pause_s >= until:
                raise self._failure("connection", f"the connection was lost: {why}")
            await asyncio.sleep(pause_s)
            try:
                return await self._connected()
            except RecognizerError as error:
                if error.code == "no_session" and self._restarts:
                    self._ready = None
                elif not error.passes:
                    text = str(error)
                    raise self._failure(error.code, text, error.retry_after_s) from error
                why, wait_s = str(error), error.retry_after_s or 0.0
        raise AssertionError("pauses do not end")

    async def _connected(self) -> list[m.ServerMessage]:
        """One try: resume the session, or begin one if there is none to resume."""
        ready, link = self._ready, await dial(self._address, ANSWER_TIMEOUT_S)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if ready is not None and ready.token is not None:
                    await _tell(link, m.Resume(ready.session, ready.token, self._heard))
                else:
                    await _tell(link, self._outgoing.start)
                answer = m.decode_server(await link.recv(decode=True))
            told = self._greeted(answer)
        except (TimeoutError, ConnectionClosed) as error:
            await hang_up(link)
            raise RecognizerError("connection", f"no answer: {error}", passes=True) from error
        except RecognizerError:
            await hang_up(link)
            raise
        self._use(link)
        return told

    def _greeted(self, answer: m.ServerMessage) -> list[m.ServerMessage]:
        """Make ready to send what the server has not taken."""
        match answer:
            case m.Resumed():
                self._outgoing.resume(answer.audio_bytes, answer.messages)
                return []
            case m.Ready():
                return self._begun_again(answer)
            case m.Error():
                passes = answer.code in PASSING
                raise RecognizerError(
                    answer.code, answer.message, answer.retry_after_s, passes=passes
                )
        raise RecognizerError("protocol", f"expected an answer to the first message: {answer}")

    def _begun_again(self, ready: m.Ready) -> list[m.ServerMessage]:
        start_s, lost_s = self._outgoing.restart()
        self._timeline.begin(start_s)
        self._ready, self._heard, self._last_reason = ready, 0, ""
        self._sender.heard(0)
        self._has_begun = True
        return [*([m.Gap(start_s - lost_s, lost_s)] if lost_s else []), ready]

    def _use(self, link: ClientConnection) -> None:
        self._link = link
        self._sender.use(link)

    def _limit_s(self) -> float | None:
        return ANSWER_TIMEOUT_S if self._outgoing.awaits_answer else None

    def _expect_answer(self) -> None:
        if self._waiting is not None and self._waiting.when() is None and self._limit_s():
            self._waiting.reschedule(asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S)

    def _end(self) -> None:
        self._is_over = True
        self._room.set()

    def _failure(
        self, code: str, message: str, retry_after_s: float | None = None
    ) -> RecognizerError:
        unheard_s = self._outgoing.unheard_s
        text = f"{message}; {unheard_s:.1f} s of audio are in no final" if unheard_s else message
        return RecognizerError(code, text, retry_after_s, unheard_s=unheard_s)


async def _tell(link: ClientConnection, message: m.ClientMessage) -> None:
    try:
        await link.send(m.encode(message))
    except ConnectionClosed:
        return  # reading says so
