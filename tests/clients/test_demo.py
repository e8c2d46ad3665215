"""`make demo` as a newcomer sees it: a real server and client, and nothing between the words."""

import shlex
import subprocess
import sys
from itertools import pairwise

import pytest

from clients.demo import NEXT, SPOKEN, _judge
from streamer import cli
from tests.commands import ROOT


def test_the_words_grow_line_by_line_and_nothing_else_is_said() -> None:
    command = [sys.executable, "-m", "clients.demo"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    beginning, words, figures, end = ran.stdout.split("\n\n")
    assert "serving tiny-en" in beginning
    shown = [line.partition(" s  ")[2] for line in words.splitlines()]
    assert len(shown) > 5
    committed = [line.partition("[")[0].rstrip() for line in shown]
    assert all(then.startswith(now) for now, then in pairwise(committed))
    assert set(shown[-1].split()) & set(SPOKEN.split())
    assert "word error rate: " in figures
    assert end == f"{NEXT}\n"


def test_what_to_try_next_can_be_typed() -> None:
    commands = [line.strip() for line in NEXT.splitlines() if line.startswith("  streamer ")]
    assert commands
    for each in commands:
        typed = shlex.split(each.partition("    ")[0])
        assert callable(cli._parser().parse_args(typed[1:]).command)


def test_when_nothing_is_heard_there_is_no_time_of_a_first_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _judge([], 0.0)
    out = capsys.readouterr().out
    assert "word error rate: 100.0% of 19 words" in out
    assert " s " not in out.partition("word error rate")[2]
