"""The commands that run until they are told to end: `serve` and `listen`, as real processes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import webvtt

from streamer import messages as m
from tests.brokers import free_port
from tests.commands import ROOT, STREAMER, finals, run, run_process, use
from tests.sound import play, sound_server

pytestmark = pytest.mark.usefixtures("one_thread")


# --- serve ----------------------------------------------------------------------------------------


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*STREAMER, "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            greeting = server.stdout.readline()
            address = re.search(r"ws://\S+", greeting)
            assert address is not None, server.stderr.read()
            yield server, address.group()
        finally:
            server.terminate()


def client(url: str, path: str) -> list[m.ServerMessage]:
    ran = subprocess.run(
        [sys.executable, "-m", "clients.python", path, "--url", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return [m.decode_server(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_serve_recognises_what_transcribe_does(model: str, talk: str, end: signal.Signals) -> None:
    with serving(*use(model)) as (server, url):
        heard = client(url, talk)
        server.send_signal(end)
        assert server.wait() == 0
        assert server.stderr is not None
        logged = server.stderr.read()
    assert isinstance(heard[0], m.Ready)
    assert heard[0].model == "babbler"
    assert heard[0].latency_ms == 335
    texts = [message.text for message in heard if isinstance(message, m.Final)]
    assert texts == [final.text for final in finals(model, talk)]
    assert "Traceback" not in logged
    assert not any(word in logged for word in texts[0].split() if len(word) > 6)


def test_serving_to_others_by_oversight_is_refused(model: str, tmp_path: Path) -> None:
    tokens, other = tmp_path / "tokens", tmp_path / "cert.pem"
    tokens.write_text("a-token-of-16-characters\n")
    open_bind = ["serve", *use(model), "--port", "0", "--host", "0.0.0.0"]
    for options, words in [
        (open_bind, "--token-file, or say --allow-anonymous"),
        ([*open_bind, "--allow-plaintext"], "--token-file, or say --allow-anonymous"),
        ([*open_bind, "--token-file", str(tokens)], "--tls-cert, or say --allow-plaintext"),
        ([*open_bind, "--tls-cert", str(other)], "No such file"),
        ([*open_bind, "--token-file", str(other)], "No such file"),
        (["serve", "--wyoming", "1", "--wyoming-host", "::"], "--wyoming-allow-anonymous"),
    ]:
        status, out, err = run(*options)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert words in err


def test_serving_to_others_on_purpose(model: str) -> None:
    purpose = ["--host", "0.0.0.0", "--allow-anonymous", "--allow-plaintext"]
    with serving(*use(model), *purpose) as (server, url):
        assert url.startswith("ws://0.0.0.0:")
        server.terminate()
        assert server.wait() == 0


def test_a_port_in_use_is_one_clear_line(model: str) -> None:
    with serving(*use(model)) as (_, url):
        port = re.search(r":(\d+)/", url)
        assert port is not None
        command = ["serve", *use(model), "--port", port.group(1)]
        status, out, err = run(*command)
        edges = ["--wyoming", str(free_port()), "--mqtt", f"mqtt://127.0.0.1:{free_port()}"]
        edged = run(*command, *edges, "--log-level", "error")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "cannot listen on 127.0.0.1" in err
    assert edged == (status, out, err)  # whatever else was begun by then


# --- listen ---------------------------------------------------------------------------------------


def test_listen_hears_the_microphone_and_ends_with_ctrl_c(model: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    with sound_server(tmp_path) as env:
        status, out, err = run_process("devices", env=env)
        assert (status, err) == (0, "")
        assert re.search(r"^\* +\d+ default", out, re.MULTILINE)
        status, out, err = run_process("listen", "--input", "no such", env=env)
        assert (status, out, err.count("\n")) == (1, "", 1)
        with subprocess.Popen(
            [*STREAMER, "listen", *use(model)],
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as listening:
            assert listening.stdout is not None
            assert listening.stderr is not None
            assert "listening to default" in listening.stderr.readline()
            play(noise, tmp_path, env)
            listening.send_signal(signal.SIGINT)
            out, err = listening.communicate()
    assert (listening.returncode, err) == (0, "")
    assert re.search("[a-z]", out)


def test_listen_goes_on_when_the_microphone_comes_back(model: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    captions, events = tmp_path / "captions.vtt", tmp_path / "captions.jsonl"
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        env = server.enter_context(sound_server(tmp_path))
        listening = stack.enter_context(
            subprocess.Popen(
                [*STREAMER, "listen", *use(model), "--out", str(captions), "--out", str(events)],
                cwd=ROOT,
                env=os.environ | env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        assert listening.stdout is not None
        assert listening.stderr is not None
        assert "listening to default" in listening.stderr.readline()
        play(noise, tmp_path, env)
        server.close()
        assert "streamer: the microphone" in (gone := listening.stderr.readline())
        assert gone.endswith("; waiting for it\n")
        server.enter_context(sound_server(tmp_path))
        assert listening.stderr.readline() == "streamer: the microphone is back\n"
        play(noise, tmp_path, env)
        listening.send_signal(signal.SIGINT)
        out, err = listening.communicate()
    assert (listening.returncode, err) == (0, "")
    (lost_s,) = map(float, re.findall(r"\[([\d.]+) s of audio were lost\]", out))
    finals = [m.decode_server(line) for line in events.read_text().splitlines()]
    assert finals[-1].end > lost_s + 1.0  # which is after it
    said = [line for line in out.splitlines() if not line.startswith("[")]
    shown = " ".join(caption.text.replace("\n", " ") for caption in webvtt.read(captions))
    assert shown.split() == " ".join(said).split()


def test_listen_refuses_what_it_cannot_write_or_post_before_the_model_loads(tmp_path: Path) -> None:
    (tmp_path / "old.vtt").touch()
    for options, said in (
        (["--out", str(tmp_path / "old.vtt")], "exists already: see --overwrite"),
        (["--out", "captions.doc"], "expected a caption file that ends in"),
        (["--youtube", str(tmp_path / "none")], "cannot read"),
        (["--youtube", str(tmp_path / "old.vtt")], "is empty"),
    ):
        status, out, err = run("listen", "--model", "none", *options)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert said in err
