"""The web pages in a real browser, whose microphone hears a file; the server runs the fake model.

With STREAMER_SCREENSHOTS=docs in the environment, the pictures in docs/ are taken anew.
"""

import asyncio
import difflib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect

from clients.demo import CLIP, SPOKEN
from streamer import messages as m
from streamer.captions import CaptionWriter
from streamer.config import ModelConfig, ServerConfig
from streamer.core.context import Context
from streamer.core.stream import Labels
from tests.browser import BrowserModel, browser_page, spoken
from tests.engine.harness import play
from tests.fakes import BLANK, DELIMITER, LABELS, FakeModel, silence, speak
from tests.serving import DEADLINE_S, Service, in_loop, pcm, said, service

START, STOP, FLUSH = m.encode(m.Start()), m.encode(m.Stop()), m.encode(m.Flush())
LOOKAHEAD = Context(left=0, chunk=16, right=16)
EVIL = "<img src=/ onerror=\"document.title='taken'\">"
EVIL_LABELS = Labels(
    tuple(EVIL if token == "x" else token for token in LABELS.tokens), BLANK, DELIMITER
)

# Looks at every frame that is drawn: what is waited for may be gone at the next.
LOUD, WRITTEN = (
    f"""seen => new Promise(done => {{
        const look = () => seen.{what} ? done() : requestAnimationFrame(look);
        look();
    }})"""
    for what in ("value > 0.1", "textContent")
)

expect.set_options(timeout=DEADLINE_S * 1000)


def home(running: Service) -> str:
    return f"http://127.0.0.1:{running.server.port}/"


async def start_listening(page: Page) -> None:
    await page.get_by_role("button", name="Start listening").click()
    await expect(page.locator("#state")).to_have_text("Listening")


async def stop_listening(page: Page) -> None:
    await page.get_by_role("button", name="Stop listening").click()
    await expect(page.locator("#state")).to_have_text("Not listening")


async def downloaded(page: Page, name: str) -> str:
    async with page.expect_download() as download:
        await page.get_by_role("button", name=name, exact=True).click()
    file = await download.value
    assert file.suggested_filename == f"transcript.{name.lower()}"
    with open(await file.path(), encoding="utf-8") as text:  # noqa: ASYNC230 (small and local)
        return text.read()


async def photograph(
    page: Page, name: str, width: int, height: int, after: str, behind: str = ""
) -> None:
    folder = os.environ.get("STREAMER_SCREENSHOTS")
    if folder is not None:
        await page.set_viewport_size({"width": width, "height": height})
        await page.evaluate("paper => document.body.style.background = paper", behind)
        await expect(page.locator("#live")).to_contain_text(after)
        await page.locator("#live .tail").evaluate(WRITTEN)
        await page.screenshot(path=Path(folder) / name)


# --- the microphone page --------------------------------------------------------------------------


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


# --- captions for others --------------------------------------------------------------------------


@in_loop
async def test_an_audience_reads_along_and_markup_stays_text(tmp_path: Path) -> None:
    model = BrowserModel(LOOKAHEAD, labels=EVIL_LABELS, slots=4)
    async with service(model=model) as running, browser_page(tmp_path, spoken("x x")) as page:
        await page.goto(home(running))
        await start_listening(page)
        async with page.expect_popup() as opened:
            await page.get_by_role("link", name="Page for an audience").click()
        audience = await opened.value
        overlay = await page.context.new_page()
        await overlay.goto(home(running) + "captions?session=latest&view=overlay")
        text = f"{EVIL} {EVIL}"
        for each in (page, audience):
            await expect(each.locator("#lines .speech span")).to_have_text(text)
        await expect(overlay.locator("#live")).to_have_text(text)
        for each in (page, audience, overlay):
            assert await each.locator("img").count() == 0
            assert "taken" not in await each.title()
        await stop_listening(page)
        await expect(audience.locator("#state")).to_have_text("This session is over.")


@in_loop
async def test_the_overlay_is_transparent_and_shows_the_last_lines_until_they_fade(
    tmp_path: Path,
) -> None:
    async with (
        service(model=FakeModel(LOOKAHEAD, slots=4)) as running,
        browser_page(tmp_path, spoken("one")) as page,
        connect(running.url) as socket,
    ):
        await page.set_viewport_size({"width": 900, "height": 300})
        query = "captions?session=latest&view=overlay&size=40&lines=2&fade=0.5"
        await page.goto(home(running) + query)
        paper = "getComputedStyle(document.documentElement).backgroundColor"
        assert await page.evaluate(paper) == "rgba(0, 0, 0, 0)"
        await socket.send(START)
        await socket.send(pcm(speak("what was said first is not there any more")))
        await socket.send(FLUSH)
        words = "and these are the words that are being said right now in the hall"
        await socket.send(pcm(speak(words)))
        live = page.locator("#live")
        await expect(live).to_contain_text("in the")
        assert await live.evaluate("e => e.getBoundingClientRect().height") == 2 * 1.3 * 40
        assert await live.evaluate("e => getComputedStyle(e).fontSize") == "40px"
        await expect(live.locator(".tail")).not_to_be_empty()
        await expect(live).to_have_class("live faded")
        await socket.send(pcm(speak(" it goes on")))
        await expect(live).to_contain_text("it goes")
        assert "what was said" not in await live.inner_text()
        await photograph(page, "captions-overlay.png", 900, 300, "goes", "#385060")
        await socket.send(STOP)
        await said(socket)


@in_loop
async def test_a_viewer_finds_its_way_back_to_a_server(tmp_path: Path) -> None:
    async with browser_page(tmp_path, spoken("one")) as page:
        port = 0
        for text in ("one", "two"):
            async with service(ServerConfig(port=port)) as running, connect(running.url) as socket:
                if port == 0:
                    await page.goto(home(running) + "captions?session=latest")
                port = running.server.port
                await socket.send(START)
                await expect(page.locator("#state")).to_have_text("Live")
                await socket.send(pcm(speak(text)))
                await socket.send(FLUSH)
                await expect(page.locator("#lines .speech span").last).to_have_text(text)
                if text == "one":  # the other one just goes
                    await socket.send(STOP)
                    await said(socket)
                    await expect(page.locator("#state")).to_have_text(
                        "Waiting for the next session"
                    )
            await expect(page.locator("#state")).to_contain_text("No connection")
        await expect(page.locator("#lines .speech span")).to_have_text(["one", "two"])


@in_loop
async def test_the_page_follows_a_source_of_another_edge(tmp_path: Path) -> None:
    async with service() as running, browser_page(tmp_path, spoken("one")) as page:
        await page.goto(home(running) + "captions?source=hall")
        await expect(page.locator("#state")).to_contain_text("Waiting for a session")
        for text in ("turn on", "the lamp"):
            await play(running.engine.open_session(name="hall"), [speak(text)])
            await expect(page.locator("#lines .speech span").last).to_have_text(text)
        await expect(page.locator("#lines .speech span")).to_have_text(["turn on", "the lamp"])
        await expect(page.locator("#state")).to_have_text("Waiting for the next session")


@in_loop
async def test_a_page_without_captions_says_so(tmp_path: Path) -> None:
    async with service() as running, browser_page(tmp_path, spoken("one")) as page:
        await page.goto(f"{home(running)}captions")
        await expect(page.locator("#state")).to_have_text("No session is named")
        await expect(page.get_by_role("link", name="the microphone page")).to_be_visible()
        await page.goto(f"{home(running)}captions?session=nobody")
        await expect(page.locator("#state")).to_have_text("This session is over.")
        await expect(page.get_by_role("link", name="the microphone page")).to_be_hidden()
