"""The client as a distribution of its own: built, installed into an empty environment, and used.

Its package index is a folder with this environment's own websockets: nothing is downloaded.
"""

import asyncio
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
import soundfile

from streamer import messages as m
from tests.fakes import speak
from tests.serving import finals, in_loop, service

ROOT = Path(__file__).parents[2]
EXAMPLE = """
import asyncio, sys, streamer_client

async def main(url, data):
    async def blocks():
        yield data
    async for event in streamer_client.recognize(url, blocks()):
        if hasattr(event, "text"):
            print(event.text)

asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))
strangers = {name.split(".")[0] for name in sys.modules} & {"streamer", "clients", "numpy", "torch"}
assert not strangers, strangers
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the client's wheel and what it requires."""
    folder = tmp_path_factory.mktemp("alone")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT / "clients")]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("streamer_client-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    required = [each for each in metadata_of(wheel) if "extra ==" not in each]
    assert required == ["websockets>=15"]
    found = metadata.distribution("websockets").locate_file("websockets")
    (packages / "websockets").symlink_to(str(found))
    return python.parent


def metadata_of(wheel: Path) -> list[str]:
    (about,) = metadata.distributions(path=[str(wheel)])
    return about.requires or []


async def run(*command: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    ran = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={},
    )
    out, err = await ran.communicate(stdin)
    assert ran.returncode is not None
    return ran.returncode, out.decode(), err.decode()


@in_loop
async def test_the_library_in_five_lines(alone: Path) -> None:
    async with service() as running:
        data = (speak("turn on the lamp") * 32768).astype("<i2").tobytes()
        ran = await run(alone / "python", "-c", EXAMPLE, running.url, stdin=data)
    assert ran == (0, "turn on the lamp\n", "")


@in_loop
async def test_the_program(alone: Path, tmp_path: Path) -> None:
    path = tmp_path / "lamp.wav"
    soundfile.write(path, speak("turn on the lamp"), 16_000, subtype="PCM_16")
    program = alone / "streamer-client"
    async with service() as running:
        status, out, err = await run(program, path, "--url", running.url)
        assert (status, err) == (0, "")
        assert finals([m.decode_server(line) for line in out.splitlines()]) == ["turn on the lamp"]
        ran = await run(program, "-", "--text", "--url", running.url, stdin=path.read_bytes())
        assert ran == (0, "turn on the lamp\n", "")
    soundfile.write(tmp_path / "lamp.flac", speak("one"), 16_000)
    status, out, err = await run(program, tmp_path / "lamp.flac")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "streamer-client[files]" in err
    status, out, err = await run(program, "--microphone")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "streamer-client[mic]" in err
