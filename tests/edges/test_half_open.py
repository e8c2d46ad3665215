"""Peers that vanish without a word: a link that goes down, a process that is frozen."""

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from streamer import messages as m
from streamer.edges.websocket import wire
from tests.commands import ROOT
from tests.fakes import speak
from tests.serving import finals, in_loop, service


def wav(samples: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        soundfile.write(file, samples, 16_000, subtype="PCM_16", format="WAV")
        return file.getvalue()


FILE = wav(speak("turn on the lamp in the hall"))


def test_it_is_noticed_within_ten_seconds() -> None:
    assert wire.UNACKNOWLEDGED_MS / 1_000 < wire.GONE_AFTER_S < 10


def has_own_networks() -> bool:
    """Whether this user may have a network of his own, as root in it."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    tried = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(not has_own_networks(), reason="needs unshare, ip and user namespaces")
def test_a_link_that_goes_down_and_comes_back_loses_no_word() -> None:
    program = ["unshare", "-rn", sys.executable, "-m", "tests.half_open"]
    ran = subprocess.run(program, capture_output=True, cwd=ROOT, check=True)
    told = json.loads(ran.stdout)
    assert told["kept"] == 1  # the session waited, its websocket did not
    assert told["finals"] == ["turn on the lamp in the hall"]


@in_loop
async def test_a_client_that_is_frozen_and_wakes_loses_no_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "PING_AFTER_S", 0.5)
    monkeypatch.setattr(wire, "GONE_AFTER_S", 2.0)
    async with service() as running:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clients.python", "-", "--url", running.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        heard: list[m.ServerMessage] = []
        client.stdin.write(FILE[: len(FILE) // 2])
        while not heard or not isinstance(heard[-1], m.SpeechStart):
            heard.append(m.decode_server((await client.stdout.readline()).decode()))
        client.send_signal(signal.SIGSTOP)
        while running.server.sockets_inside:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)
        assert running.engine.open_sessions == 1
        client.send_signal(signal.SIGCONT)
        rest, _ = await client.communicate(FILE[len(FILE) // 2 :])
        heard += [m.decode_server(line) for line in rest.decode().splitlines()]
    assert (finals(heard), client.returncode) == (["turn on the lamp in the hall"], 0)
