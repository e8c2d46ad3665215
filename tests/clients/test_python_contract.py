"""What the Python client makes of each error and close code: it goes on, or says what it was."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from clients.python import Patience, Recognition, RecognizerError, recognize
from streamer import messages as m
from streamer.config import ServerConfig
from streamer.edges.websocket import guard
from tests.fakes import silence, speak
from tests.http import get
from tests.serving import finals, in_loop, pcm, service

SOON = Patience(first_s=0.01, longest_s=0.05)
ANN, BOB = "the-token-of-ann-only", "the-token-of-bob-only"
FLOATS = m.AudioFormat("pcm_f32le")
BAD = np.full(16_000, np.nan, "<f4").tobytes()


async def blocks(*audio: bytes) -> AsyncIterator[bytes]:
    for each in audio:
        yield each


@pytest.mark.parametrize(
    ("start", "audio", "code"),
    [
        (m.Start(model="another"), b"", "no_model"),
        (m.Start(FLOATS), BAD, "bad_audio"),
        (m.Start(), b"RIFF\0\0\0\0WAVEfmt " + b"\x10\0\0\0" + bytes(16), "unsupported_audio"),
    ],
)
@in_loop
async def test_its_own_mistakes_are_not_tried_again(
    start: m.Start, audio: bytes, code: str
) -> None:
    async with service() as running:
        with pytest.raises(RecognizerError) as caught:
            _ = [e async for e in recognize(running.url, blocks(audio), start, patience=SOON)]
    assert caught.value.code == code


@in_loop
async def test_a_withdrawn_token_is_not_tried_again(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{ANN} ann\n{BOB} bob\n")
    async with (
        service(ServerConfig(port=0, token_file=str(tokens))) as running,
        Recognition(running.url, patience=SOON, token=ANN, restart=True) as stream,
    ):
        messages = aiter(stream)
        assert isinstance(await anext(messages), m.Ready)
        tokens.write_text(f"{BOB} bob\n")
        await running.server.reload()
        with pytest.raises(RecognizerError) as caught:
            await anext(messages)
    assert caught.value.code == "unauthorized"


@in_loop
async def test_no_room_says_when_to_come_back() -> None:
    async with service(slots=1) as running, Recognition(running.url) as first:
        assert isinstance(await anext(aiter(first)), m.Ready)
        with pytest.raises(RecognizerError) as caught:
            _ = [each async for each in recognize(running.url, blocks())]
    assert (caught.value.code, bool(caught.value.retry_after_s)) == ("capacity", True)


@in_loop
async def test_too_fast_is_sent_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is slowed down to the pace that the server wants, and loses nothing."""
    monkeypatch.setattr(guard, "MAX_AHEAD_S", 0.2)
    talk = [pcm(np.concatenate([speak(word), silence(0.7)])) for word in ("one", "two", "three")]
    events: list[m.ServerMessage] = []
    async with service(ServerConfig(port=0, max_speed=4.0)) as running:
        events = [e async for e in recognize(running.url, blocks(*talk), patience=SOON)]
        assert running.engine.measured().meter.sessions_opened == 1
        _, _, metrics = await get(running.server.port, "/metrics")
        assert b'streamer_connections_closed_total{code="4429",kind="stream"}' in metrics
    assert finals(events) == ["one", "two", "three"]
    assert events[-1] == m.Closed(sum(map(len, talk)) // 2, 3)


@in_loop
async def test_a_session_that_has_lasted_long_enough_is_followed_by_another() -> None:
    first, rest = [speak("one"), silence(1.0), speak("two")], [speak(" three"), silence(1.0)]
    heard: list[m.ServerMessage] = []
    config = ServerConfig(port=0, max_session_s=2.0)
    async with (
        service(config) as running,
        Recognition(running.url, patience=SOON, restart=True) as stream,
    ):
        await stream.send(pcm(np.concatenate(first)))
        messages = aiter(stream)
        while not isinstance(message := await anext(messages), m.GoAway):
            heard.append(message)
        assert message.code == "too_long"
        await stream.send(pcm(np.concatenate(rest)))
        await stream.stop()
        heard += [message async for message in messages]
    words = " ".join(each.text for each in heard if isinstance(each, m.Final)).split()
    assert words == ["one", "two", "three"]
    assert not any(isinstance(each, m.Gap) for each in heard)
    last = heard[-1]
    assert isinstance(last, m.Closed)
    assert last.received == sum(map(len, first + rest))


@in_loop
async def test_where_nobody_may_begin_again_it_says_what_is_in_no_final() -> None:
    config = ServerConfig(port=0, max_session_s=0.2)
    async with service(config) as running, Recognition(running.url, patience=SOON) as stream:
        await stream.send(pcm(speak("one")))
        with pytest.raises(RecognizerError, match="the session is lost"):
            _ = [message async for message in stream]
