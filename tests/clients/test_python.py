"""The Python client against the real server: as a library and as a program."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clients.python import Patience, Recognition, RecognizerError, recognize
from streamer import messages as m
from streamer.config import ServerConfig
from tests.fakes import silence, speak
from tests.serving import finals, in_loop, pcm, service

ROOT = Path(__file__).parents[2]


async def packets(data: bytes, size: int = 641) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@in_loop
async def test_a_source_of_bytes_becomes_events() -> None:
    async with service() as running:
        spoken = packets(pcm(speak("turn on the lamp")))
        heard = [message async for message in recognize(running.url, spoken)]
    assert isinstance(heard[0], m.Ready)
    assert isinstance(heard[-1], m.Closed)
    assert finals(heard) == ["turn on the lamp"]


@in_loop
async def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with service() as running:
        spoken = packets(pcm(speak("one")))
        heard = [message async for message in recognize(running.url, spoken)]
    assert finals(heard) == ["one"]


@in_loop
async def test_a_conversation_with_flush_and_configure() -> None:
    async with (
        service() as running,
        Recognition(running.url, m.Start(m.AudioFormat("pcm_f32le"))) as stream,
    ):
        await stream.configure(m.Configure(endpoint=m.EndpointPatch(silence_ms=300)))
        await stream.send(speak("one").astype("<f4").tobytes())
        await stream.flush("a")
        heard = []
        async for message in stream:
            heard.append(message)
            if message == m.Flushed("a"):
                spoken = np.concatenate([speak("two"), silence(1.0), speak("three")])
                await stream.send(spoken.astype("<f4").tobytes())
                await stream.stop()
    assert finals(heard) == ["one", "two", "three"]


@in_loop
async def test_a_source_that_fails_is_heard_of_and_the_session_is_free_again() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield pcm(speak("one"))
        raise RuntimeError("the tape has torn")

    async with service(slots=1) as running:
        heard = []
        with pytest.raises(RuntimeError, match="the tape has torn"):
            async for message in recognize(running.url, broken()):
                heard.append(message)  # noqa: PERF401 (what came before the failure counts)
        assert finals(heard) == ["one"]
        again = [message async for message in recognize(running.url, packets(b""))]
        assert isinstance(again[-1], m.Closed)


@in_loop
async def test_leaving_early_ends_the_source_and_the_session() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield pcm(speak("so it goes on "))
        finally:
            ended.set()

    async with service(slots=1) as running:
        events = recognize(running.url, endless())
        async for message in events:
            if isinstance(message, m.Partial):
                break
        await events.aclose()
        await ended.wait()


@in_loop
async def test_a_refusal_is_an_error_with_its_code() -> None:
    async with service(slots=1) as running, Recognition(running.url) as first:
        assert isinstance(await anext(aiter(first)), m.Ready)
        with pytest.raises(RecognizerError) as caught:
            _ = [message async for message in recognize(running.url, packets(b"12"))]
        assert caught.value.code == "capacity"
        assert caught.value.retry_after_s is not None


@in_loop
async def test_what_cannot_be_reached_is_one_sentence() -> None:
    async with service(ServerConfig(port=0)) as running:
        url = running.url
        with pytest.raises(RecognizerError, match=r"refused \(404\): the recognizer is at"):
            await Recognition(url.replace("/v1/stream", "/v2")).__aenter__()
        with pytest.raises(RecognizerError, match=r"ws:// or wss://|SSL"):
            await Recognition(url.replace("ws:", "wss:")).__aenter__()
    with pytest.raises(RecognizerError, match=r"cannot reach ws://127.*: Connection refused$"):
        await Recognition(url).__aenter__()
    for wrong in ("nonsense", "ws://[::1", "ws://127.0.0.1:99999/"):
        with pytest.raises(RecognizerError, match=rf"cannot reach {re.escape(wrong)}"):
            await Recognition(wrong).__aenter__()
    with pytest.raises(RecognizerError, match=r"^expected a token in one line, without spaces$"):
        await Recognition(url, token="secret\nsecret").__aenter__()


@in_loop
async def test_a_server_that_goes_away_is_an_error() -> None:
    running = service(ServerConfig(port=0, drain_timeout_s=0.01))
    serving = await running.__aenter__()
    async with Recognition(serving.url, patience=Patience(total_s=0)) as stream:
        messages = aiter(stream)
        assert isinstance(await anext(messages), m.Ready)
        leaving = asyncio.create_task(running.__aexit__(None, None, None), name="leave")
        with pytest.raises(RecognizerError) as caught:
            while not isinstance(await anext(messages), m.Closed):
                pass
            await anext(aiter(stream))
        assert caught.value.code == "connection"
        await leaving


@pytest.mark.parametrize("drain_timeout_s", [0.01, 20.0])
@in_loop
async def test_a_new_session_goes_on_where_a_lost_one_had_its_last_final(
    drain_timeout_s: float,
) -> None:
    """The server is cut off in mid-utterance, or ends what it has; another takes its place."""
    said = [speak("one"), silence(1.0), speak("two three"), speak(" and four"), silence(0.2)]
    heard: list[m.ServerMessage] = []
    first = service(ServerConfig(port=0, drain_timeout_s=drain_timeout_s))
    serving = await first.__aenter__()
    port = serving.server.port
    soon = Patience(first_s=0.05, longest_s=0.1)
    async with Recognition(serving.url, patience=soon, restart=True) as stream:
        for each in said[:3]:
            await stream.send(pcm(each))
        messages = aiter(stream)
        while not heard or not getattr(heard[-1], "committed", "").startswith("two"):
            heard.append(await anext(messages))
        leaving = asyncio.create_task(first.__aexit__(None, None, None), name="leave")
        reading = asyncio.create_task(anext(messages), name="read")
        while not leaving.done():  # what a server says on its way out
            await asyncio.wait([leaving, reading], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                heard.append(reading.result())
                reading = asyncio.create_task(anext(messages), name="read")
        async with service(ServerConfig(port=port)):
            for each in said[3:]:
                await stream.send(pcm(each))
            await stream.stop()
            heard.append(await reading)
            heard += [message async for message in messages]
    assert sum(isinstance(each, m.Ready) for each in heard) == 2
    assert not any(isinstance(each, m.Gap) for each in heard)
    last = [each for each in heard if isinstance(each, m.Final)]
    assert " ".join(each.text for each in last).split() == ["one", "two", "three", "and", "four"]
    assert [each.utterance for each in last] == list(range(len(last)))
    starts = [word.start for each in last for word in each.words]
    assert starts == sorted(starts)
    assert heard[-1] == m.Closed(sum(map(len, said)), len(last))


@in_loop
async def test_a_session_that_is_lost_for_good_is_an_error_that_counts_what_was_not_heard() -> None:
    first = service(ServerConfig(port=0, drain_timeout_s=0.01))
    serving = await first.__aenter__()
    port = serving.server.port
    async with Recognition(serving.url, patience=Patience(0.01, 0.02)) as stream:
        await stream.send(pcm(speak("one")))
        await stream.flush()
        messages = aiter(stream)
        while not isinstance(await anext(messages), m.Flushed):
            pass
        await stream.send(pcm(silence(2.0)))
        while not isinstance(await anext(messages), m.Ack):
            pass
        await first.__aexit__(None, None, None)
        async with service(ServerConfig(port=port)):
            with pytest.raises(RecognizerError, match=r"2\.0 s of audio are in no final") as caught:
                _ = [message async for message in messages]
    assert caught.value.code in ("no_session", "connection")
    assert caught.value.unheard_s == 2.0


async def run_program(
    *arguments: str, stdin: bytes = b"", stdout: int = asyncio.subprocess.PIPE
) -> tuple[int, str, str]:
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "clients.python", *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ,
    )  # fmt: skip
    out, err = await ran.communicate(stdin)
    assert ran.returncode is not None
    return ran.returncode, (out or b"").decode(), err.decode()


@in_loop
async def test_the_program_streams_a_file_and_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "lamp.wav"
    soundfile.write(path, speak("turn on the lamp"), 16_000, subtype="PCM_16")
    async with service() as running:
        for name, stdin in ((str(path), b""), ("-", path.read_bytes())):
            status, out, err = await run_program(name, "--url", running.url, stdin=stdin)
            assert (status, err) == (0, "")
            heard = [m.decode_server(line) for line in out.splitlines()]
            assert finals(heard) == ["turn on the lamp"]
            assert any(isinstance(message, m.Partial) for message in heard)
        status, out, err = await run_program(str(path), "--url", running.url, "--no-partials")
        assert all(json.loads(line)["type"] != "partial" for line in out.splitlines())


@in_loop
async def test_the_program_tells_the_channels_of_a_file_apart(tmp_path: Path) -> None:
    sides = [np.concatenate([speak(text), silence(2.0)]) for text in ("turn it on", "which lamp")]
    path = tmp_path / "call.wav"
    soundfile.write(path, np.stack(sides, axis=1), 16_000, subtype="PCM_16")
    options = (str(path), "--separate", "--text", "--url")
    async with service() as running:
        status, out, err = await run_program(*options, running.url)
    assert (status, err) == (0, "")
    assert sorted(out.splitlines()) == ["Channel 1: turn it on", "Channel 2: which lamp"]


@in_loop
async def test_mistakes_are_one_line(tmp_path: Path) -> None:
    async with service() as running:
        url = running.url
        status, out, err = await run_program(str(tmp_path / "none.wav"), "--url", url)
        assert (status, out) == (1, "")
        assert err.startswith("client: cannot open")
        soundfile.write(tmp_path / "x.wav", np.zeros(160), 16_000)
        full = os.open("/dev/full", os.O_WRONLY)
        status, _, err = await run_program(str(tmp_path / "x.wav"), "--url", url, stdout=full)
        os.close(full)
        assert (status, err) == (1, "client: No space left on device\n")
    status, out, err = await run_program(str(tmp_path / "x.wav"), "--url", url)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("client: cannot reach")


def test_the_library_depends_on_websockets_only() -> None:
    program = (
        "import sys, clients.python\n"
        "heavy = {'torch', 'numpy', 'soundfile', 'soxr', 'sounddevice'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
