"""Live captions: redrawn in place on a terminal, plain lines elsewhere."""

import io

from hypothesis import given
from hypothesis import strategies as st

from streamer.edges.terminal import CLEAR_LINE, DIM, RESET, LiveCaption, fitted
from streamer.messages import Closed, Final, Gap, Partial


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def partial(committed: str, tail: str) -> Partial:
    return Partial(0, 1, committed, tail, (), 0.0, 1.0)


def final(text: str) -> Final:
    return Final(0, text, (), 0.0, 1.0, 1.0, "end")


def test_a_terminal_sees_partials_then_the_final() -> None:
    out = Terminal()
    caption = LiveCaption(out)
    caption.show(partial("turn on", "the"))
    caption.show(final("turn on the lamp"))
    assert out.getvalue() == (f"{CLEAR_LINE}turn on{DIM} the{RESET}{CLEAR_LINE}turn on the lamp\n")


def test_elsewhere_only_finals_are_printed() -> None:
    out = io.StringIO()
    caption = LiveCaption(out)
    caption.show(partial("turn on", "the"))
    caption.show(Gap(0.5, 0.1))
    caption.show(final("turn on the lamp"))
    caption.show(Closed(16_000, 1))
    assert out.getvalue() == "[0.10 s of audio were lost]\nturn on the lamp\n"


def test_closing_clears_an_unfinished_line() -> None:
    out = Terminal()
    caption = LiveCaption(out)
    caption.show(partial("", "tur"))
    caption.show(Closed(16_000, 0))
    assert out.getvalue().endswith(f"{CLEAR_LINE}\n")


def test_control_characters_never_reach_the_terminal() -> None:
    out = Terminal()
    LiveCaption(out).show(final("a\x1b[2Jb\r\nc"))
    assert out.getvalue() == "a [2Jb  c\n"


@given(st.text("ab ü漢", max_size=50), st.text("ab ü漢", max_size=50), st.integers(1, 60))
def test_the_newest_words_fit(committed: str, tail: str, columns: int) -> None:
    shown_committed, shown_tail = fitted(committed, tail, columns)
    shown = shown_committed + shown_tail
    width = sum(2 if c == "漢" else 1 for c in shown)
    assert width <= columns
    assert (committed + tail).replace(" ", "").endswith(shown.replace(" ", ""))
    if sum(2 if c == "漢" else 1 for c in committed + " " + tail) <= columns:
        assert shown.replace(" ", "") == (committed + tail).replace(" ", "")
