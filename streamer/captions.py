"""Caption files: finals to SubRip (SRT) and WebVTT cues.

Owns line breaking, cue times and the two formats' escaping. Must not know: where the text is
written, or partials: a caption file holds what stands.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from streamer.messages import Final, Word

LINE_LENGTH = 42  # characters that a reader takes in at a glance, as broadcasters count
LINES = 2
MIN_CUE_MS = 1  # players refuse a cue that ends when it begins

CaptionFormat = Literal["srt", "vtt"]


@dataclass(frozen=True, slots=True)
class Cue:
    """One block of text on the screen, with its times in milliseconds of audio."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(final: Final) -> Iterator[Cue]:
    """Cut an utterance into cues of at most 2 lines × 42 characters, timed by its words.

    A word longer than a line is cut; its pieces share its time. A final without words gives none.
    """
    lines: list[str] = []
    spoken: list[Word] = []  # the words of `lines`
    for word in final.shown_words:
        grown = _broken(" ".join([*(w.word for w in spoken), word.word]))
        if len(grown) > LINES and spoken:
            yield from _cue(spoken, lines)
            spoken, grown = [], _broken(word.word)
        spoken, lines = [*spoken, word], grown
    if spoken:
        yield from _cue(spoken, lines)


def _broken(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_LENGTH, break_on_hyphens=False)


def _cue(words: list[Word], lines: list[str]) -> Iterator[Cue]:
    """One cue, or several after one another for a single endless word."""
    start_ms, end_ms = round(words[0].start * 1000), round(words[-1].end * 1000)
    end_ms = max(end_ms, start_ms + MIN_CUE_MS)
    for at in range(0, len(lines), LINES):
        yield Cue(start_ms, end_ms, tuple(lines[at : at + LINES]))


class CaptionWriter:
    """Turns finals, as they come, into the text of one caption file.

    `header()` first, then `add(final)` for each final; the pieces joined are the file. Cues never
    overlap: one that would begin before its predecessor's end begins at that end.
    """

    def __init__(self, kind: CaptionFormat) -> None:
        self._kind = kind
        self._count = 0  # cues written
        self._until_ms = 0  # end of the last cue

    def header(self) -> str:
        """Text before the first cue."""
        return "WEBVTT\n\n" if self._kind == "vtt" else ""

    def add(self, final: Final) -> str:
        """The cues of one final."""
        return "".join(self._written(cue) for cue in cues(final))

    def _written(self, cue: Cue) -> str:
        start_ms = max(cue.start_ms, self._until_ms)
        self._until_ms = max(cue.end_ms, start_ms + MIN_CUE_MS)
        self._count += 1
        number = f"{self._count}\n" if self._kind == "srt" else ""
        times = f"{self._time(start_ms)} --> {self._time(self._until_ms)}"
        lines = "\n".join(self._escaped(line) for line in cue.lines)
        return f"{number}{times}\n{lines}\n\n"

    def _time(self, time_ms: int) -> str:
        seconds, ms = divmod(time_ms, 1000)
        mark = "," if self._kind == "srt" else "."
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{ms:03}"

    def _escaped(self, line: str) -> str:
        if self._kind == "vtt":
            return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        # SRT has no escapes: what players would take for a tag or for times gets other brackets.
        return line.replace("<", "‹").replace(">", "›")
