"""Settings: defaults once, file then flags, and a clear sentence for what is wrong."""

import argparse
from pathlib import Path

import pytest

from streamer import config as c


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "streamer.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults() -> None:
    assert c.load(None, {}) == c.Config()
    assert c.Config().server.host == "127.0.0.1"


def test_file_then_flags(tmp_path: Path) -> None:
    path = written(tmp_path, "[model]\npreset='low'\nmode='window'\n[endpoint]\nsilence_s=1\n")
    config = c.load(path, {"model.mode": "cache", "server.port": 9000})
    assert config.model == c.ModelConfig(preset="low", mode="cache")
    assert config.endpoint.silence_s == 1.0
    assert config.server.port == 9000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\npresett='low'", ["unknown setting model.presett", "did you mean preset?"]),
        ("[modell]\nname='x'", ["unknown setting modell", "did you mean model?"]),
        ("[engine]\nqqq=1", ["unknown setting engine.qqq", "known: max_sessions"]),
        ("[model]\npreset='fast'", ["model.preset", "low, default, accurate", "'fast'"]),
        ("[model]\nname=3", ["model.name", "expected a text in quotes", "3"]),
        ("model='tiny'", ["model", "table of settings", "'tiny'"]),
        ("[server]\nport=true", ["server.port", "expected a whole number", "True"]),
        ("[server]\nport=70000", ["server", "port", "65535", "70000"]),
        ("[server]\nallowed_origins='x'", ["server.allowed_origins", "list of strings"]),
        ("[endpoint]\nsilence_s=-1", ["endpoint", "silence_s", "-1"]),
        ("[endpoint]\nsilence_s=nan", ["endpoint", "silence_s", "nan"]),
        ("[endpoint]\nsilence_s=1" + "0" * 400, ["endpoint.silence_s", "smaller"]),
        ("[model\n", ["streamer.toml", "not valid TOML"]),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(c.ConfigError) as caught:
        c.load(written(tmp_path, text), {})
    for word in words:
        assert word in str(caught.value)


def test_a_section_that_is_no_table_is_named_beside_a_flag_too(tmp_path: Path) -> None:
    with pytest.raises(c.ConfigError, match="server: expected a table of settings, got 3"):
        c.load(written(tmp_path, "server=3"), {"server.port": 9000})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(c.ConfigError, match=r"cannot read .*none\.toml: No such file"):
        c.load(tmp_path / "none.toml", {})


def test_flags_come_from_the_fields() -> None:
    parser = argparse.ArgumentParser()
    c.add_flags(parser, "model", "endpoint", "engine", "server")
    assert vars(parser.parse_args([])) == {}
    typed = "--model m --preset low --silence-s 0.5 --port 0 --allowed-origins https://a https://b"
    assert vars(parser.parse_args(typed.split())) == {
        "model.name": "m",
        "model.preset": "low",
        "endpoint.silence_s": 0.5,
        "server.port": 0,
        "server.allowed_origins": ["https://a", "https://b"],
    }
    assert c.load(None, vars(parser.parse_args(typed.split()))).server.allowed_origins == (
        "https://a",
        "https://b",
    )
    assert "--max-backlog-s" in parser.format_help()
