"""Live captions in a terminal: what stands is bright, what may still change is dim.

Owns the one line that is redrawn in place. Off a terminal it prints finals only, as plain lines.
Must not know: audio, sessions, devices.
"""

import shutil
import unicodedata
from typing import TextIO

from streamer.messages import Closed, Event, Final, Gap, Keyword, Partial

DIM, RESET, CLEAR_LINE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class LiveCaption:
    """Shows events as they come; without `partials`, or off a terminal, what stands only.

    A partial longer than the line shows its newest words.
    """

    def __init__(self, out: TextIO, *, partials: bool = True) -> None:
        self._out = out
        self._live = partials and out.isatty()
        self._drawn = False  # a partial stands on the current line

    def show(self, event: Event) -> None:
        """Redraw the line for a partial, end it with a final; lost audio gets a line of its own."""
        match event:
            case Partial() if self._live:
                columns = shutil.get_terminal_size().columns - 1  # the last one would wrap
                committed, tail = _printable(event.committed), _printable(event.tail)
                committed, tail = fitted(committed, tail, columns)
                self._out.write(f"{CLEAR_LINE}{committed}{DIM}{tail}{RESET}")
                self._out.flush()
                self._drawn = True
            case Final() if event.shown:
                self._write_line(_printable(event.shown))
            case Keyword(keyword=keyword, end=end):
                self._write_line(f"[{_printable(keyword)} at {end:.2f} s]")
            case Gap(duration=duration):
                self._write_line(f"[{duration:.2f} s of audio were lost]")
            case Closed() if self._drawn:
                self._write_line("")

    def _write_line(self, text: str) -> None:
        self._out.write(f"{CLEAR_LINE if self._drawn else ''}{text}\n")
        self._out.flush()
        self._drawn = False


def fitted(committed: str, tail: str, columns: int) -> tuple[str, str]:
    """The end of committed + tail that fits, as the two parts, with a space where they meet."""
    gap = " " if committed and tail and not tail.startswith(" ") else ""
    text, boundary, width = committed + gap + tail, len(committed), 0
    first = len(text)
    while first > 0 and width + _width(text[first - 1]) <= columns:
        first -= 1
        width += _width(text[first])
    return text[first : max(first, boundary)], text[max(first, boundary) :]


def _width(character: str) -> int:
    """Columns of a character: none for combining marks, two for wide East Asian ones."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _printable(text: str) -> str:
    """A vocabulary is other people's text: no control character of it reaches the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
