"""Live captions for a YouTube stream: finals posted to the address that its studio shows.

Owns the body and the sequence numbers of posts, retries and what is given up. Must not know: where
audio comes from, layout.

The format is that of "Sending live closed captions" of YouTube's help: one POST with `seq` for each
final, its body a line of UTC time and a line of text for each cue; a retry sends the same again.
"""

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from streamer.captions import cues
from streamer.engine.errors import SessionError
from streamer.engine.watchers import Opened
from streamer.messages import Event, Final, SpeechStart

MAX_PENDING = 64  # finals that wait; one more pushes out the oldest
MAX_AGE_S = 60.0  # viewers have seen the picture: older captions are not posted
ATTEMPT_S = 5.0
FIRST_WAIT_S, MAX_WAIT_S = 0.5, 8.0  # between two attempts
FINISH_S = 5.0  # for what still waits at the end of the session
RETRIED = (408, 425, 429)  # and every 5xx
MAX_ADDRESS_BYTES = 4_096


class YouTubeError(Exception):
    """An address that captions cannot be posted to, in one sentence for the user."""


@dataclass(frozen=True, slots=True)
class _Post:
    """The captions of one final."""

    body: bytes
    said_at: float  # loop time


class YouTubeCaptions:
    """A sink that posts the finals of a session; it never delays the session.

    `address` is the ingestion URL, whose query has the secret key: it is never shown. `tell` gets a
    sentence for the user when captions are given up. Raises YouTubeError for what is no http URL.
    """

    def __init__(self, address: str, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._sequence = 0  # of the last post
        try:
            parts = urlsplit(address)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host = urlsplit(""), ""
        plain = address.isascii() and address.isprintable() and " " not in address
        if parts.scheme not in ("http", "https") or not self._host or not plain:
            raise YouTubeError("expected the http address that the stream's studio shows")
        self._is_secure = parts.scheme == "https"
        self._target = f"{parts.path}?{parts.query}&" if parts.query else f"{parts.path}?"

    async def __call__(self, session: Opened) -> None:
        """Post the finals of one session to its end, and then those that still wait."""
        pending: asyncio.Queue[_Post] = asyncio.Queue(MAX_PENDING)
        async with asyncio.TaskGroup() as both:
            sending = both.create_task(self._send(pending), name="youtube posts")
            await self._collect(session.events, pending)
            try:
                async with asyncio.timeout(FINISH_S):
                    await pending.join()
            except TimeoutError:
                self._tell("YouTube did not take the last captions")
            sending.cancel()

    async def _collect(self, events: AsyncIterator[Event], pending: asyncio.Queue[_Post]) -> None:
        """Finals as posts. The audio's time has its place in the day anew in each utterance."""
        zero: datetime | None = None  # when the audio began, as this utterance shows
        try:
            async for event in events:
                match event:
                    case SpeechStart(time=time):
                        zero = datetime.now(UTC) - timedelta(seconds=time)
                    case Final() if event.shown_words:
                        zero = zero or datetime.now(UTC) - timedelta(seconds=event.end)
                        if pending.full():
                            pending.get_nowait()
                            pending.task_done()
                            self._tell("captions for YouTube are lost: it does not take them")
                        now = asyncio.get_running_loop().time()
                        pending.put_nowait(_Post(body(event, zero), now))
                        zero = None
        except SessionError as failure:
            if failure.code == "too_slow":
                self._tell("captions for YouTube fell behind and end here")

    async def _send(self, pending: asyncio.Queue[_Post]) -> None:
        while True:
            post = await pending.get()
            self._sequence += 1
            await self._deliver(post, self._sequence)
            pending.task_done()

    async def _deliver(self, post: _Post, sequence: int) -> None:
        """One post, again and again with the same body and number until it is taken or old."""
        loop, wait_s = asyncio.get_running_loop(), FIRST_WAIT_S
        while loop.time() - post.said_at < MAX_AGE_S:
            status = await asyncio.to_thread(self._attempt, post.body, sequence)
            if 200 <= status < 300:
                return
            if status < 500 and status not in (0, *RETRIED):
                self._tell(f"YouTube refused captions: HTTP {status}")
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)
        self._tell(f"captions for YouTube are lost: not taken in {MAX_AGE_S:g} s")

    def _attempt(self, body: bytes, sequence: int) -> int:
        """The status of the answer, 0 if there is none."""
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=ATTEMPT_S)
        try:
            headers = {"Content-Type": "text/plain"}
            connection.request("POST", f"{self._target}seq={sequence}", body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def body(final: Final, zero: datetime) -> bytes:
    """The text of a post: for each cue its time of day and its text; `zero` is second 0 in UTC."""
    lines = []
    for cue in cues(final):
        at = zero + timedelta(milliseconds=cue.start_ms)
        lines += [at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}"]
        lines += ["<br>".join(line.replace("<", "‹").replace(">", "›") for line in cue.lines)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def read_address(path: Path) -> str:
    """The address in the first line of a file; raises YouTubeError."""
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_ADDRESS_BYTES).decode().split()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise YouTubeError(f"cannot read {path}: {reason}") from error
    if not lines:
        raise YouTubeError(f"{path} is empty")
    return lines[0]
