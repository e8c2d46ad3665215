"""Audio over the websocket that is no bare PCM: WAV files, and Opus as browsers record it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from streamer import messages as m
from streamer.config import ModelConfig
from tests.browser import browser_page
from tests.fakes import speak
from tests.opus import recorded
from tests.serving import errors, finals, in_loop, pcm, said_to, service
from tests.test_container import cut, decoded

RECORDER = """async url => {
    const microphone = await navigator.mediaDevices.getUserMedia({audio: true});
    const socket = new WebSocket(url), heard = [];
    const closed = new Promise(done => socket.onclose = event => done(event.code));
    const enough = new Promise(done => socket.onmessage = ({data}) => {
        heard.push(data);
        if (JSON.parse(data).received >= 24000) done();
    });
    await new Promise(done => socket.onopen = done);
    socket.send(JSON.stringify({type: "start", audio: {encoding: "webm_opus"}}));
    const recorder = new MediaRecorder(microphone, {mimeType: "audio/webm;codecs=opus"});
    let sent = Promise.resolve();
    recorder.ondataavailable = ({data}) => {
        sent = sent.then(() => data.arrayBuffer()).then(bytes => socket.send(bytes));
    };
    recorder.start(100);
    await Promise.race([enough, closed]);
    await new Promise(done => { recorder.onstop = done; recorder.stop(); });
    await sent;
    socket.send(JSON.stringify({type: "stop"}));
    return {code: await closed, heard};
}"""

pytestmark = pytest.mark.usefixtures("one_thread")
STOP = m.encode(m.Stop())


def wav(data: bytes, rate: int = 16_000) -> bytes:
    """A mono PCM16 file of these samples, with tags behind them."""
    numbers = (16, 1 | 1 << 16, rate, 2 * rate, 2 | 16 << 16)
    fmt = b"fmt " + b"".join(number.to_bytes(4, "little") for number in numbers)
    body = b"WAVE" + fmt + b"data" + len(data).to_bytes(4, "little") + data + b"LIST\4\0\0\0tags"
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@in_loop
async def test_a_wav_file_is_sent_as_it_is() -> None:
    file = wav(pcm(speak("turn on the lamp")))
    async with service() as running:
        for start in (m.Start(), m.Start(m.AudioFormat("mulaw", 8_000))):
            for parts in ([file], cut(file, [7] * 20)):
                heard, code = await said_to(running.url, m.encode(start), *parts, STOP)
                assert (finals(heard), errors(heard), code) == (["turn on the lamp"], [], 1000)


@in_loop
async def test_a_wav_file_that_cannot_be_decoded_is_refused() -> None:
    broken = wav(b"").replace(b"\1\0\1\0", b"\2\0\1\0", 1)
    async with service() as running:
        heard, code = await said_to(running.url, m.encode(m.Start()), broken + bytes(999))
    assert (errors(heard), code) == ([("unsupported_audio", True)], 4415)
    assert "got format 2, 16 bits" in heard[-1].message


@pytest.mark.parametrize("encoding", ["ogg_opus", "webm_opus"])
def test_opus_is_heard_as_its_samples_are_and_harms_nobody_else(model: str, encoding) -> None:
    from streamer import api  # loads torch

    noise = np.random.default_rng(0).normal(0, 0.1, 48_000) * np.linspace(0, 1, 48_000)
    data = recorded(noise, encoding)
    runner = api.build_model(ModelConfig(name=model, device="cpu", dtype="float32"), 3)

    @in_loop
    async def scenario() -> None:
        samples = await decoded(encoding, [data])
        start = m.encode(m.Start(m.AudioFormat(encoding)))
        plain = m.encode(m.Start(m.AudioFormat("pcm_f32le")))
        hostile = [data[:300], bytes(1_000), b"\xff" * 60_000, data[300:]]
        async with service(model=runner, slots=3) as running:
            expected, _ = await said_to(running.url, plain, samples.tobytes(), STOP)
            (heard, code), (refused, refused_code), (same, _) = await asyncio.gather(
                said_to(running.url, start, *cut(data, [999] * 40), STOP),
                said_to(running.url, start, b"not audio" * 9_000, STOP),
                said_to(running.url, start, data, STOP),
            )
            await said_to(running.url, start, *hostile, STOP)  # an error or not, but an end
            assert finals(heard) == finals(same) == finals(expected) != []
            assert heard[-1] == same[-1] == expected[-1]
            assert (code, errors(heard)) == (1000, [])
            assert (refused_code, errors(refused)) == (4422, [("bad_audio", True)])

    scenario()


def test_what_a_browser_records_is_heard(model: str, tmp_path: Path) -> None:
    from streamer import api  # loads torch

    runner = api.build_model(ModelConfig(name=model, device="cpu", dtype="float32"))
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    @in_loop
    async def scenario() -> None:
        async with (
            service(model=runner, slots=1) as running,
            browser_page(tmp_path, noise, loop=True) as page,
        ):
            await page.goto(running.url.replace("ws:", "http:").replace("/v1/stream", "/captions"))
            result = await page.evaluate(RECORDER, running.url)
        heard = [m.decode_server(text) for text in result["heard"]]
        assert (result["code"], errors(heard)) == (1000, [])
        assert isinstance(heard[-1], m.Closed)
        assert heard[-1].received >= 24_000
        assert "".join(finals(heard))

    scenario()
