"""The page shows and keeps the written form of finals where the server gives one."""

from pathlib import Path

from playwright.async_api import expect

from streamer.core.text_rules import TextRules
from streamer.text.written import written
from streamer.wording import Wording
from tests.browser import BrowserModel, browser_page, spoken
from tests.serving import in_loop, service

WORDING = Wording(TextRules(written=True, redact_numbers=True, writer=written))


@in_loop
async def test_lines_and_files_hold_the_written_form(tmp_path: Path) -> None:
    said = spoken("wake me on monday at seven")
    async with (
        service(model=BrowserModel(slots=4), wording=WORDING) as running,
        browser_page(tmp_path, said) as page,
    ):
        await page.goto(f"http://127.0.0.1:{running.server.port}/")
        await page.get_by_role("button", name="Start listening").click()
        lines = page.locator("#lines .speech span")
        await expect(lines).to_have_text(["Wake me on Monday at [number]"])
        await page.get_by_role("button", name="Stop listening").click()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="SRT", exact=True).click()
        path = await (await download.value).path()
        text = path.read_text(encoding="utf-8")
    assert "Wake me on Monday at [number]" in text
