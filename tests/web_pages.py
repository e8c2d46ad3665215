"""The web pages as a person uses them: clicked through, downloaded from, photographed.

With STREAMER_SCREENSHOTS=docs in the environment, the pictures in docs/ are taken anew.
"""

import os
from pathlib import Path

from playwright.async_api import Page, expect

from tests.serving import Service

# Looks at every frame that is drawn: what is waited for may be gone at the next.
LOUD, WRITTEN = (
    f"""seen => new Promise(done => {{
        const look = () => seen.{what} ? done() : requestAnimationFrame(look);
        look();
    }})"""
    for what in ("value > 0.1", "textContent")
)


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
        await page.locator("#live").evaluate("lines => lines.classList.remove('faded')")
        await page.screenshot(path=Path(folder) / name, animations="disabled")
