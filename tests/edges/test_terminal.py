"""Live captions: redrawn in place on a terminal, plain lines elsewhere.

What is seen is read from the screen of a terminal emulator.
"""

import io
import os
import unicodedata
from dataclasses import replace

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.edges import terminal
from streamer.edges.terminal import BRIGHT, DIM, RESET, LiveCaption, wrapped
from streamer.messages import Closed, Final, Gap, Partial

COLUMNS, ROWS = 30, 12


class Terminal(io.StringIO):
    """A terminal, and what it has on its screen."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self.screen)
        self.screen.set_mode(pyte.modes.LNM)  # a line feed is also a carriage return

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text)
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def bright(self, row: int) -> str:
        line = self.screen.buffer[row]
        return "".join(line[column].data for column in range(COLUMNS) if line[column].bold)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.terminal_size((COLUMNS, ROWS))
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: size)


def partial(committed: str, tail: str) -> Partial:
    return Partial(0, 1, committed, tail, (), 0.0, 1.0)


def final(text: str) -> Final:
    return Final(0, text, (), 0.0, 1.0, 1.0, "end")


def test_what_stands_is_bright_and_the_tail_dim() -> None:
    out = Terminal()
    LiveCaption(out).show(partial("turn on", "the"))
    assert out.lines == ["turn on the"]
    assert out.bright(0) == "turn on"
    assert out.getvalue() == f"{BRIGHT}turn on{RESET} {DIM}the{RESET}"


def test_partials_are_replaced_and_finals_stay_above() -> None:
    out = Terminal()
    caption = LiveCaption(out)
    caption.show(partial("turn on", "the"))
    caption.show(final("turn on the lamp"))
    assert out.lines == ["turn on the lamp"]
    caption.meter(-20.0, "0:02")
    caption.show(partial("", "and"))
    assert out.lines == ["turn on the lamp", "and", f"[{'|' * 13}       ] -20 dB  0:02"[-29:]]
    caption.show(Gap(1.0, 0.5))
    assert out.lines[1:3] == ["[0.50 s of audio were lost]", "and"]
    caption.show(final("and now"))
    caption.show(Closed(16_000, 2))
    assert out.lines == ["turn on the lamp", "[0.50 s of audio were lost]", "and now"]
    assert (out.screen.cursor.x, out.screen.cursor.y) == (0, 3)


def test_a_long_utterance_shows_its_newest_lines() -> None:
    out = Terminal()
    caption = LiveCaption(out)
    words = [f"word{number:02}" for number in range(30)]
    for count in range(30):
        caption.show(partial(" ".join(words[:count]), words[count]))
    assert out.lines == [" ".join(words[at : at + 4]) for at in (20, 24, 28)]
    caption.show(final("short after all"))
    assert out.lines == ["short after all"]


def test_a_status_can_be_any_text() -> None:
    out = Terminal()
    caption = LiveCaption(out)
    caption.status("the microphone\nhas gone")
    assert out.lines == ["the microphone has gone"]
    caption.meter(float("-inf"), "x")
    assert out.lines == [f"[{'':20}] -60 dB  x"[-29:]]
    caption.meter(0.0, "x")
    assert out.lines == [f"[{'|' * 20}]   0 dB  x"[-29:]]


def test_elsewhere_only_what_stands_is_printed() -> None:
    out = io.StringIO()
    caption = LiveCaption(out)
    caption.show(partial("turn on", "the"))
    caption.meter(-20.0, "0:01")
    caption.show(Gap(0.5, 0.1))
    caption.show(final("turn on the lamp"))
    caption.show(Closed(16_000, 1))
    assert out.getvalue() == "[0.10 s of audio were lost]\nturn on the lamp\n"


def test_control_characters_never_reach_the_terminal() -> None:
    out = Terminal()
    LiveCaption(out).show(final("a\x1b[2Jb\r\nc"))
    assert out.getvalue() == "a [2Jb  c\n"


@given(st.lists(st.text("abü漢\u0301", min_size=1, max_size=20)), st.integers(2, 60))
def test_every_word_is_in_a_line_that_fits(words: list[str], columns: int) -> None:
    lines = wrapped([(word, "") for word in words], columns)
    shown = [text for line in lines for text, _ in line]
    assert all(word.endswith(text) for word, text in zip(words, shown, strict=True))
    for line in lines:
        text = " ".join(text for text, _ in line)
        width = sum(2 if c == "漢" else 0 if unicodedata.combining(c) else 1 for c in text)
        assert width <= columns


def test_each_channel_has_its_lines() -> None:
    screen = Terminal()
    caption = LiveCaption(screen)
    caption.show(replace(partial("which lamp", "is"), channel=1))
    caption.show(replace(partial("turn on", "the"), channel=0))
    assert screen.lines == ["Channel 1: turn on the", "Channel 2: which lamp is"]
    caption.show(replace(final("which lamp is it"), channel=1))
    assert screen.lines == ["Channel 2: which lamp is it", "Channel 1: turn on the"]
    caption.show(Closed(1, 2))
    assert screen.lines == ["Channel 2: which lamp is it"]
