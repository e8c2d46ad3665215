"""The microphone: a real sound server, a real device, and what it hears word for word."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Final
from streamer.edges import microphone
from streamer.edges.microphone import Microphone, MicrophoneError
from streamer.engine.engine import Engine
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop
from tests.sound import play, sound_server


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The one server of this process: PortAudio looks for its devices once."""
    with (
        sound_server(tmp_path_factory.mktemp("sound")) as env,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in env.items():
            patch.setenv(name, value)
        yield env


def test_devices_are_listed_and_found(sound: dict[str, str]) -> None:
    listed = microphone.devices()
    (default,) = [device for device in listed if device.default]
    assert default == microphone.find(None)
    assert microphone.find(default.index) == default
    assert default.channels > 0


def test_a_device_that_is_not_there(sound: dict[str, str]) -> None:
    for device in ("no such device", 99):
        with pytest.raises(
            MicrophoneError, match=r"there is no microphone .*; see: streamer devices"
        ):
            microphone.find(device)


@in_loop
async def test_words_come_through_the_microphone(sound: dict[str, str], tmp_path: Path) -> None:
    spoken = np.concatenate([silence(0.5), speak("turn on the lamp"), silence(1.0)])
    async with (
        Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
        Microphone() as heard,
        engine.open_session(EndpointRules(silence_s=0.3)) as session,
        asyncio.TaskGroup() as tasks,
    ):

        async def feed() -> None:
            async for block in heard.blocks():
                assert block.lost_samples == 0
                await session.send(block.samples)
            await session.finish()

        tasks.create_task(feed(), name="feed")
        tasks.create_task(asyncio.to_thread(play, spoken, tmp_path, sound), name="play")
        finals = []
        async for event in session:
            if isinstance(event, Final):
                finals.append(event.text)
                heard.finish()
        assert isinstance(event, Closed)
    assert finals == ["turn on the lamp"]


@in_loop
async def test_a_late_reader_loses_the_oldest_and_is_told_how_much(
    sound: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone.device, "MAX_QUEUED_BLOCKS", 5)
    async with Microphone() as heard:
        while heard._captured < 20 * 320:  # nobody reads meanwhile
            await asyncio.to_thread(play, silence(0.2), tmp_path, sound)
        heard.finish()
        blocks = [block async for block in heard.blocks()]
    assert blocks[0].lost_samples > 0
    assert blocks[0].lost_samples % 320 == 0
    assert all(block.lost_samples == 0 for block in blocks[1:6])


@in_loop
async def test_losses_reported_by_the_sound_system_are_counted() -> None:
    """The callback is ours; an overflow cannot be had from the server at will."""

    class Status:
        input_overflow = True

    class Time:
        currentTime = 1.0  # noqa: N815 (PortAudio's name)

    heard = Microphone()
    heard._loop, heard._wake, heard._rate = asyncio.get_running_loop(), asyncio.Event(), 16_000
    heard._last_time = 0.5
    heard._on_block(np.zeros((320, 1), np.float32), 320, Time, Status)
    heard._finished = True
    (block, _) = [block async for block in heard.blocks()]
    assert (heard.overruns, block.lost_samples) == (1, 8_000 - 320)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise OSError('PortAudio library not found')", "apt-get install libportaudio2"),
        ("raise ImportError('No module named sounddevice')", "pip install -e '.[mic]'"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, module: str, said: str) -> None:
    (tmp_path / "sounddevice.py").write_text(module)
    assert said in asked_in_a_new_process({"PYTHONPATH": str(tmp_path)})


def test_a_device_that_does_not_start_is_closed_and_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(
        "class PortAudioError(Exception): pass\n"
        "def query_devices(device, kind):\n"
        "    return {'name': 'x', 'default_samplerate': 16000.0, 'max_input_channels': 1}\n"
        "class InputStream:\n"
        "    samplerate = 16000.0\n"
        "    def __init__(self, **settings): pass\n"
        "    def start(self): raise PortAudioError('device unavailable', -9985)\n"
        "    def close(self): print('closed')\n"
    )
    enter = "import asyncio; asyncio.run(m.Microphone().__aenter__())"
    said = asked_in_a_new_process({"PYTHONPATH": str(tmp_path)}, enter)
    assert said == "closed\ncannot start the microphone: device unavailable\n"


def test_a_machine_without_microphone_says_so() -> None:
    alsa_only = {"ALSA_CONFIG_PATH": "/usr/share/alsa/alsa.conf", "PULSE_SERVER": "unix:/none"}
    said = asked_in_a_new_process(alsa_only)
    expected = "" if Path("/dev/snd").exists() else "no microphone: the system has no audio input"
    assert said.startswith(expected)
    assert said.count("\n") <= 1


def asked_in_a_new_process(env: dict[str, str], question: str = "m.find(None)") -> str:
    """What a program prints that looks for a microphone; this process has PortAudio loaded."""
    program = (
        "from streamer.edges import microphone as m\n"
        f"try:\n    {question}\nexcept m.MicrophoneError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | env,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ran.stdout
