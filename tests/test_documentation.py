"""What the README and docs/ tell people to type can be typed: commands, options, code, messages."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from streamer import cli
from tests.commands import ROOT

CARD = ROOT / "models" / "pretrained" / "tiny-en" / "MODEL_CARD.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), CARD]
OTHERS = {"--nproc-per-node", "--multi_gpu"}  # options of programs that are not ours


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and text of every block of code in this language."""
    for page in PAGES:
        found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        yield from ((page.name, each) for each in found)


def commands(*words: str) -> list[tuple[str, list[str]]]:
    """Page and arguments of every command that begins so, and is given whole."""
    found = []
    for page, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            typed = shlex.split(line.replace("…", "..."), comments=True)
            if typed[: len(words)] == list(words) and "..." not in typed:
                found.append((page, typed[len(words) :]))
    return found


@pytest.mark.parametrize(("page", "typed"), commands("streamer"))
def test_a_command_is_understood(page: str, typed: list[str]) -> None:
    assert callable(cli._parser().parse_args(typed).command)


@pytest.mark.parametrize(("page", "typed"), commands("python", "-m"))
def test_a_module_is_there_and_has_the_options(page: str, typed: list[str]) -> None:
    spec = find_spec(typed[0])
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin)
    sources = package.parent.glob("*.py") if package.name == "__init__.py" else [package]
    if typed[0] == "streamer.benchmark":
        assert cli._parser().parse_args(["bench", *typed[1:]])
        return
    text = "".join(each.read_text("utf-8") for each in sources)
    for option in (each for each in typed if each.startswith("--")):
        assert f'"{option}"' in text


def test_options_that_are_named_exist() -> None:
    ours = "".join(
        each.read_text("utf-8")
        for folder in ("clients/python", "models/training", "tests/bench")
        for each in (ROOT / folder).glob("*.py")
    )
    known = OTHERS | set(re.findall(r'"(--[a-z-]+)"', ours)) | _options(cli._parser())
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", code):
                assert option in known, (page.name, code)


def _options(parser: cli.Parser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found |= set().union(*(_options(each) for each in action.choices.values()))
    return found


@pytest.mark.parametrize(("page", "code"), list(blocks("python")))
def test_code_is_whole(page: str, code: str) -> None:
    compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_messages_are_json() -> None:
    whole = [text for _, text in blocks("json") if "…" not in text]
    assert whole
    for text in whole:
        json.loads(text)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, place = target.partition("#")
            if path.startswith("http"):
                continue
            aimed = page.parent / path if path else page
            assert aimed.exists(), (page.name, target)
            assert not place or place in _places(aimed), (page.name, target)


def _places(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
