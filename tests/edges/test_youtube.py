"""Captions for YouTube, posted to a server of our own that answers as it is told."""

import asyncio
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from streamer.edges import youtube
from streamer.edges.youtube import YouTubeCaptions, YouTubeError, body, read_address
from streamer.engine.engine import Engine
from streamer.engine.following import following
from streamer.messages import Final, Word
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")


@dataclass
class Stub:
    """What was posted, and what to answer: statuses, 0 for none; afterwards always 200."""

    address: str = ""
    answers: list[int] = field(default_factory=list)
    posts: list[tuple[int, str, str]] = field(default_factory=list)  # seq, body, content type
    held: threading.Event | None = None  # answers wait for it
    asked: "queue.Queue[int]" = field(default_factory=queue.Queue)

    @property
    def texts(self) -> list[str]:
        return [body.split("\n")[1] for _, body, _ in self.posts]


@contextmanager
def stub(*answers: int, held: threading.Event | None = None) -> Iterator[Stub]:
    state = Stub(answers=list(answers), held=held)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            assert query["cid"] == ["secret"]
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            sequence = int(query["seq"][0])
            state.posts.append((sequence, text, self.headers["Content-Type"]))
            state.asked.put(sequence)
            if state.held is not None:
                state.held.wait()
            if status := state.answers.pop(0) if state.answers else 200:
                self.send_response(status)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        state.address = f"http://127.0.0.1:{server.server_port}/closedcaption?cid=secret"
        try:
            yield state
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(youtube, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(youtube, "FINISH_S", 60.0)


async def say(
    address: str, *texts: str, tell: Callable[[str], None], at_end: Callable[[], None] | None = None
) -> None:
    """A session whose captions are posted; `at_end` is called when it is over."""
    async with (
        Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
        following(engine, "youtube", YouTubeCaptions(address, tell)),
    ):
        async with engine.open_session() as session:
            for text in texts:
                await session.send(np.concatenate([speak(text), silence(3.0)]))
            await session.finish()
            async for _ in session:
                pass
        if at_end is not None:
            at_end()


@in_loop
async def test_each_final_is_a_post_with_the_next_number() -> None:
    told: list[str] = []
    began = datetime.now(UTC)
    with stub() as youtube_:
        await say(youtube_.address, "turn on", "the lamp", "thanks", tell=told.append)
    assert [sequence for sequence, _, _ in youtube_.posts] == [1, 2, 3]
    assert youtube_.texts == ["turn on", "the lamp", "thanks"]
    for _, text, kind in youtube_.posts:
        at, _, end = text.split("\n")
        assert (kind, end) == ("text/plain", "")
        assert LINE.fullmatch(at)
        # audio as fast as it goes: its own time is at most its length before the clock
        assert began - timedelta(seconds=60) <= datetime.fromisoformat(at + "+00:00")
    assert not told


@in_loop
async def test_a_retry_sends_the_same_again() -> None:
    told: list[str] = []
    with stub(500, 0, 503, 200, 429) as youtube_:
        await say(youtube_.address, "turn on", "the lamp", tell=told.append)
    assert [sequence for sequence, _, _ in youtube_.posts] == [1, 1, 1, 1, 2, 2]
    assert len({text for sequence, text, _ in youtube_.posts if sequence == 1}) == 1
    assert youtube_.texts[-1] == "the lamp"
    assert not told


@in_loop
async def test_what_is_refused_is_not_sent_again() -> None:
    told: list[str] = []
    with stub(403) as youtube_:
        await say(youtube_.address, "turn on", "the lamp", tell=told.append)
    assert [sequence for sequence, _, _ in youtube_.posts] == [1, 2]
    assert told == ["YouTube refused captions: HTTP 403"]


@in_loop
async def test_a_server_that_does_not_answer_delays_no_session() -> None:
    """The session comes to its end while the first post still waits for its answer."""
    held = threading.Event()
    over: list[int] = []
    with stub(held=held) as youtube_:

        def at_end() -> None:
            over.append(youtube_.asked.get())  # the post has begun
            assert len(youtube_.posts) == 1
            held.set()

        await say(youtube_.address, "turn on", "the lamp", tell=print, at_end=at_end)
    assert over == [1]
    assert youtube_.texts == ["turn on", "the lamp"]


@in_loop
async def test_what_is_old_is_given_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(youtube, "MAX_AGE_S", 0.05)
    told: list[str] = []
    with stub(*[500] * 1000) as youtube_:
        await say(youtube_.address, "turn on", tell=told.append)
    assert youtube_.posts
    assert told == ["captions for YouTube are lost: not taken in 0.05 s"]


def test_the_body_has_a_time_and_a_text_for_each_cue() -> None:
    words = tuple(Word(f"<w{i}>", i * 0.5, i * 0.5 + 0.4, 1.0) for i in range(20))
    final = Final(0, "", words, 0.0, 10.0, 1.0, "end")
    posted = body(final, datetime(2026, 1, 1, 9, 59, 59, 750_000, UTC)).decode()
    lines = posted.removesuffix("\n").split("\n")
    assert lines[0] == "2026-01-01T09:59:59.750"
    assert all(LINE.fullmatch(line) for line in lines[::2])
    assert lines[::2] == sorted(lines[::2])
    said = " ".join(lines[1::2]).replace("<br>", " ")
    assert said.split() == [f"‹w{i}›" for i in range(20)]


@pytest.mark.parametrize(
    "address", ["", "upload.youtube.com", "file:///etc/x", "http://[", "http://a b"]
)
def test_an_address_must_be_one(address: str) -> None:
    with pytest.raises(YouTubeError, match="expected the http address") as refused:
        YouTubeCaptions(address, print)
    assert not address or address not in str(refused.value)


def test_the_address_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "address"
    with pytest.raises(YouTubeError, match=r"cannot read .*: No such file"):
        read_address(file)
    file.write_text("\n")
    with pytest.raises(YouTubeError, match="is empty"):
        read_address(file)
    file.write_text("http://upload.youtube.com/closedcaption?cid=x\n")
    assert read_address(file) == "http://upload.youtube.com/closedcaption?cid=x"


@in_loop
async def test_a_sink_that_fails_ends_the_block_and_others_are_waited_for() -> None:
    seen = []

    async def sink(session: object) -> None:
        await asyncio.sleep(0)
        seen.append(session)

    async with Engine(FakeModel(slots=2), max_sessions=2, max_batch=1) as engine:
        async with following(engine, "test", sink):
            engine.open_session().abort()
            engine.open_session().abort()
        assert len(seen) == 2

        async def failing(session: object) -> None:
            raise LookupError(session)

        with pytest.raises(LookupError):
            async with following(engine, "test", failing):
                engine.open_session().abort()
