"""`streamer bench`, as a user runs it: whole and consistent figures; speed is not judged."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT, STREAMER, run, run_process

SHORT = ["--seconds", "1", "--warm-up", "1", "--dtype", "float32"]
MISSING = ("soundfile", "soxr", "websockets", "tqdm", "matplotlib", "sounddevice", "jiwer")


def condition(path):
    """The only condition of a JSON file, checked for consistency."""
    (found,) = json.loads(path.read_text())["conditions"]
    for each in found["runs"]:
        assert each["packets"] == each["streams"] * 25  # 2 s in packets of 80 ms
        assert each["closing"]["count"] == each["streams"]
        assert each["chunks"] in range(
            3 * each["streams"], 4 * each["streams"] + 1
        )  # 1 s of 320 ms
        assert not [reason for reason in each["failures"] if "failed" in reason]
        for name in ("step", "partial", "final", "closing"):
            spread = each[name]
            if spread is not None:
                assert spread["p50"] <= spread["p95"] <= spread["p99"] <= spread["max"]
        if each["partial"] is not None:
            assert 0 < each["partial"]["count"] <= each["chunks"]
        assert each["generator_late_s"] >= 0
    return found


def test_in_process(tmp_path):
    table, page = tmp_path / "figures.json", tmp_path / "report.html"
    options = ["--side-by-side", "--batches", "1", "2", "--streams", "2", "3"]
    files = ["--json", str(table), "--html", str(page)]
    status, out, err = run("bench", *SHORT, *options, *files)
    assert status == 0, err
    found = condition(table)
    assert [each["streams"] for each in found["runs"]] == [2, 3]
    for each in found["runs"]:
        assert 0 < each["step"]["count"] <= each["chunks"]
        assert 1 <= each["mean_batch"] <= each["streams"]
        assert 0 < each["device_busy"] <= 1
    contenders = found["contenders"]
    assert [each["name"] for each in contenders] == [
        "transformers windows, float32",
        "own window, float32",
        "own cache, float32",
    ]
    for each in contenders:
        assert [point["batch"] for point in each["points"]] == [1, 2]
        assert each["name"] in out
    for batch in (0, 1):
        first, last = contenders[0]["points"][batch], contenders[-1]["points"][batch]
        assert first["ratio"] == 1
        assert last["ratio"] == pytest.approx(first["step_s"] / last["step_s"])
        assert last["streams"] == pytest.approx(last["batch"] * 0.32 / last["step_s"])
    html = page.read_text()
    assert html.count("data:image/svg+xml") == 3
    assert "http" not in html.replace("http-equiv", "")
    status, again, _ = run("bench", "--from", str(table), "--html", str(page))
    assert (status, again) == (0, out)
    assert page.read_text() == html


def test_without_a_closed_loop_there_is_no_table_of_it(tmp_path):
    table = tmp_path / "figures.json"
    options = ["--batches", "0", "--streams", "1", "--json", str(table)]
    status, out, err = run("bench", *SHORT, *options)
    assert status == 0, err
    assert condition(table)["contenders"] == []
    assert "in real time" in out
    assert "closed loop" not in out


def test_over_websockets_to_a_server_of_its_own(tmp_path):
    table = tmp_path / "figures.json"
    options = ["--websocket", "--batches", "0", "--streams", "3", "--json", str(table)]
    status, out, err = run("bench", *SHORT, *options)
    assert status == 0, err
    (each,) = condition(table)["runs"]
    assert each["steps"] > 0
    assert each["step"] is None  # which stream was in which step is the server's
    assert each["host_busy"] > 0
    assert each["generator_busy"] > 0
    assert "over websockets" in out


def test_ctrl_c_while_the_server_loads_is_quiet():
    command = [*STREAMER, "bench", *SHORT, "--websocket", "--batches", "0", "--streams", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as ran:
        children = Path(f"/proc/{ran.pid}/task/{ran.pid}/children")
        while not any(is_loading(each) for each in children.read_text().split()):
            pass
        os.killpg(ran.pid, signal.SIGINT)  # as a terminal does
        _, err = ran.communicate()
    assert (ran.returncode, err) == (130, b"")


def is_loading(pid):
    """Whether it is the server's process, and torch on its way."""
    with contextlib.suppress(OSError):  # it is gone
        is_server = "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
        return is_server and "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    return False


def test_the_search_ends_and_keeps_to_its_limit(tmp_path):
    table = tmp_path / "figures.json"
    options = ["--batches", "1", "--max-streams", "2", "--json", str(table)]
    status, _, err = run("bench", *SHORT, *options)
    assert status == 0, err
    found = condition(table)
    assert 0 <= found["sustained"] <= 2
    held = [each["streams"] for each in found["runs"] if not each["failures"]]
    assert found["sustained"] == max(held, default=0) or found["sustained"] + 1 in [
        each["streams"] for each in found["runs"]
    ]


def test_it_runs_where_only_torch_is_installed(tmp_path):
    """The command of a GPU machine: no sound files, no websockets, no plots."""
    table = tmp_path / "figures.json"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({MISSING!r}))\n"
        "from streamer.benchmark.__main__ import main\n"
        f"sys.argv[1:] = {[*SHORT, '--batches', '1', '--streams', '2', '--json', str(table)]!r}\n"
        "sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert "audio: synthetic" in ran.stdout
    assert condition(table)["runs"][0]["step"]["count"] > 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--json", "nowhere/figures.json"], "nowhere/figures.json"),
        (["--from", "nothing.json"], "cannot read nothing.json"),
        (["--audio", "nothing.wav"], "nothing.wav"),
        (["--url", "ws://127.0.0.1:9/v1/stream", "--streams", "1"], "cannot connect"),
        (["--model", "nothing"], "nothing"),
        pytest.param(
            ["--device", "cuda"],
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        (["--websocket", "--batches", "0", "--model", "nothing"], "nothing"),
        (["--batches", "0", "--streams", "0"], "nothing to measure"),
        (["--decode-workers", "2", "--streams", "1"], "add --websocket"),
        (
            ["--lm", "none", "--decode-workers", "2", "--websocket", "--batches", "0"],
            "greedy decoding needs none",
        ),
    ],
)
def test_mistakes_are_one_line(options, reason):
    status, _, err = run("bench", *SHORT, *options)
    assert status == 1
    (line,) = [line for line in err.splitlines() if line.startswith("streamer:")]
    assert reason in line
    assert "Traceback" not in err


def test_bad_numbers_are_refused():
    for options in (["--seconds", "0"], ["--chunk-s", "x"], ["--streams", "-1"], ["--suite", "x"]):
        status, _, err = run_process("bench", *options)
        assert status == 2
        assert "expected" in err or "choose" in err
