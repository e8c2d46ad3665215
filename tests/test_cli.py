"""The command line as a user meets it: real processes, a real (tiny, untrained) checkpoint."""

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models import checkpoint
from streamer import messages as m
from tests.commands import ROOT, STREAMER, finals, run, run_process, use

pytestmark = pytest.mark.usefixtures("one_thread")


# --- light and clear ------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, streamer\n"
        "heavy = {'torch', 'numpy', 'soundfile', 'websockets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'transcribe' in dir(streamer)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_every_public_name_can_be_loaded() -> None:
    import streamer

    for name in streamer.__all__:
        assert getattr(streamer, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = streamer.nothing_here


def test_help_needs_no_torch() -> None:
    program = (
        "import sys\nfrom streamer.cli import main\n"
        "for command in ([], ['transcribe'], ['listen'], ['serve'], ['devices'], ['models']):\n"
        "    try:\n        main([*command, '--help'])\n"
        "    except SystemExit as end:\n        assert end.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "COMMAND"),
        (["sing"], 2, "got 'sing'"),
        (["transcribe"], 2, "FILE"),
        (["transcribe", "x.wav", "--preset", "fast"], 2, "got 'fast'"),
        (["transcribe", "none.wav"], 1, "cannot open none.wav: No such file"),
        (["transcribe", "."], 1, ". is a directory"),
        (["transcribe", "README.md"], 1, "README.md is not audio"),
        (["transcribe", "a.wav", "b.wav", "--format", "srt"], 1, "--format srt takes one file"),
        (["transcribe", "a.wav", "b.wav", "--out", "x.vtt"], 1, "--out takes one file, got 2"),
        (["transcribe", "README.md", "--out", "x.doc"], 1, "README.md is not audio"),
        (["transcribe", "x.wav", "--config", "none.toml"], 1, "cannot read none.toml"),
        (["transcribe", "x.wav", "--silence-s", "-1"], 1, "silence_s"),
        (["transcribe", "x.wav", "--max-utterance-s", "1e300"], 1, "max_utterance_s"),
        (["transcribe", "x.wav", "--channel", "1", "--separate"], 2, "not allowed with"),
        (["serve", "--port", "99999"], 1, "port from 0 to 65535"),
        (["serve", "--model", "no-such-model"], 1, "no model 'no-such-model'"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], status: int, said: str) -> None:
    got, out, err = run(*arguments)
    assert (got, out) == (status, "")
    assert said in err
    assert "Traceback" not in err
    assert err.startswith("streamer: ")
    assert err.count("\n") == 1


def test_a_bad_model_is_one_clear_line(talk: str, tmp_path: Path) -> None:
    status, out, err = run("transcribe", talk, "--model", str(tmp_path))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "not a complete checkpoint" in err
    if not torch.cuda.is_available():
        status, out, err = run("transcribe", talk, "--device", "cuda", "--model", str(tmp_path))
        assert (status, err.count("\n")) == (1, 1)


def test_models_are_listed_with_the_way_to_others() -> None:
    status, out, err = run("models")
    assert (status, err) == (0, "")
    assert "hub id" in out
    for name in checkpoint.shipped():
        assert name in out


# --- transcribe -----------------------------------------------------------------------------------


def test_json_is_the_wire_protocol(model: str, talk: str) -> None:
    status, out, err = run("transcribe", talk, *use(model), "--format", "json")
    assert (status, err) == (0, "")
    events = [m.decode_server(line) for line in out.splitlines()]
    assert isinstance(events[-1], m.Closed)
    assert events[-1].received == 48_000
    assert any(isinstance(event, m.Partial) for event in events)
    assert any(isinstance(event, m.Final) and event.text for event in events)


def test_the_n_best_and_stability_are_flags(model: str, talk: str) -> None:
    flags = ("--format", "json", "--beam", "4", "--n-best", "2", "--stability", "high")
    status, out, _ = run("transcribe", talk, *use(model), *flags)
    events = [m.decode_server(line) for line in out.splitlines()]
    told = [event for event in events if isinstance(event, m.Final)]
    assert status == 0
    assert told
    assert all(event.alternatives[0].text == event.text for event in told if event.alternatives)
    assert any(event.alternatives for event in told)
    assert not any(event.tail for event in events if isinstance(event, m.Partial))


def test_all_formats_tell_the_same(model: str, talk: str) -> None:
    texts = [final.text for final in finals(model, talk)]
    status, out, err = run("transcribe", talk, *use(model))
    assert (status, out.splitlines(), err) == (0, texts, "")
    recording = Path(talk).read_bytes()
    status, out, err = run_process("transcribe", "-", *use(model), stdin=recording)
    assert (status, out.splitlines(), err) == (0, texts, "")
    for form, header in (("srt", "1\n00:00:"), ("vtt", "WEBVTT\n\n00:00:")):
        status, out, err = run("transcribe", talk, *use(model), "--format", form)
        assert (status, err) == (0, "")
        assert out.startswith(header)
        cues = [line for line in out.splitlines() if re.fullmatch(r"[a-z' ]+", line)]
        assert " ".join(cues).split() == " ".join(texts).split()


def test_out_files_hold_what_is_printed(model: str, talk: str, tmp_path: Path) -> None:
    paths = [tmp_path / "talk.vtt", tmp_path / "talk.txt"]
    options = [option for path in paths for option in ("--out", str(path))]
    status, out, err = run("transcribe", talk, *use(model), "--format", "vtt", *options)
    assert (status, err) == (0, "")
    assert paths[0].read_text() == out
    assert paths[1].read_text() == "".join(f"{final.text}\n" for final in finals(model, talk))
    status, out, err = run("transcribe", talk, *use(model), *options)
    assert (status, out, err.count("exists already")) == (1, "", 1)
    status, out, err = run("transcribe", talk, *use(model), *options, "--overwrite")
    assert (status, out, err) == (0, paths[1].read_text(), "")


def test_a_disk_that_is_full_ends_a_file_and_not_the_captions(
    model: str, talk: str, tmp_path: Path
) -> None:
    heard = run("transcribe", talk, *use(model))[1]
    path, header = tmp_path / "talk.vtt", "WEBVTT\n\n"
    for limit_bytes, said in [(len(header), heard), (1, "")]:  # no file grows beyond it
        command = ["prlimit", f"--fsize={limit_bytes}", *STREAMER, "transcribe", talk, *use(model)]
        command += ["--out", str(path), "--overwrite"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, said, 1), ran.stderr
        assert f"cannot write {path}: " in ran.stderr
        assert ("without what was said from 0:00 on" in ran.stderr) == bool(said)
        assert (path.read_text() if path.exists() else "") == (header if said else "")


@pytest.mark.parametrize("mode", ["cache", "window"])
@pytest.mark.parametrize("preset", ["low", "default", "accurate"])
def test_modes_and_presets(model: str, talk: str, mode: str, preset: str) -> None:
    assert finals(model, talk, "--mode", mode, "--preset", preset)


def test_settings_come_from_a_file(model: str, talk: str, tmp_path: Path) -> None:
    settings = tmp_path / "streamer.toml"
    settings.write_text(f"[model]\nname = '{model}'\n")
    status, _, err = run("transcribe", talk, "--config", str(settings))
    assert (status, err) == (0, "")
    settings.write_text("[model]\nnmae = 'x'\n")
    status, _, err = run("transcribe", talk, "--config", str(settings))
    assert (status, err) == (
        1, "streamer: unknown setting model.nmae; did you mean name?\n"
    )  # fmt: skip


def test_one_bad_file_does_not_stop_the_others(model: str, talk: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(160), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(1_600, np.nan), 16_000, subtype="FLOAT")
    short, broken = str(tmp_path / "short.wav"), str(tmp_path / "nan.wav")
    status, out, err = run("transcribe", short, broken, "none.wav", talk, *use(model))
    assert status == 1
    assert re.findall("==> (.*) <==", out) == [short, broken, talk]
    assert re.search("[a-z]", out.rpartition("<==")[2])
    assert [line.split(":")[0] for line in err.splitlines()] == ["streamer", "streamer"]


def test_a_closed_pipe_ends_quietly(model: str, talk: str) -> None:
    command = [*STREAMER, "transcribe", talk, talk, *use(model), "--format", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        ran.stdout.readline()
        ran.stdout.close()
        assert ran.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_one_clear_line() -> None:
    for redirection, said in ((">/dev/full", "No space left"), (">&-", "output is closed")):
        command = f'"$@" models {redirection}'
        ran = subprocess.run(
            ["/bin/sh", "-c", command, "sh", *STREAMER], cwd=ROOT, capture_output=True, text=True
        )
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
        assert said in ran.stderr


def test_ctrl_c_ends_cleanly(model: str) -> None:
    """Interrupted while it waits for audio that never comes."""
    command = [
        *STREAMER,
        "transcribe",
        "-",
        "--model",
        model,
        "--format",
        "json",
        "--preset",
        "low",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ran:
        assert ran.stdin is not None
        assert ran.stdout is not None
        assert ran.stderr is not None
        noise = np.random.default_rng(0).normal(0, 3_000, 160_000).astype("<i2").tobytes()
        endless = b"\xff\xff\xff\xff"
        form = b"fmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0"
        ran.stdin.write(b"RIFF" + endless + b"WAVE" + form + b"data" + endless + noise)
        ran.stdin.flush()
        ran.stdout.readline()
        ran.send_signal(signal.SIGINT)
        ran.wait()  # with standard input still open
        assert (ran.returncode, ran.stderr.read()) == (130, b"")


# --- the library ----------------------------------------------------------------------------------


def test_a_file_in_three_lines(model: str, talk: str) -> None:
    import streamer

    config = streamer.Config(model=streamer.ModelConfig(name=model, dtype="float32"))
    heard = streamer.transcribe(talk, config)
    as_printed = [m.decode_server(m.encode(final)) for final in heard]
    assert as_printed == finals(model, talk)


def test_the_examples_of_the_documentation_are_valid() -> None:
    from streamer import api

    assert api.__doc__ is not None
    code = [line[4:] for line in api.__doc__.splitlines() if line.startswith("    ") or not line]
    compile("\n".join(code), "api", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
