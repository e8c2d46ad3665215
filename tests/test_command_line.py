"""What is typed wrongly is told in one sentence, with what was perhaps meant and where help is."""

import re
import subprocess
import sys

import pytest

from tests.commands import ROOT, run, run_process


@pytest.mark.parametrize(
    ("typed", "told", "command"),
    [
        ("", "the following arguments are required: COMMAND", "streamer"),
        ("transcrib x", "got 'transcrib'; did you mean transcribe?", "streamer"),
        ("sing", "expected one of transcribe, listen, serve, ", "streamer"),
        ("--versio", "no option --versio; did you mean --version?", "streamer"),
        ("serve --por 8", "no option --por; did you mean --port?", "streamer serve"),
        ("serve --por=8", "no option --por; did you mean --port?", "streamer serve"),
        ("finetune --dta x", "no option --dta; did you mean --data?", "streamer finetune"),
        ("devices -x", "no option -x", "streamer devices"),
        ("serve twice", "unexpected argument 'twice'", "streamer serve"),
        ("transcribe x --format vt", "expected one of text, json, srt, vtt, got 'vt'", None),
        ("serve --port x", "--port: expected a whole number, got 'x'", "streamer serve"),
        ("serve --lm-alpha x", "--lm-alpha: expected a number, got 'x'", "streamer serve"),
        (
            "evaluate x --decoding greedy beam",
            "--decoding takes one value, got also 'beam'; give --decoding again for each",
            "streamer evaluate",
        ),
        ("evaluate x --preset low default", "give --preset again for each", "streamer evaluate"),
        ("serve --preset low default", "--preset takes one value, got also 'default' (", None),
    ],
)
def test_one_sentence_and_where_help_is(typed: str, told: str, command: str | None) -> None:
    status, out, err = run(*typed.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("streamer: ")
    assert told in err
    assert err.endswith(f"(see: {command or f'streamer {typed.split()[0]}'} --help)\n")


def test_the_usage_has_what_must_be_given_and_no_more() -> None:
    for command, usage in {
        "transcribe": "[OPTION ...] FILE [FILE ...]",
        "serve": "[OPTION ...]",
        "evaluate": "[OPTION ...] [MANIFEST ...]",
        "finetune": "[OPTION ...] CHECKPOINT --data FILE --out DIR",
    }.items():
        status, out, _ = run(command, "--help")
        assert (status, out.splitlines()[0]) == (0, f"usage: streamer {command} {usage}")


def test_every_command_has_its_line() -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert re.search(r"\ncommands:\n  transcribe +recognise audio files\n  listen +live ", out)


def test_the_benchmark_alone_says_it_alike() -> None:
    command = [sys.executable, "-m", "streamer.benchmark", "--batche", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (
        2,
        "streamer: there is no option --batche; did you mean --batches? "
        "(see: python -m streamer.benchmark --help)\n",
    )


def test_an_interrupt_while_all_loads_is_quiet() -> None:
    program = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'streamer.cli':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from streamer.__main__ import main\nsys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_name_behind_two_dashes_is_a_file() -> None:
    status, _, err = run_process("transcribe", "--", "--x")
    assert (status, err) == (1, "streamer: cannot open --x: No such file or directory\n")


def test_numbers_are_named_by_their_units() -> None:
    _, out, _ = run("serve", "--help")
    for shown in ("--port PORT", "--idle-timeout-s SECONDS", "--max-frame-bytes BYTES"):
        assert shown in out
    for shown in ("--max-messages-per-s N", "--max-sessions N", "--lm-alpha N"):
        assert shown in out
