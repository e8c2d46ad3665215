"""The page shows and keeps the written form of finals where the server gives one."""

from pathlib import Path

from playwright.async_api import expect

from streamer.core.text_rules import TextRules
from streamer.text.written import written
from streamer.wording import Wording
from tests.browser import BrowserModel, browser_page, spoken
from tests.serving import in_loop, service
from tests.web_pages import downloaded, home, start_listening, stop_listening

WORDING = Wording(TextRules(written=True, redact_numbers=True, writer=written))


@in_loop
async def test_lines_and_files_hold_the_written_form(tmp_path: Path) -> None:
    said = spoken("wake me on monday at seven")
    async with (
        service(model=BrowserModel(slots=4), wording=WORDING) as running,
        browser_page(tmp_path, said) as page,
    ):
        await page.goto(home(running))
        await start_listening(page)
        lines = page.locator("#lines .speech span")
        await expect(lines).to_have_text(["Wake me on Monday at [number]"])
        await stop_listening(page)
        assert "Wake me on Monday at [number]" in await downloaded(page, "SRT")
