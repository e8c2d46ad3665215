"""Captions: finals to cues that people can read, and to the text of caption files.

Owns the layout (lines, reading speed, times) and the formats' escaping: WebVTT, SubRip (SRT), plain
text, JSON lines. `clients/web/cues.js` has the same layout, and a test compares the two. Must not
know: where the text is written, or partials: a caption file holds what stands.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from math import floor, inf
from typing import Literal

from streamer.messages import Final, Word, encode

LINE_LENGTH = 42  # characters that a reader takes in at a glance, as broadcasters count
LINES = 2
CHARACTERS_PER_S = 17  # that people read
MIN_CUE_MS, MAX_CUE_MS = 1_000, 7_000  # on the screen, where the speech allows it
PAUSE_MS = 1_500  # between two words; they are not in one cue
HOLD_MS = 500  # that a cue may stay behind its utterance, whose pause is longer
SHORTEST_MS = 1  # players refuse a cue that ends when it begins
# Of several channels: an utterance is at most 20 s long, and decoding has one at most 10 s ahead.
HELD_MS = 40_000

CaptionFormat = Literal["vtt", "srt", "txt", "jsonl"]


@dataclass(frozen=True, slots=True)
class Cue:
    """One block of text on the screen, with its times in milliseconds of audio."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    channel: int | None = None


def speaker(channel: int | None) -> str:
    """What stands before the text of a channel, from 1 as people count; nothing if there is one."""
    return "" if channel is None else f"Channel {channel + 1}: "


