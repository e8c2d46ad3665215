"""Live captions in a terminal: what stands is bright, what may still change is dim.

Owns the block at the bottom that is redrawn in place: the utterance in progress, of each channel
where they are heard apart, and below it a level meter. What is final scrolls away above it. Off a
terminal only what stands is printed, as plain lines. Must not know: audio, sessions, devices.
"""

import shutil
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from streamer.captions import speaker
from streamer.messages import Closed, Event, Final, Gap, Keyword, Partial

BRIGHT, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
CLEAR, UP = "\r\x1b[J", "\x1b[{}A"  # clears the line and all below it
LINES = 3  # of an utterance in progress; its newest words are shown
METER_COLUMNS = 20
QUIETEST_DB = -60.0

Word = tuple[str, str]  # text and style


class LiveCaption:
    """Shows events as they come; without `partials`, or off a terminal, what stands only.

    `meter` and `note` say something about the sound; a meter needs a terminal.
    """

    def __init__(self, out: TextIO, *, partials: bool = True) -> None:
        self._out = out
        self._live = partials and out.isatty()
        self._words: dict[int, list[Word]] = {}  # of the utterance in progress, in each channel
        self._status = ""
        self._drawn_lines = 0  # of the block

    def show(self, event: Event) -> None:
        """Redraw the block for a partial, end it with a final; lost audio gets its own line."""
        match event:
            case Partial() if self._live:
                bright = (speaker(event.channel) + _printable(event.committed)).split()
                words = [(word, BRIGHT) for word in bright]
                words += [(word, DIM) for word in _printable(event.tail).split()]
                self._words[event.channel or 0] = words
                self._redraw()
            case Final() if event.shown:
                self._words.pop(event.channel or 0, None)
                self.note(speaker(event.channel) + event.shown)
            case Keyword(keyword=keyword, end=end):
                self.note(f"{speaker(event.channel)}[{keyword} at {end:.2f} s]")
            case Gap(duration=duration):
                self.note(f"{speaker(event.channel)}[{duration:.2f} s of audio were lost]")
            case Closed():
                self._words, self._status = {}, ""
                self._redraw()

    def note(self, text: str) -> None:
        """A line of its own, above the block."""
        self._redraw(f"{_printable(text)}\n")

    def meter(self, level_db: float, text: str) -> None:
        """The level of the sound, in dB below the loudest, and a text; on a terminal only."""
        share = 1 - min(max(level_db / QUIETEST_DB, 0.0), 1.0)
        bar = "|" * round(share * METER_COLUMNS)
        self.status(f"[{bar:{METER_COLUMNS}}] {max(level_db, QUIETEST_DB):3.0f} dB  {text}")

    def status(self, text: str) -> None:
        """The line below the captions; on a terminal only."""
        if self._live:
            self._status = _printable(text)
            self._redraw()

    def _redraw(self, above: str = "") -> None:
        """Write whole lines, and the block anew below them, in one piece."""
        erased = ""
        if self._drawn_lines:
            erased = (UP.format(self._drawn_lines - 1) if self._drawn_lines > 1 else "") + CLEAR
        block = self._block() if self._live else []
        self._drawn_lines = len(block)
        if text := erased + above + "\n".join(block):
            self._out.write(text)
            self._out.flush()

    def _block(self) -> list[str]:
        columns = shutil.get_terminal_size().columns - 1  # the last one would wrap
        said = [wrapped(words, columns)[-LINES:] for _, words in sorted(self._words.items())]
        lines = [_styled(line) for channel in said for line in channel]
        status = [f"{DIM}{_end(self._status, columns)}{RESET}"] if self._status else []
        return lines + status


def wrapped(words: Sequence[Word], columns: int) -> list[list[Word]]:
    """Lines of words with a space between them; of a word wider than a line, its end."""
    lines: list[list[Word]] = []
    room = 0
    for text, style in words:
        word = (_end(text, columns), style)
        needed = _width(word[0]) + 1
        if lines and needed <= room:
            lines[-1].append(word)
            room -= needed
        else:
            lines.append([word])
            room = columns - needed + 1
    return lines


def _styled(line: Sequence[Word]) -> str:
    """The line with one change of style at most between its words."""
    parts = [
        f"{style}{' '.join(text for text, _ in words)}{RESET}"
        for style, words in groupby(line, key=itemgetter(1))
    ]
    return " ".join(parts)


def _end(text: str, columns: int) -> str:
    """The end of the text, as much as fits."""
    first, width = len(text), 0
    while first > 0 and width + _width(text[first - 1]) <= columns:
        first -= 1
        width += _width(text[first])
    return text[first:]


def _width(text: str) -> int:
    """Columns: none for combining marks, two for wide East Asian characters."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def _printable(text: str) -> str:
    """A vocabulary is other people's text: no control character of it reaches the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
