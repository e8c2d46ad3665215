"""The page's caption files are those of the server, from the same finals."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamer import messages as m
from streamer.captions import CaptionFormat, CaptionWriter
from tests.browser import browser_page
from tests.serving import in_loop, service

TALKS = 150
LONGEST_S = 15.0  # utterance, as far as it may be chosen
LETTERS = "abcdéß<&>'-𝔛字"
EXPORT = """async ([talks, kind]) => {
    const { Transcript } = await import("/web/transcript.js");
    const { FORMATS } = await import("/web/formats.js");
    return talks.map(talk => {
        const transcript = new Transcript();
        for (const final of talk) transcript.accept(JSON.parse(final), 0);
        return FORMATS[kind].write(transcript.lines);
    });
}"""


def words(chance: random.Random, start: float) -> tuple[m.Word, ...]:
    """Words of one to a hundred letters, some without time of their own, pauses between some."""
    made: list[m.Word] = []
    for _ in range(chance.randrange(25)):
        if made and start - made[0].start > LONGEST_S:
            break
        text = "".join(chance.choices(LETTERS, k=chance.choice((1, 2, 3, 5, 8, 13, 30, 100))))
        end = start + chance.choice((0.0, 0.0005, chance.uniform(0.05, 3.0)))
        made.append(m.Word(chance.choice((text, f" {text}\n\n{text}")), start, end, 0.5))
        start = end + chance.choice((0.0, 0.0, 0.2, 1.4995, 1.5, 4.0))
    return tuple(made)


def talk(chance: random.Random) -> list[m.Final]:
    """Finals of one source, or of several channels, which speak at once."""
    channels = chance.choice(((None,), (0,), (0, 1), (0, 1, 2)))
    begins = dict.fromkeys(channels, chance.uniform(0, 4000))
    said = []
    for number in range(chance.randrange(6)):
        channel = min(channels, key=begins.__getitem__)  # all are heard at the same pace
        spoken, shown = words(chance, begins[channel]), words(chance, begins[channel])
        end = max(word.end for word in (*spoken, *shown, m.Word("", 0, begins[channel], 0)))
        reason = chance.choice(("endpoint", "end", "length", "flush"))
        final = m.Final(number, "so", spoken, begins[channel], end, 0.5, reason, channel=channel)
        if chance.random() < 0.3:
            final = replace(final, display="So", display_words=shown)
        said.append(final)
        begins[channel] = end + chance.choice((0.0, 0.3, 1.0))
    return said


def written(kind: CaptionFormat, finals: list[str]) -> str:
    """What our own files have of the finals, as they are on the wire."""
    writer = CaptionWriter(kind)
    decoded = [m.decode_server(final) for final in finals]
    records = [writer.add(final) for final in decoded if isinstance(final, m.Final)]
    return "".join([writer.header(), *records, *writer.rest()])


@in_loop
async def test_the_page_and_the_server_lay_out_the_same_cues(tmp_path: Path) -> None:
    chance = random.Random(5)
    talks = [[m.encode(final) for final in talk(chance)] for _ in range(TALKS)]
    silent = np.zeros(16_000, np.float32)
    async with service() as running, browser_page(tmp_path, silent) as page:
        await page.goto(f"http://127.0.0.1:{running.server.port}/")
        srt: list[str] = await page.evaluate(EXPORT, [talks, "srt"])
        vtt: list[str] = await page.evaluate(EXPORT, [talks, "vtt"])
    for finals, one, other in zip(talks, srt, vtt, strict=True):
        assert one == written("srt", finals)
        assert other == written("vtt", finals)
    assert sum(each.count("-->") for each in srt) > 10 * TALKS


LOSE = """async () => {
    const { Transcript } = await import("/web/transcript.js");
    const transcript = new Transcript();
    const words = [{ word: "so", start: 4.08, end: 4.3, confidence: 0.9 }];
    const partial = { type: "partial", committed: "so", tail: "", start: 4.08, end: 4.3, words };
    transcript.accept(partial, 0);
    transcript.lose({ start: 3.9, end: 6.0 });
    return transcript.lines.map(({ kind, start, end }) => [kind, start, end]);
}"""


@in_loop
async def test_what_was_heard_is_not_said_to_be_lost(tmp_path: Path) -> None:
    """Text may be there before its audio is acknowledged, and then the connection is gone."""
    silent = np.zeros(16_000, np.float32)
    async with service() as running, browser_page(tmp_path, silent) as page:
        await page.goto(f"http://127.0.0.1:{running.server.port}/")
        lines = await page.evaluate(LOSE)
    assert lines == [["speech", 4.08, 4.3], ["gap", 4.3, 6.0]]