def cues(final: Final, indent: int = 0) -> Iterator[Cue]:
    """Cut an utterance into cues of at most 2 lines × 42 characters, timed by its words.

    Cues are about equally long, and so are their lines; none spans a pause of PAUSE_MS, and more
    than MAX_CUE_MS only within a word. A cue stays until it can be read, at 17 characters a second,
    or the next one comes; the last for at most HOLD_MS into the silence behind the utterance. A
    word longer than a line is cut, and its pieces share its time. A final without words gives none.
    The first line leaves room for `indent` characters.
    """
    words = [piece for word in final.shown_words for piece in _pieces(word, LINE_LENGTH - indent)]
    blocks = [block for run in _runs(words) for block in _even(run, indent)]
    starts_ms = [_ms(block[0].start) for block in blocks]
    hold_ms = HOLD_MS if final.reason in ("endpoint", "end") else 0
    limits_ms = [*starts_ms[1:], _ms(words[-1].end) + hold_ms] if words else []
    for block, start_ms, limit_ms in zip(blocks, starts_ms, limits_ms, strict=True):
        lines = _lines([word.word for word in block], indent)
        assert lines is not None, block
        reading_ms = max(MIN_CUE_MS, sum(map(len, lines)) * 1000 // CHARACTERS_PER_S)
        read_ms = min(start_ms + reading_ms, limit_ms)
        end_ms = max(_ms(block[-1].end), read_ms, start_ms + SHORTEST_MS)
        yield Cue(start_ms, end_ms, lines, final.channel)


def _ms(time_s: float) -> int:
    return floor(time_s * 1000 + 0.5)  # halves up, as other languages round


def _pieces(word: Word, width: int) -> Iterator[Word]:
    """The word, or its pieces of `width` characters, one after another in its time."""
    whole = " ".join(word.word.split())  # no line ends of a vocabulary's own
    texts = [whole[at : at + width] for at in range(0, len(whole), width)]
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


def _even(run: Sequence[Word], indent: int) -> list[list[Word]]:
    """As few blocks as a run needs, and none longer than it must be for that."""
    widest = LINES * LINE_LENGTH + 1
    fewest = len(_filled(run, widest, indent))
    least = sum(len(word.word) for word in run) // fewest
    tried = (_filled(run, capacity, indent) for capacity in range(least, widest + 1))
    return next(blocks for blocks in tried if len(blocks) == fewest)


def _filled(run: Sequence[Word], capacity: int, indent: int) -> list[list[Word]]:
    """Blocks of as many words as `capacity` characters, the lines and the time have room for."""
    blocks: list[list[Word]] = []
    for word in run:
        block = [*blocks[-1], word] if blocks else [word]
        texts = [each.word for each in block]
        fits = indent + len(" ".join(texts)) <= capacity and _lines(texts, indent) is not None
        if blocks and fits and _ms(word.end) - _ms(block[0].start) <= MAX_CUE_MS:
            blocks[-1] = block
        else:
            blocks.append([word])
    return blocks


def _lines(texts: Sequence[str], indent: int) -> tuple[str, ...] | None:
    """One line if it fits, else two of about the same length, None if they do not fit."""
    whole = " ".join(texts)
    if indent + len(whole) <= LINE_LENGTH:
        return (whole,)
    splits = [(" ".join(texts[:at]), " ".join(texts[at:])) for at in range(1, len(texts))]
    widths = [max(indent + len(first), len(second)) for first, second in splits]
    return splits[widths.index(min(widths))] if min(widths) <= LINE_LENGTH else None


class CaptionWriter:
    """Turns finals, as they come, into the text of one caption file.

    `header()` first, then `add(final)` or, piece by piece, `records(final)` for each final, and
    `rest()`; the pieces joined are the file, and it is valid behind every piece. Cues never
    overlap: one that would begin before its predecessor's end begins at that end.

    Channels that are heard apart speak at once: that holds within each, cues say whose they are,
    and all are in the order of their beginning. For that, what begins less than HELD_MS before the
    end of the newest final waits for what may come before it.
    """

    def __init__(self, kind: CaptionFormat) -> None:
        self._kind = kind
        self._count = 0  # cues written
        self._until_ms: dict[int | None, int] = {}  # end of each channel's last cue
        self._latest_ms = 0  # start of the last cue
        self._held: list[tuple[int, int, Cue | Final]] = []  # a heap by start, then by arrival
        self._arrived = 0

    def header(self) -> str:
        """Text before the first cue."""
        return "WEBVTT\n\n" if self._kind == "vtt" else ""

    def add(self, final: Final) -> str:
        """The cues of one final, or its line."""
        return "".join(self.records(final))

    def records(self, final: Final) -> Iterator[str]:
        """The same in pieces: cues, or lines."""
        for piece in self._cut(final):
            start_ms = piece.start_ms if isinstance(piece, Cue) else _ms(piece.start)
            heappush(self._held, (start_ms, self._arrived, piece))
            self._arrived += 1
        yield from self._released(inf if final.channel is None else _ms(final.end) - HELD_MS)

    def rest(self) -> Iterator[str]:
        """What is held back; nothing comes afterwards."""
        return self._released(inf)

    def _cut(self, final: Final) -> Iterable[Cue | Final]:
        if self._kind == "vtt":
            return cues(final)
        return cues(final, len(speaker(final.channel))) if self._kind == "srt" else (final,)

    def _released(self, before_ms: float) -> Iterator[str]:
        while self._held and self._held[0][0] < before_ms:
            _, _, piece = heappop(self._held)
            if isinstance(piece, Cue):
                yield self._cue(piece)
            elif self._kind == "jsonl":
                yield encode(piece) + "\n"
            else:
                yield f"{speaker(piece.channel)}{piece.shown}\n" if piece.shown else ""

    def _cue(self, cue: Cue) -> str:
        start_ms = max(cue.start_ms, self._until_ms.get(cue.channel, 0), self._latest_ms)
        end_ms = max(cue.end_ms, start_ms + SHORTEST_MS)
        self._until_ms[cue.channel], self._latest_ms = end_ms, start_ms
        self._count += 1
        number = f"{self._count}\n" if self._kind == "srt" else ""
        times = f"{self._time(start_ms)} --> {self._time(end_ms)}"
        lines = "\n".join(self._escaped(line) for line in cue.lines)
        return f"{number}{times}\n{self._voice(cue.channel)}{lines}\n\n"

    def _voice(self, channel: int | None) -> str:
        if channel is None or self._kind == "srt":
            return speaker(channel)
        return f"<v {speaker(channel).removesuffix(': ')}>"

    def _time(self, time_ms: int) -> str:
        seconds, ms = divmod(time_ms, 1000)
        mark = "," if self._kind == "srt" else "."
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{ms:03}"

    def _escaped(self, line: str) -> str:
        if self._kind == "vtt":
            return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        # SRT has no escapes: what players would take for a tag or for times gets other brackets.
        return line.replace("<", "‹").replace(">", "›")
