"""Files of several channels on the command line: one of them, or each by itself."""

import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import srt
import webvtt

from streamer import messages as m
from tests.commands import finals, run, use

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def call(talk: str, tmp_path: Path) -> str:
    """Two sides that speak at once, one a little later."""
    samples, rate = soundfile.read(talk)
    later = np.concatenate([np.zeros(rate // 3), samples])[: len(samples)]
    soundfile.write(tmp_path / "call.wav", np.stack([samples, later], axis=1), rate)
    return str(tmp_path / "call.wav")


def test_one_channel_of_a_file(model: str, talk: str, tmp_path: Path) -> None:
    samples, rate = soundfile.read(talk)
    call = tmp_path / "call.wav"
    soundfile.write(call, np.stack([np.zeros_like(samples), samples], axis=1), rate)
    status, out, _ = run("transcribe", str(call), *use(model), "--channel", "2")
    assert (status, out) == run("transcribe", talk, *use(model))[:2]
    status, out, err = run("transcribe", str(call), *use(model), "--channel", "3")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_each_channel_of_a_file_is_heard_as_if_it_were_alone(model: str, call: str) -> None:
    told = finals(model, call, "--separate")
    for channel in (0, 1):
        own = [replace(each, channel=None) for each in told if each.channel == channel]
        assert own == finals(model, call, "--channel", str(channel + 1))
        assert own
    status, out, err = run("transcribe", call, *use(model), "--separate")
    assert (status, err) == (0, "")
    lines = [f"Channel {1 + (each.channel or 0)}: {each.text}" for each in told]
    assert sorted(out.splitlines()) == sorted(lines)


def test_caption_files_say_which_channel_speaks(model: str, call: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"call.{kind}" for kind in ("vtt", "srt", "jsonl")]
    options = [option for path in paths for option in ("--out", str(path))]
    separate = ("--format", "vtt", "--separate", *options)
    status, out, err = run("transcribe", call, *use(model), *separate)
    assert (status, err) == (0, "")
    told = finals(model, call, "--separate")
    assert paths[0].read_text() == out
    assert {cue.voice for cue in webvtt.from_string(out)} == {"Channel 1", "Channel 2"}
    cues = list(srt.parse(paths[1].read_text()))
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    shown = {1: "", 2: ""}
    for cue in cues:
        channel, text = cue.content.removeprefix("Channel ").split(": ", 1)
        shown[int(channel)] += " ".join(text.split()) + " "
    for number, text in shown.items():
        own = [each.text for each in told if each.channel == number - 1]
        assert text.split() == " ".join(own).split()
    kept = [m.decode_server(line) for line in paths[2].read_text().splitlines()]
    assert kept == sorted(told, key=attrgetter("start"))


def test_files_of_more_and_more_channels(model: str, talk: str, call: str, tmp_path: Path) -> None:
    many = tmp_path / "many.wav"
    soundfile.write(many, np.zeros((1_600, 9)), 16_000)
    status, out, err = run("transcribe", talk, call, str(many), *use(model), "--separate")
    assert status == 1
    assert err.endswith("many.wav has 9 channels, and at most 8 can be heard apart\n")
    assert re.findall("==> (.*) <==", out) == [talk, call]
    assert set(re.findall(r"^Channel \d", out, re.MULTILINE)) == {"Channel 1", "Channel 2"}
