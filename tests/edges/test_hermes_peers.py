"""Hermes as Rhasspy speaks it: its library and its command line at a real broker."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import EndpointRules, MqttConfig
from streamer.edges.mqtt import MqttEdge
from streamer.edges.mqtt.hermes_json import frame
from streamer.engine.engine import Engine
from tests import peers
from tests.brokers import mosquitto, subscriber
from tests.commands import ROOT
from tests.edges.test_hermes import wav
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop, pcm


@pytest.fixture(scope="module")
def python() -> str:
    return peers.python()


@asynccontextmanager
async def recognizer(folder: Path, slots: int = 4) -> AsyncIterator[int]:
    """The port of a broker with a recognizer for the sites default and attic."""
    async with mosquitto() as server:
        url, outbox = f"mqtt://127.0.0.1:{server.port}", str(folder / "outbox.db")
        config = MqttConfig(url, outbox=outbox, hermes_sites=("default", "attic"))
        async with (
            subscriber(server.port, "streamer/status") as heard,
            Engine(FakeModel(slots=slots), max_sessions=slots, max_batch=4) as engine,
            MqttEdge(engine, EndpointRules(silence_s=0.3), config),
        ):
            await heard.until("streamer/status")
            yield server.port


def clip(folder: Path, text: str, pause_s: float = 0.0) -> str:
    path = folder / f"{text}.wav"
    path.write_bytes(wav(np.concatenate([speak(text), silence(pause_s)])))
    return str(path)


class House:
    """tests/hermes_client.py: what it is told, and what it has heard."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[Any] = []

    def tell(self, kind: str, topic: dict[str, str] | None = None, **fields: Any) -> None:
        self._write({"publish": kind, "fields": fields, "topic": topic or {}})

    def speak(self, path: str, site: str = "default", session: str | None = None) -> None:
        self._write({"speak": path, "site": site, "session": session})

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def until(self, kind: str) -> Any:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.heard.append(json.loads(line))
            if self.heard[-1]["type"] == kind:
                return self.heard[-1]
        raise AssertionError("the client has gone")


@asynccontextmanager
async def house(python: str, port: int) -> AsyncIterator[House]:
    process = await asyncio.create_subprocess_exec(
        *(python, "-P", "tests/hermes_client.py", str(port)),  # -P: no module of ours
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 << 20,
    )
    try:
        yield House(process)
    finally:
        process.kill()
        await process.wait()


@in_loop
async def test_the_library_hears_one_answer_for_each_command(python: str, tmp_path: Path) -> None:
    async with recognizer(tmp_path) as port, house(python, port) as rhasspy:
        rhasspy.tell(
            "AsrStartListening",
            session_id="s1",
            lang="en",
            wakeword_id="porcupine",
            intent_filter=["TurnOn"],
            send_audio_captured=True,
        )
        rhasspy.tell("AsrStartListening", site_id="attic", session_id="s2", stop_on_silence=False)
        rhasspy.speak(clip(tmp_path, "the lamp"), "attic")
        rhasspy.speak(clip(tmp_path, "turn on", pause_s=0.6))
        rhasspy.speak(clip(tmp_path, " above"), "attic", "s2")
        done = await rhasspy.until("AsrRecordingFinished")
        captured = await rhasspy.until("AsrTextCaptured")
        audio = await rhasspy.until("AsrAudioCaptured")
        rhasspy.tell("AsrStopListening", session_id="s1")
        rhasspy.tell("AsrStopListening", site_id="attic", session_id="s2")
        other = await rhasspy.until("AsrTextCaptured")
    assert (done["site_id"], done["session_id"]) == ("default", "s1")
    assert (captured["text"], captured["session_id"]) == ("turn on", "s1")
    assert (captured["lang"], captured["wakeword_id"]) == ("en", "porcupine")
    (tokens,) = captured["asr_tokens"]
    assert [(t["value"], t["range_start"], t["range_end"]) for t in tokens] == [
        ("turn", 0, 4),
        ("on", 5, 7),
    ]
    assert tokens[0]["time"]["end"] <= tokens[1]["time"]["start"]
    assert (audio["site_id"], audio["session_id"]) == ("default", "s1")
    form, data = frame(base64.b64decode(audio["wav_bytes"]))
    assert form.sample_rate == 16_000
    assert pcm(np.concatenate([speak("turn on"), silence(0.6)])).startswith(data)
    assert data.startswith(pcm(speak("turn on")))
    assert (other["text"], other["site_id"]) == ("the lamp above", "attic")
    answered = [e["session_id"] for e in rhasspy.heard if e["type"] == "AsrTextCaptured"]
    assert answered == ["s1", "s2"]


@in_loop
async def test_the_library_toggles_trains_and_is_told_of_errors(
    python: str, tmp_path: Path
) -> None:
    async with recognizer(tmp_path, slots=1) as port, house(python, port) as rhasspy:
        rhasspy.tell("AsrStartListening", session_id="s", stop_on_silence=False)
        for reason in ("ttsSay", "playAudio"):
            rhasspy.tell("AsrToggleOff", reason=reason)
        rhasspy.speak(clip(tmp_path, "not heard"))
        rhasspy.tell("AsrToggleOn", reason="ttsSay")
        rhasspy.speak(clip(tmp_path, "nor this"))
        rhasspy.tell("AsrToggleOn", reason="")
        rhasspy.speak(clip(tmp_path, "heard"))
        rhasspy.tell("AsrStartListening", site_id="attic", session_id="t")
        error = await rhasspy.until("AsrError")
        assert (error["site_id"], error["session_id"]) == ("attic", "t")
        assert "all 1 sessions are taken" in error["error"]
        rhasspy.tell("AsrTrain", {"site_id": "default"}, graph_path="none", id="7")
        assert (await rhasspy.until("AsrTrainSuccess"))["id"] == "7"
        rhasspy.tell("AsrStopListening", session_id="s")
        assert (await rhasspy.until("AsrTextCaptured"))["text"] == "heard"


@pytest.mark.parametrize("site", ["default", "attic"])
@in_loop
async def test_the_command_line_transcribes_files(python: str, tmp_path: Path, site: str) -> None:
    texts = ["turn on the lamp", "and off"]
    clips = [clip(tmp_path, text) for text in texts]
    async with recognizer(tmp_path) as port:
        place = ("--host", "127.0.0.1", "--port", str(port), "--site-id", site)
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "rhasspyhermes", *place, "--print-topics", "transcribe-wav", *clips),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0
    lines = [line.split(" ", 1) for line in said.decode().splitlines()]
    assert [topic for topic, _ in lines] == ["hermes/asr/textCaptured"] * 2
    bodies = [json.loads(body) for _, body in lines]
    assert [(each["text"], each["site_id"]) for each in bodies] == [(t, site) for t in texts]
