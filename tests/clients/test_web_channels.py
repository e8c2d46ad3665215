"""The pages of an audience where a session has several channels: who speaks is told."""

from pathlib import Path

import numpy as np
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect

from streamer import messages as m
from streamer.core.context import Context
from tests.browser import browser_page
from tests.edges.test_channels import START, interleaved
from tests.fakes import FakeModel, speak
from tests.serving import in_loop, said, service

FLUSH, STOP = m.encode(m.Flush()), m.encode(m.Stop())
LOOKAHEAD = Context(left=0, chunk=16, right=16)


async def live(page: Page) -> list[str]:
    return await page.locator("#live .text").all_inner_texts()


@in_loop
async def test_an_audience_sees_who_speaks(tmp_path: Path) -> None:
    async with (
        service(model=FakeModel(LOOKAHEAD, slots=4)) as running,
        browser_page(tmp_path, np.zeros(16_000, np.float32)) as page,
        connect(running.url) as socket,
    ):
        home = f"http://127.0.0.1:{running.server.port}/captions?session=latest"
        overlay = await page.context.new_page()
        await overlay.set_viewport_size({"width": 900, "height": 300})
        await page.goto(home)
        await overlay.goto(f"{home}&view=overlay&size=40&lines=2")
        await socket.send(START)
        await socket.send(interleaved(speak("turn on the lamp"), speak("which lamp is it")))
        await socket.send(FLUSH)
        lines = page.locator("#lines .speech span")
        texts = ["Channel 1: turn on the lamp", "Channel 2: which lamp is it"]
        for text in texts:
            await expect(page.locator("#lines")).to_contain_text(text)
            await expect(overlay.locator("#live")).to_contain_text(text)
        await socket.send(interleaved(speak("that one over there"), speak("no it is mine now")))
        for each in (page, overlay):
            await expect(each.locator("#live")).to_contain_text("Channel 1: that one")
            await expect(each.locator("#live")).to_contain_text("Channel 2: no it is")
            assert all(text.startswith("Channel ") for text in await live(each))
        assert len(await live(page)) == 2
        assert len(await live(overlay)) > 2  # and only the last lines of it are seen
        height = "e => e.getBoundingClientRect().height"
        assert await overlay.locator("#live").evaluate(height) == 2 * 1.3 * 40
        await socket.send(STOP)
        await said(socket)
        await expect(lines).to_have_count(4)
        assert sorted(await lines.all_inner_texts())[::2] == [
            "Channel 1: that one over there",
            "Channel 2: no it is mine now",
        ]
        await expect(page.locator("#live .text")).to_have_text([""])
