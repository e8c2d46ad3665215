"""Real files in real formats, and everything that is no audio."""

import asyncio
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamer.edges.audio_file import AudioFile, AudioFileError, stream
from tests.serving import in_loop

ROOT = Path(__file__).parents[2]
SUBTYPES = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}


def tone(rate: int, seconds: float) -> np.ndarray:
    phase = 2 * np.pi * 440.0 * np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(phase)).astype(np.float32)


def read(path: Path | str) -> np.ndarray:
    with AudioFile(path) as file:
        return np.concatenate(list(file.blocks()))


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_channel_is_heard_as_if_it_were_alone(tmp_path: Path, rate: int) -> None:
    sides = [tone(rate, 0.5), 0.5 * tone(rate, 0.5)]
    soundfile.write(tmp_path / "call.wav", np.stack(sides, axis=1), rate)
    for number, side in enumerate(sides, start=1):
        soundfile.write(tmp_path / "side.wav", side, rate)
        with AudioFile(tmp_path / "call.wav", channel=number) as file:
            heard = np.concatenate(list(file.blocks()))
        np.testing.assert_array_equal(heard, read(tmp_path / "side.wav"))
        with AudioFile(tmp_path / "call.wav", separate=True) as file:
            columns = np.concatenate(list(file.blocks()))
        np.testing.assert_array_equal(columns[:, number - 1], heard)
    for number, said in ((0, "2 channels, and no channel 0"), (3, "and no channel 3")):
        with pytest.raises(AudioFileError, match=said):
            AudioFile(tmp_path / "call.wav", channel=number)


@pytest.mark.parametrize("form", SUBTYPES)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_rates_and_channels(tmp_path: Path, form: str, rate: int, channels: int) -> None:
    path = tmp_path / f"tone.{form}"
    samples = np.repeat(tone(rate, 1.5)[:, None], channels, axis=1)
    soundfile.write(path, samples, rate, subtype=SUBTYPES[form])
    with AudioFile(path) as file:
        assert file.duration_s == pytest.approx(1.5, abs=0.1)
    heard = read(path)
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(24_000, abs=1_600)  # MP3 pads
    middle = heard[6_000:22_000]
    assert loudness(middle) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == 440


def test_samples_come_out_as_they_were_written(tmp_path: Path) -> None:
    samples = (np.random.default_rng(0).integers(-32768, 32767, 12_345) / 32768).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="PCM_16")
    np.testing.assert_array_equal(read(tmp_path / "x.wav"), samples)


@pytest.mark.parametrize("form", SUBTYPES)
def test_blocks_hold_what_the_decoder_gives_at_once(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"tone.{form}"
    soundfile.write(path, tone(16_000, 3.0), 16_000, subtype=SUBTYPES[form])
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(read(path), whole, atol=1e-6)


def test_a_file_of_ten_milliseconds(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(160), 16_000)
    assert len(read(tmp_path / "x.wav")) == 160
    soundfile.write(tmp_path / "y.flac", np.zeros(441), 44_100)
    assert len(read(tmp_path / "y.flac")) in (159, 160)


def test_a_long_file_comes_in_small_blocks(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(16_000 * 60), 16_000)
    with AudioFile(tmp_path / "x.wav") as file:
        assert max(len(block) for block in file.blocks()) <= 1_600


def no_audio(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Name of each case: path, and what the error must say."""
    cases = {
        "empty.wav": (b"", "is empty"),
        "text.wav": (b"this is no audio at all\n" * 99, "not audio in a known format"),
        "headless.raw": (bytes(3_200), "not audio in a known format"),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16_000)
    values = np.zeros(32_000, np.float32)
    values[20_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", values, 16_000, subtype="FLOAT")
    (tmp_path / "folder.wav").mkdir()
    says = {name: said for name, (_, said) in cases.items()}
    says |= {
        "silent.wav": "contains no audio samples",
        "nan.wav": "first at 1.25 s",
        "folder.wav": "is a directory",
        "missing.wav": "No such file",
        "nul\0.wav": "null",
    }
    return {name: (f"{tmp_path}/{name}", said) for name, said in says.items()}


def test_what_is_no_audio_is_one_clear_error(tmp_path: Path) -> None:
    for name, (path, said) in no_audio(tmp_path).items():
        with pytest.raises(AudioFileError) as caught:
            read(path)
        assert said in str(caught.value), name
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_cut_file_gives_what_is_there(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(32_000), 16_000)
    data = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(data[: len(data) // 2])
    assert 15_000 < len(read(tmp_path / "x.wav")) < 17_000


@pytest.mark.parametrize("form", SUBTYPES)
def test_named_pipes(tmp_path: Path, form: str) -> None:
    soundfile.write(tmp_path / f"x.{form}", tone(16_000, 3.0), 16_000, subtype=SUBTYPES[form])
    data = (tmp_path / f"x.{form}").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), name="writer")
    writer.start()
    heard = read(tmp_path / "pipe")
    writer.join()
    np.testing.assert_array_equal(heard, read(tmp_path / f"x.{form}"))


READ_STANDARD_INPUT = """
import sys, numpy as np
from streamer.edges.audio_file import AudioFile, AudioFileError
try:
    with AudioFile("-") as file:
        print(sum(len(block) for block in file.blocks()))
except AudioFileError as error:
    print(error)
"""


def from_standard_input(data: bytes) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", READ_STANDARD_INPUT], input=data, capture_output=True, cwd=ROOT
    )
    assert ran.stderr == b""
    return ran.stdout.decode().strip()


def test_standard_input() -> None:
    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(32_000), 16_000, format="WAV")
    data = bytearray(wav.getvalue())
    assert from_standard_input(bytes(data)) == "32000"
    # A program that writes to a pipe cannot know the length: it writes the largest one.
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    assert from_standard_input(bytes(data)) == "32000"
    assert from_standard_input(b"") == "standard input is empty"
    assert "standard input is not audio" in from_standard_input(b"RIFF and nothing else")
    assert "standard input is not audio" in from_standard_input(b"words")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero on this system")
def test_an_endless_pipe_that_is_no_audio_is_refused_at_once() -> None:
    with pytest.raises(AudioFileError, match="/dev/zero is not audio in a known format"):
        AudioFile("/dev/zero")


@in_loop
async def test_an_async_reader_that_is_cancelled_leaves_a_waiting_pipe(tmp_path: Path) -> None:
    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(160_000), 16_000, format="WAV")
    os.mkfifo(tmp_path / "pipe")
    # Read and write: the pipe can be opened before there is a reader, and stays open.
    descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
    first = wav.getvalue()[:20_000]
    os.write(descriptor, first)
    with AudioFile(tmp_path / "pipe") as file:
        heard, begun = 0, asyncio.Event()

        async def hear() -> None:
            nonlocal heard
            async for block in stream(file):
                heard += len(block)
                begun.set()

        hearing = asyncio.create_task(hear(), name="hear")
        await begun.wait()
        hearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hearing
    assert heard > 0
    os.close(descriptor)


@in_loop
async def test_the_pace_of_speech_is_an_absolute_schedule(tmp_path: Path) -> None:
    """The times asked for are exact; only the clock of the test's own loop is read."""
    soundfile.write(tmp_path / "x.wav", np.zeros(8_000), 16_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with AudioFile(tmp_path / "x.wav") as file:
        times = [(len(b), loop.time() - began) async for b in stream(file, realtime=True)]
    given = np.cumsum([size for size, _ in times]) / 16_000
    assert len(times) == 6  # five blocks and what the resampler held back: nothing
    assert all(time >= due - 1e-3 for (_, time), due in zip(times, given, strict=True))
