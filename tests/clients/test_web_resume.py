"""The microphone page when the server goes, the connection is cut, or nobody answers."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from streamer.config import ServerConfig
from streamer.edges.websocket import wire as wire_module
from tests.browser import BrowserModel, browser_page, spoken
from tests.chaos import Wire
from tests.serving import in_loop, service
from tests.web_pages import downloaded, start_listening

TEXTS = ["turn on the lamp", "close the door", "and then tell me the time", "good night"]
OUTBOX = Path(__file__).parents[2] / "clients" / "web" / "outbox.js"

NOTE_CLOSE_CODES = """
    const close = WebSocket.prototype.close;
    globalThis.closeCodes = [];
    WebSocket.prototype.close = function (code) {
        closeCodes.push(code);
        close.call(this, code);
    };
"""


async def listen(page: Page, port: int) -> None:
    await page.goto(f"http://127.0.0.1:{port}/")
    await start_listening(page)


async def lines(page: Page) -> list[dict]:
    kept: list[dict] = json.loads(await downloaded(page, "JSON"))["lines"]
    starts = [line["start"] for line in kept]
    assert starts == sorted(starts)
    return kept


def words(kept: list[dict]) -> list[str]:
    assert [line for line in kept if line["kind"] == "gap"] == []
    return " ".join(line["text"] for line in kept).split()


@in_loop
async def test_a_server_that_ends_and_is_away_for_five_seconds_costs_no_word(
    tmp_path: Path,
) -> None:
    """It lets speakers finish what they say; the next one knows nothing."""
    async with browser_page(tmp_path, spoken(*TEXTS)) as page:
        async with service(model=BrowserModel(slots=4)) as running:
            port = running.server.port
            await listen(page, port)
            await see_that_it_is_heard(page)
        await is_away(page)
        async with service(ServerConfig(port=port), model=BrowserModel(slots=4)):
            await see_that_nothing_is_missing(page)


@in_loop
async def test_a_server_that_vanishes_for_five_seconds_costs_no_word(tmp_path: Path) -> None:
    """Nothing that it may still say arrives, as when its machine is switched off."""
    async with browser_page(tmp_path, spoken(*TEXTS)) as page, AsyncExitStack() as first:
        running = await first.enter_async_context(service(model=BrowserModel(slots=4)))
        port = running.server.port
        async with Wire(port) as wire:
            await listen(page, wire.port)
            await see_that_it_is_heard(page)
            wire.open.clear()
            wire.cut()
            await first.aclose()
            await is_away(page)
            async with service(ServerConfig(port=port), model=BrowserModel(slots=4)):
                wire.open.set()
                await see_that_nothing_is_missing(page)


async def see_that_it_is_heard(page: Page) -> None:
    await shown(page, "close")


async def shown(page: Page, text: str) -> None:
    """As soon as it is there, in the utterance in progress or, if that is over, in a line."""
    there = "text => document.querySelector('main').textContent.includes(text)"
    await page.wait_for_function(there, arg=text)


async def is_away(page: Page) -> None:
    await expect(page.locator("#state")).to_contain_text("No connection")
    await asyncio.sleep(5)


async def see_that_nothing_is_missing(page: Page) -> None:
    await expect(page.locator("#state")).to_have_text("Listening")
    await expect(page.locator("#transcript")).to_contain_text("night")
    assert words(await lines(page)) == " ".join(TEXTS).split()


@in_loop
async def test_connections_that_are_cut_in_mid_speech_cost_nothing(tmp_path: Path) -> None:
    async with (
        service(model=BrowserModel(slots=4)) as running,
        Wire(running.server.port) as wire,
        browser_page(tmp_path, spoken(*TEXTS)) as page,
    ):
        await listen(page, wire.port)
        audience = await page.locator("#audience").get_attribute("href")
        for seen in ("turn", "close", "and then", "tell me"):
            await shown(page, seen)
            wire.cut()
        await expect(page.locator("#lines .speech")).to_have_count(len(TEXTS))
        kept = await lines(page)
        assert words(kept) == " ".join(TEXTS).split()
        assert [line["text"] for line in kept] == TEXTS
        assert running.engine.open_sessions == 1  # the one it began with
        assert await page.locator("#audience").get_attribute("href") == audience
        await page.get_by_role("button", name="Stop listening").click()
        await expect(page.locator("#state")).to_have_text("Not listening")
    assert wire.cuts == 4


@in_loop
async def test_the_last_words_are_heard_although_the_connection_is_lost(tmp_path: Path) -> None:
    async with (
        service(model=BrowserModel(slots=4)) as running,
        Wire(running.server.port) as wire,
        browser_page(tmp_path, spoken("turn on the lamp")) as page,
    ):
        await listen(page, wire.port)
        await shown(page, "turn on")
        wire.open.clear()
        await page.get_by_role("button", name="Stop listening").click()
        await expect(page.locator("#state")).to_have_text("Finishing…")
        wire.cut()
        wire.open.set()
        await expect(page.locator("#state")).to_have_text("Not listening")
        assert words(await lines(page))[:2] == ["turn", "on"]
        assert await page.locator("#live .committed").inner_text() == ""


@in_loop
async def test_a_server_that_falls_silent_is_given_up_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "GONE_AFTER_S", 600.0)  # the page is the first to give up
    async with (
        service(model=BrowserModel(slots=4)) as running,
        Wire(running.server.port) as wire,
        browser_page(tmp_path, spoken(*TEXTS)) as page,
    ):
        await page.add_init_script(NOTE_CLOSE_CODES)
        await listen(page, wire.port)
        audience = await page.locator("#audience").get_attribute("href")
        await shown(page, "turn")
        wire.open.clear()
        await expect(page.locator("#state")).not_to_have_text("Listening")  # why, may pass quickly
        wire.open.set()  # and all that the page has said arrives: no goodbye, it would end all
        await expect(page.locator("#lines .speech")).to_have_count(len(TEXTS))
        assert words(await lines(page)) == " ".join(TEXTS).split()
        assert await page.locator("#audience").get_attribute("href") == audience
        assert set(await page.evaluate("closeCodes")) == {4408}


@in_loop
async def test_a_session_that_may_not_last_longer_is_followed_by_another(tmp_path: Path) -> None:
    """A word that begins just then may be heard in two halves, so not all of them are compared."""
    async with (
        service(ServerConfig(port=0, max_session_s=8), model=BrowserModel(slots=4)) as running,
        browser_page(tmp_path, spoken(*TEXTS)) as page,
    ):
        await listen(page, running.server.port)
        audience = await page.locator("#audience").get_attribute("href")
        await expect(page.locator("#lines")).to_contain_text("ght")
        assert len(words(await lines(page))) >= len(" ".join(TEXTS).split())
        assert await page.locator("#audience").get_attribute("href") != audience


@in_loop
async def test_what_could_not_be_kept_is_said(tmp_path: Path) -> None:
    """A page that keeps 2 s, and a server that is away for longer."""

    async def keep_less(route: Route) -> None:
        body = OUTBOX.read_text(encoding="utf-8").replace("MAX_KEPT_S = 60", "MAX_KEPT_S = 2")
        await route.fulfill(body=body, content_type="text/javascript")

    async with browser_page(tmp_path, spoken(*TEXTS, *TEXTS)) as page:
        await page.route("**/web/outbox.js", keep_less)
        async with service(model=BrowserModel(slots=4)) as running:
            port = running.server.port
            await listen(page, port)
            await shown(page, "lamp")
        await expect(page.locator("#state")).to_contain_text("No connection")
        await asyncio.sleep(4)
        async with service(ServerConfig(port=port), model=BrowserModel(slots=4)):
            await expect(page.locator("#lines .gap")).to_contain_text("s of audio were lost")
            await expect(page.locator("#lines .gap ~ .speech")).not_to_have_count(0)
        gaps = [line for line in await lines(page) if line["kind"] == "gap"]
    assert len(gaps) == 1
    assert gaps[0]["end"] - gaps[0]["start"] > 1
