"""The microphone page in a real browser that hears a file; the server runs the fake model."""

import asyncio
import difflib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.async_api import expect

from clients.demo import CLIP, SPOKEN
from streamer import messages as m
from streamer.captions import CaptionWriter
from streamer.config import ModelConfig
from streamer.core.context import Context
from tests.browser import BrowserModel, browser_page, spoken
from tests.fakes import silence
from tests.serving import in_loop, service
from tests.web_pages import (
    LOUD,
    WRITTEN,
    downloaded,
    home,
    photograph,
    start_listening,
    stop_listening,
)

LOOKAHEAD = Context(left=0, chunk=16, right=16)


@in_loop
async def test_words_of_the_microphone_are_in_the_page_and_in_its_files(tmp_path: Path) -> None:
    texts = ["turn on the lamp", "and then tell me when the train to the city will leave"]
    model = BrowserModel(LOOKAHEAD, slots=4)
    async with service(model=model) as running, browser_page(tmp_path, spoken(*texts)) as page:
        await page.goto(home(running))
        await start_listening(page)
        await asyncio.gather(
            page.locator("#level").evaluate(LOUD),
            page.locator("#live .tail").evaluate(WRITTEN),
            page.locator("#live .committed").evaluate(WRITTEN),
        )
        await expect(page.locator("#latency")).to_contain_text(" ms")
        assert await page.locator("#device option").count() > 1
        lines_said = page.locator("#lines .speech span")
        await expect(lines_said).to_have_text(texts)
        await stop_listening(page)
        assert running.engine.open_sessions == 0

        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#note")).to_have_text("Copied.")
        text = await downloaded(page, "TXT")
        assert await page.evaluate("navigator.clipboard.readText()") == text
        assert [line.split("] ")[1] for line in text.splitlines()] == texts
        lines = json.loads(await downloaded(page, "JSON"))["lines"]
        finals = [final_of(line) for line in lines]
        assert [final.text for final in finals] == texts
        assert finals[0].end < finals[1].start
        for kind in ("srt", "vtt"):  # as our own files of the same finals
            writer = CaptionWriter("srt" if kind == "srt" else "vtt")
            expected = writer.header() + "".join(writer.add(final) for final in finals)
            assert await downloaded(page, kind.upper()) == expected


@pytest.mark.usefixtures("one_thread")
@in_loop
async def test_the_model_that_ships_hears_the_browser(tmp_path: Path) -> None:
    from streamer import api  # loads torch

    speech, rate = soundfile.read(CLIP, dtype="float32")
    assert rate == 16_000
    heard = np.concatenate([silence(1.0), speech, silence(2.0)])
    model = api.build_model(ModelConfig(device="cpu"), slots=2)
    async with (
        service(model=model, slots=2, name="tiny-en") as running,
        browser_page(tmp_path, heard) as page,
    ):
        await page.goto(home(running))
        await start_listening(page)
        await photograph(page, "captions-page.png", 900, 560, "lamp")
        await expect(page.locator("#lines .speech")).not_to_have_count(0)
        await stop_listening(page)
        words = " ".join(await page.locator("#lines .speech span").all_inner_texts()).split()
    alike = difflib.SequenceMatcher(None, words, SPOKEN.split(), autojunk=False).ratio()
    assert alike > 0.8, words


def final_of(line: dict) -> m.Final:
    words = tuple(m.Word(**word) for word in line["words"])
    start, end, reason = line["start"], line["end"], line["reason"]
    return m.Final(0, line["text"], words, start, end, line["confidence"], reason)


@in_loop
async def test_a_reload_keeps_the_transcript_and_its_clock(tmp_path: Path) -> None:
    model = BrowserModel(slots=4)
    async with service(model=model) as running, browser_page(tmp_path, spoken("one")) as page:
        await page.goto(home(running))
        await start_listening(page)
        await expect(page.locator("#lines li")).to_have_count(1)
        before = float((await downloaded(page, "JSON")).split('"end": ')[1].split(",")[0])
        await page.reload()
        await expect(page.locator("#lines .speech span")).to_have_text(["one"])
        await start_listening(page)  # the file plays again
        await expect(page.locator("#lines .speech span")).to_have_text(["one", "one"])
        lines = json.loads(await downloaded(page, "JSON"))["lines"]
        assert lines[1]["start"] > before


@in_loop
async def test_a_microphone_that_is_not_allowed_is_said(tmp_path: Path) -> None:
    async with (
        service() as running,
        browser_page(tmp_path, spoken("one"), allowed=False) as page,
    ):
        await page.goto(home(running))
        await page.get_by_role("button", name="Start listening").click()
        await expect(page.get_by_role("alert")).to_contain_text("not allowed")
        await expect(page.get_by_role("button", name="Start listening")).to_be_visible()
        assert running.engine.open_sessions == 0


@in_loop
async def test_keyboard_screen_reader_and_dark(tmp_path: Path) -> None:
    model = BrowserModel(slots=4)
    async with service(model=model) as running, browser_page(tmp_path, spoken("one")) as page:
        await page.emulate_media(color_scheme="light")
        await page.goto(home(running))
        await expect(page.get_by_role("status").first).to_have_text("Not listening")
        await expect(page.get_by_role("combobox", name="Microphone")).to_be_visible()
        await expect(page.get_by_role("meter", name="Level")).to_be_visible()
        for _ in range(2):  # past the theme
            await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Start listening")).to_be_focused()
        await page.keyboard.press("Space")
        log = page.get_by_role("log", name="Transcript")
        await expect(log).to_have_attribute("aria-live", "polite")
        await expect(log).to_contain_text("one")
        await expect(page.locator("#live")).to_have_attribute("aria-live", "off")

        paper = "getComputedStyle(document.documentElement).backgroundColor"
        light = await page.evaluate(paper)
        await page.emulate_media(color_scheme="dark")
        dark = await page.evaluate(paper)
        await page.get_by_role("button", name="Theme: auto").click()
        assert (await page.evaluate(paper), light != dark) == (light, True)
        await page.reload()  # what was chosen stays
        await page.get_by_role("button", name="Theme: light").click()
        assert await page.evaluate(paper) == dark
