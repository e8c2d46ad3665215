"""The pages of a server that asks for tokens, in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from streamer.config import ServerConfig
from tests.browser import BrowserModel, browser_page, spoken
from tests.serving import in_loop, service
from tests.web_pages import start_listening

FULL, VIEW = "the-token-of-the-speaker", "the-token-of-the-hall"


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    path = tmp_path / "tokens"
    path.write_text(f"{FULL} speaker\n{VIEW} hall view\n")
    return ServerConfig(port=0, token_file=str(path))


def addresses(context: BrowserContext) -> list[str]:
    """Every address that a page of the context asks for, from now on."""
    seen: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    context.on("page", lambda page: page.on("websocket", lambda each: seen.append(each.url)))
    return seen


def replace_tokens(config: ServerConfig, lines: str) -> None:
    Path(config.token_file).write_text(lines)


async def give(page: Page, token: str) -> None:
    await page.get_by_label("asks for a token").fill(token)
    await page.get_by_role("button", name="Use it").click()


@in_loop
async def test_a_page_asks_for_the_token_and_keeps_it(tmp_path: Path, config: ServerConfig) -> None:
    async with (
        service(config, model=BrowserModel(slots=4)) as running,
        browser_page(tmp_path, spoken("one")) as page,
    ):
        seen = addresses(page.context)
        page.on("websocket", lambda each: seen.append(each.url))
        home, form = f"http://127.0.0.1:{running.server.port}/", page.locator("#access")
        await page.goto(home)
        await expect(form).to_be_hidden()
        await page.get_by_role("button", name="Start listening").click()
        await expect(form).to_be_visible()
        await give(page, "a-token-of-nobody")
        await expect(form).to_contain_text("a valid token is needed")
        await give(page, VIEW)
        await expect(form).to_contain_text("this token is not for this")
        await give(page, FULL)
        await expect(form).to_be_hidden()
        await expect(page.locator("#state")).to_have_text("Listening")
        await expect(page.locator("#lines .speech span")).to_have_text(["one"])

        link = await page.locator("#audience").get_attribute("href")
        audience = await page.context.new_page()
        await audience.goto(f"{home.rstrip('/')}{link}#token={VIEW}")
        await expect(audience.locator("#lines .speech span")).to_have_text(["one"])
        assert audience.url == f"{home.rstrip('/')}{link}"
        assert await audience.evaluate("sessionStorage['streamer.token']") == f'"{VIEW}"'

        await page.reload()
        await start_listening(page)
        await expect(form).to_be_hidden()
        sockets = [each for each in seen if each.startswith("ws:")]
        assert len(sockets) >= 3
        assert not any(word in each for each in seen for word in (FULL, VIEW, "ticket."))


@in_loop
async def test_a_stranger_reads_nothing(tmp_path: Path, config: ServerConfig) -> None:
    async with (
        service(config, model=BrowserModel(slots=4)) as running,
        browser_page(tmp_path, spoken("one")) as page,
    ):
        await page.goto(f"http://127.0.0.1:{running.server.port}/captions?session=latest")
        await expect(page.locator("#access")).to_be_visible()
        await give(page, VIEW)
        await expect(page.locator("#state")).to_have_text("Waiting for a session to begin…")


@in_loop
async def test_a_page_whose_token_is_withdrawn_asks_for_another(
    tmp_path: Path, config: ServerConfig
) -> None:
    async with (
        service(config, model=BrowserModel(slots=4)) as running,
        browser_page(tmp_path, spoken("one"), loop=True) as page,
    ):
        await page.goto(f"http://127.0.0.1:{running.server.port}/")
        await page.get_by_role("button", name="Start listening").click()
        await give(page, FULL)
        await expect(page.locator("#state")).to_have_text("Listening")
        replace_tokens(config, "the-token-of-the-next-one next\n")
        await running.server.reload()
        await expect(page.locator("#access")).to_be_visible()
        await give(page, "the-token-of-the-next-one")
        await expect(page.locator("#access")).to_be_hidden()
        await expect(page.locator("#state")).to_have_text("Listening")
