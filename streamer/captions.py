"""Captions: finals to cues that people can read, and to the text of caption files.

Owns the layout (lines, reading speed, times) and the formats' escaping: WebVTT, SubRip (SRT), plain
text, JSON lines. Must not know: where the text is written, or partials: a caption file holds what
stands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from streamer.messages import Final, Word, encode

LINE_LENGTH = 42  # characters that a reader takes in at a glance, as broadcasters count
LINES = 2
CHARACTERS_PER_S = 17  # that people read
MIN_CUE_MS, MAX_CUE_MS = 1_000, 7_000  # on the screen, where the speech allows it
PAUSE_MS = 1_500  # between two words; they are not in one cue
HOLD_MS = 500  # that a cue may stay behind its utterance, whose pause is longer
SHORTEST_MS = 1  # players refuse a cue that ends when it begins

CaptionFormat = Literal["vtt", "srt", "txt", "jsonl"]


@dataclass(frozen=True, slots=True)
class Cue:
    """One block of text on the screen, with its times in milliseconds of audio."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(final: Final) -> Iterator[Cue]:
    """Cut an utterance into cues of at most 2 lines × 42 characters, timed by its words.

    Cues are about equally long, and so are their lines; none spans a pause of PAUSE_MS, and more
    than MAX_CUE_MS only within a word. A cue stays until it can be read, at 17 characters a second,
    or the next one comes; the last for at most HOLD_MS into the silence behind the utterance. A
    word longer than a line is cut, and its pieces share its time. A final without words gives none.
    """
    words = [piece for word in final.shown_words for piece in _pieces(word)]
    blocks = [block for run in _runs(words) for block in _even(run)]
    starts_ms = [_ms(block[0].start) for block in blocks]
    hold_ms = HOLD_MS if final.reason in ("endpoint", "end") else 0
    limits_ms = [*starts_ms[1:], _ms(words[-1].end) + hold_ms] if words else []
    for block, start_ms, limit_ms in zip(blocks, starts_ms, limits_ms, strict=True):
        lines = _lines([word.word for word in block])
        assert lines is not None, block
        reading_ms = max(MIN_CUE_MS, sum(map(len, lines)) * 1000 // CHARACTERS_PER_S)
        read_ms = min(start_ms + reading_ms, limit_ms)
        yield Cue(start_ms, max(_ms(block[-1].end), read_ms, start_ms + SHORTEST_MS), lines)


def _ms(time_s: float) -> int:
    return round(time_s * 1000)


def _pieces(word: Word) -> Iterator[Word]:
    """The word, or its pieces of a line each, one after another in its time."""
    whole = " ".join(word.word.split())  # no line ends of a vocabulary's own
    texts = [whole[at : at + LINE_LENGTH] for at in range(0, len(whole), LINE_LENGTH)]
    each_s = (word.end - word.start) / max(len(texts), 1)
    for number, text in enumerate(texts):
        start = word.start + number * each_s
        yield Word(text, start, start + each_s, word.confidence)


def _runs(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words without a pause between them."""
    run = list(words[:1])
    for before, word in pairwise(words):
        if _ms(word.start) - _ms(before.end) >= PAUSE_MS:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _even(run: Sequence[Word]) -> list[list[Word]]:
    """As few blocks as a run needs, and none longer than it must be for that."""
    widest = LINES * LINE_LENGTH + 1
    fewest = len(_filled(run, widest))
    least = sum(len(word.word) for word in run) // fewest
    tried = (_filled(run, capacity) for capacity in range(least, widest + 1))
    return next(blocks for blocks in tried if len(blocks) == fewest)


def _filled(run: Sequence[Word], capacity: int) -> list[list[Word]]:
    """Blocks of as many words as `capacity` characters, the lines and the time have room for."""
    blocks: list[list[Word]] = []
    for word in run:
        block = [*blocks[-1], word] if blocks else [word]
        texts = [each.word for each in block]
        fits = len(" ".join(texts)) <= capacity and _lines(texts) is not None
        if blocks and fits and _ms(word.end) - _ms(block[0].start) <= MAX_CUE_MS:
            blocks[-1] = block
        else:
            blocks.append([word])
    return blocks


def _lines(texts: Sequence[str]) -> tuple[str, ...] | None:
    """One line if it fits, else two of about the same length, None if they do not fit."""
    whole = " ".join(texts)
    if len(whole) <= LINE_LENGTH:
        return (whole,)
    splits = [(" ".join(texts[:at]), " ".join(texts[at:])) for at in range(1, len(texts))]
    best = min(splits, key=lambda pair: max(map(len, pair)))
    return best if max(map(len, best)) <= LINE_LENGTH else None


class CaptionWriter:
    """Turns finals, as they come, into the text of one caption file.

    `header()` first, then `add(final)` or, piece by piece, `records(final)` for each final; the
    pieces joined are the file, and it is valid behind every piece. Cues never overlap: one that
    would begin before its predecessor's end begins at that end.
    """

    def __init__(self, kind: CaptionFormat) -> None:
        self._kind = kind
        self._count = 0  # cues written
        self._until_ms = 0  # end of the last cue

    def header(self) -> str:
        """Text before the first cue."""
        return "WEBVTT\n\n" if self._kind == "vtt" else ""

    def add(self, final: Final) -> str:
        """The cues of one final, or its line."""
        return "".join(self.records(final))

    def records(self, final: Final) -> Iterator[str]:
        """The same in pieces: cues, or lines."""
        if self._kind == "jsonl":
            yield encode(final) + "\n"
        elif self._kind == "txt":
            yield f"{final.shown}\n" if final.shown else ""
        else:
            yield from (self._cue(cue) for cue in cues(final))

    def _cue(self, cue: Cue) -> str:
        start_ms = max(cue.start_ms, self._until_ms)
        self._until_ms = max(cue.end_ms, start_ms + SHORTEST_MS)
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
