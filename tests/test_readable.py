"""Written text and keywords from the command line and the library, with the model that ships."""

import json
from pathlib import Path

import pytest

import streamer
from clients.demo import CLIP
from tests.commands import run

MODEL = ("--dtype", "float32")


@pytest.fixture
def keywords(tmp_path: Path) -> str:
    path = tmp_path / "keywords.txt"
    path.write_text("kitchen\nlamp = 0.2\naardvark\n")
    return str(path)


def test_a_file_is_transcribed_in_written_form_with_its_keywords(keywords: str) -> None:
    options = ("--format", "json", "--written", "--keywords", keywords)
    status, out, err = run("transcribe", str(CLIP), *MODEL, *options)
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    spotted = [each for each in events if each["type"] == "keyword"]
    assert [each["keyword"] for each in spotted] == ["lamp", "kitchen"]
    finals = [each for each in events if each["type"] == "final"]
    assert all(each["display"].lower() == each["text"] for each in finals)
    assert finals[0]["display"][0].isupper()
    words = [word for each in finals for word in each["words"]]
    lamp = next(word for word in words if word["word"] == "lamp")
    assert lamp["start"] - 0.1 <= spotted[0]["start"] < spotted[0]["end"] <= lamp["end"] + 0.1


def test_captions_show_the_written_form() -> None:
    status, out, _ = run("transcribe", str(CLIP), *MODEL, "--format", "srt", "--written")
    assert (status, "Please turn on" in out) == (0, True)
    status, out, _ = run("transcribe", str(CLIP), *MODEL, "--format", "srt")
    assert (status, "please turn on" in out) == (0, True)


def test_the_library_takes_the_same_settings(keywords: str) -> None:
    config = streamer.Config(
        model=streamer.ModelConfig(dtype="float32"),
        text=streamer.TextConfig(written=True),
        keywords=streamer.KeywordConfig(keywords),
    )
    finals = streamer.transcribe(str(CLIP), config)
    assert [final.shown.lower() for final in finals] == [final.text for final in finals]
    assert finals[0].shown.startswith("Please")


@pytest.mark.parametrize(
    ("content", "message"),
    [("route 5\n", "cannot spell '5'"), ("four two\n", "redacted"), ("", "1 to 100 keywords")],
)
def test_mistakes_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "keywords.txt"
    path.write_text(content)
    options = ("--redact-numbers", "--keywords", str(path))
    status, _, err = run("transcribe", str(CLIP), *MODEL, *options)
    assert (status, err.count("\n")) == (1, 1)
    assert message in err
