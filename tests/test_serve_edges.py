"""`streamer serve` with all its edges: a real process, a real broker, a real client."""

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient

from tests.brokers import Mosquitto, free_port, subscriber
from tests.commands import ROOT, STREAMER, run, use

pytestmark = pytest.mark.usefixtures("one_thread")
HANGS_S = 500  # a process that loads torch may take long on a busy machine


async def transcript(port: int, samples: np.ndarray) -> str:
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{port}") as client:
        await client.write_event(AudioStart(16_000, 2, 1).event())
        for at in range(0, len(samples), 1_024):
            data = samples[at : at + 1_024].tobytes()
            await client.write_event(AudioChunk(16_000, 2, 1, data).event())
        await client.write_event(AudioStop().event())
        while (event := await client.read_event()) is not None:
            if Transcript.is_type(event.type):
                return Transcript.from_event(event).text
    raise AssertionError("no transcript")


def test_what_a_voice_assistant_hears_is_published(model: str, talk: str, tmp_path: Path) -> None:
    """The broker is not there yet when the server starts."""
    asyncio.run(asyncio.wait_for(all_edges(model, talk, tmp_path), HANGS_S))


def assert_nothing_leaks(log: str, text: str) -> None:
    assert "Traceback" not in log
    assert "canary" not in log
    assert not any(word in log for word in text.split() if len(word) > 6)


async def all_edges(model: str, talk: str, tmp_path: Path) -> None:
    samples, _ = soundfile.read(talk, dtype="int16")
    broker, port = Mosquitto(tmp_path), free_port()
    options = ["--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--hermes", "default"]
    options += ["--captions-dir", str(tmp_path / "captions"), "--captions-formats", "txt"]
    options += ["--mqtt-outbox", str(tmp_path / "outbox.db"), "--wyoming", str(port)]
    server = await asyncio.create_subprocess_exec(
        *[*STREAMER, "serve", "--port", "0", *use(model), *options],
        cwd=ROOT,
        env=os.environ | {"STREAMER_MQTT_PASSWORD": "the canary"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        said = [(await server.stdout.readline()).decode() for _ in range(4)]
        assert "serving babbler" in said[0]
        assert str(tmp_path / "captions") in said[1]
        assert f"mqtt://127.0.0.1:{broker.port}" in said[2]
        assert f"tcp://127.0.0.1:{port}" in said[3]
        text = await transcript(port, samples)
        await broker.start()
        async with subscriber(broker.port, "streamer/#") as heard:
            closed = await heard.until("streamer/out/+/closed")
            server.send_signal(signal.SIGTERM)
            while (await heard.until("streamer/status"))["status"] != "offline":
                pass
        _, logged = await server.communicate()
    finally:
        if server.returncode is None:
            server.kill()
        await broker.kill()
    log = logged.decode()
    assert server.returncode == 0, log
    published = heard.bodies("streamer/out/+/final")
    assert " ".join(each["text"] for each in published if each["text"]) == text
    assert {each["session"] for each in published} == {closed["session"]}
    (kept,) = (tmp_path / "captions").iterdir()
    assert kept.read_text().split() == text.split()
    assert log.count("finals are kept, trying on") == 1
    assert_nothing_leaks(log, text)


def test_a_missing_extra_and_wrong_settings_are_one_line(model: str, tmp_path: Path) -> None:
    (tmp_path / "aiomqtt.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'aiomqtt'\", name='aiomqtt')"
    )
    options = ["serve", *use(model), "--port", "0", "--mqtt", "mqtt://127.0.0.1:1"]
    ran = subprocess.run(
        [*STREAMER, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "MQTT needs aiomqtt: pip install -e '.[mqtt]'" in ran.stderr
    assert "Traceback" not in ran.stderr
    for option, value, words in [
        ("--mqtt", "mqtt://ann:secret@host", "without a password"),
        ("--mqtt", "http://host", "mqtt://host:1883"),
        ("--hermes", "default", "expected url of a broker"),
        ("--wyoming", "99999", "65535"),
    ]:
        status, out, err = run("serve", *use(model), option, value)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert words in err
        assert re.search("secret", err) is None


def test_the_model_in_the_present_folder_has_its_name(model: str) -> None:
    command = [*STREAMER, "serve", "--port", "0", "--model", "."]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=model, env=env, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        server.kill()
    assert said.startswith(b"serving babbler (latency ")
