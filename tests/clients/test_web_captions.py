"""The pages for an audience, in a real browser: captions, overlay, and how they find a server."""

from pathlib import Path

from playwright.async_api import expect
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.config import ServerConfig
from streamer.core.context import Context
from streamer.core.stream import Labels
from tests.browser import BrowserModel, browser_page, spoken
from tests.engine.harness import play
from tests.fakes import BLANK, DELIMITER, LABELS, FakeModel, speak
from tests.serving import in_loop, pcm, said, service
from tests.web_pages import home, photograph, start_listening, stop_listening

START, STOP, FLUSH = m.encode(m.Start()), m.encode(m.Stop()), m.encode(m.Flush())
LOOKAHEAD = Context(left=0, chunk=16, right=16)
EVIL = "<img src=/ onerror=\"document.title='taken'\">"
EVIL_LABELS = Labels(
    tuple(EVIL if token == "x" else token for token in LABELS.tokens), BLANK, DELIMITER
)


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
        fading = "getComputedStyle(document.getElementById('live')).transitionDuration"
        for wish, seconds in (("reduce", "0s"), ("no-preference", "0.6s")):
            await page.emulate_media(reduced_motion=wish)
            assert await page.evaluate(fading) == seconds
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
        await photograph(page, "captions-overlay.png", 900, 300, "in the", "#385060")
        await socket.send(pcm(speak(" it goes on")))
        await expect(live).to_contain_text("it goes")
        assert "what was said" not in await live.inner_text()
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
