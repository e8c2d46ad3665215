"""Caption files: whole at every moment, whoever reads them and whenever their writer dies."""

import asyncio
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import srt
import webvtt

from streamer.captions import CaptionFormat, CaptionWriter
from streamer.edges.caption_files import (
    KINDS,
    CaptionFile,
    CaptionFileError,
    CaptionFolder,
    keep,
    opened,
)
from streamer.engine.engine import Engine
from streamer.engine.following import following
from streamer.messages import Final, Word
from tests.commands import ROOT
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop

ROUNDS = 12


def finals(count: int) -> list[Final]:
    """Utterances of one to twenty words, with characters that formats escape."""
    made = []
    for number in range(count):
        words = [f"wörd<{number}&" for _ in range(1 + number % 20)]
        timed = tuple(
            Word(word, number * 10 + i * 0.4, number * 10 + i * 0.4 + 0.3, 0.9)
            for i, word in enumerate(words)
        )
        made.append(
            Final(number, " ".join(words), timed, timed[0].start, timed[-1].end, 0.9, "endpoint")
        )
    return made


def whole_states(kind: CaptionFormat, said: list[Final]) -> set[bytes]:
    """What a file may hold: the header and any number of records behind it."""
    writer = CaptionWriter(kind)
    records = [record for final in said for record in writer.records(final)]
    states = itertools.accumulate([writer.header(), *records])
    return {state.encode() for state in states}


def check_readable(path: Path) -> int:
    """Read it as others do; the number of its cues or lines."""
    text = path.read_text()
    if path.suffix == ".vtt":
        assert text.startswith("WEBVTT\n\n")
        return len(list(webvtt.from_string(text)))
    if path.suffix == ".srt":
        return len(list(srt.parse(text, ignore_errors=False)))
    if path.suffix == ".jsonl":
        assert all(json.loads(line)["type"] == "final" for line in text.splitlines())
    return len(text.splitlines())


def write_until_killed(path: Path) -> None:
    with opened([path]) as (file,):
        for final in finals(200):
            file.add(final)
        signal.pause()


def is_whole_or_growing(content: bytes, states: set[bytes]) -> bool:
    """Whether it is whole, or a page of memory was filled by a write that goes on in the next."""
    if content in states | {b""}:
        return True
    at_page = len(content) % os.sysconf("SC_PAGESIZE") == 0
    return at_page and any(state.startswith(content) for state in states)


def kill_at_random_sizes(folder: Path) -> None:
    """Run by a process of its own, which has no threads: forks writers and kills them."""
    chance = np.random.default_rng(7)
    for number, kind in itertools.product(range(ROUNDS), KINDS):
        path, limit = folder / f"{number}.{kind}", int(chance.integers(0, 20_000))
        writer = os.fork()
        if writer == 0:
            write_until_killed(path)
        states = whole_states(kind, finals(200))
        while not path.exists() or path.stat().st_size < limit:
            assert not path.exists() or is_whole_or_growing(path.read_bytes(), states)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)


def run_here(function: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = (
        f"import pathlib; from tests.edges.test_caption_files import {function};"
        f"{function}(pathlib.Path({str(folder)!r}))"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_file_is_whole_for_every_reader_and_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    ran = run_here("kill_at_random_sizes", tmp_path)
    assert ran.returncode == 0, ran.stderr
    counts = []
    for kind in KINDS:
        states = whole_states(kind, finals(200))
        for number in range(ROUNDS):
            path = tmp_path / f"{number}.{kind}"
            content = path.read_bytes()
            assert is_whole_or_growing(content, states)
            counts.append(check_readable(path) if content in states else 0)
    assert len(set(counts)) > ROUNDS  # they were killed at many places


def fill_a_small_disk(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
    with opened([folder / "full.srt"]) as (file,):
        try:
            for final in finals(50):
                file.add(final)
        except CaptionFileError as error:
            print(error)


def test_what_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    ran = run_here("fill_a_small_disk", tmp_path)
    assert (ran.returncode, ran.stdout.count("\n"), ran.stderr) == (0, 1, "")
    assert "cannot write" in ran.stdout
    written = (tmp_path / "full.srt").read_bytes()
    assert 500 < len(written) <= 1_000
    assert written in whole_states("srt", finals(50))


def test_all_formats_hold_what_was_said(tmp_path: Path) -> None:
    said = finals(30)
    with opened([tmp_path / f"talk.{kind}" for kind in KINDS]) as files:
        for final, file in itertools.product(said, files):
            file.add(final)
    for kind in KINDS:
        writer = CaptionWriter(kind)
        expected = writer.header() + "".join(map(writer.add, said))
        assert (tmp_path / f"talk.{kind}").read_text() == expected
        assert check_readable(tmp_path / f"talk.{kind}") >= len(said)


def test_a_file_that_exists_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("what somebody said\n")
    with pytest.raises(CaptionFileError, match=r"talk\.txt exists already: see --overwrite"):
        CaptionFile(path)
    assert path.read_text() == "what somebody said\n"
    CaptionFile(path, overwrite=True).close()
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("talk.doc", r"expected a caption file that ends in \.vtt, \.srt, \.txt, \.jsonl, got"),
        ("none/talk.vtt", "cannot write .*: No such file"),
        ("folder.vtt", "cannot write .*: Is a directory|exists already"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.vtt").mkdir()
    with pytest.raises(CaptionFileError, match=said):
        CaptionFile(tmp_path / name)


def test_a_pipe_is_no_caption_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    reader = os.open(tmp_path / "pipe.txt", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(CaptionFileError, match="no regular file"):
        CaptionFile(tmp_path / "pipe.txt", overwrite=True)
    os.close(reader)


# --- sessions -------------------------------------------------------------------------------------


def utterances(*texts: str) -> Iterator[np.ndarray]:
    for text in texts:
        yield np.concatenate([speak(text), silence(3.0)])


async def talk(engine: Engine, *texts: str, name: str = "") -> None:
    async with engine.open_session(name=name) as session:
        for samples in utterances(*texts):
            await session.send(samples)
        await session.finish()
        async for _ in session:
            pass


@in_loop
async def test_a_folder_gets_a_file_for_each_session_in_which_something_is_said(
    tmp_path: Path,
) -> None:
    folder, told = tmp_path / "new" / "captions", []
    keeper = CaptionFolder(folder, ("vtt", "txt"), told.append)
    async with (
        Engine(FakeModel(slots=3), max_sessions=3, max_batch=3) as engine,
        following(engine, "captions", keeper),
        asyncio.TaskGroup() as talks,
    ):
        talks.create_task(talk(engine, "turn on", "the lamp", name="../kitchen\n"))
        talks.create_task(talk(engine, "good night"))
        talks.create_task(talk(engine, ""))
    texts = sorted(path.read_text() for path in folder.glob("*.txt"))
    assert texts == ["good night\n", "turn on\nthe lamp\n"]
    assert len(list(folder.iterdir())) == 4
    assert len(list(folder.glob("*-..-kitchen--*.vtt"))) == 1
    assert not told


def remove_the_next(folder: Path) -> None:
    """The file that comes, as soon as it is there."""
    while not (files := list(folder.iterdir())):
        time.sleep(0.01)
    files[0].unlink()


@in_loop
async def test_a_folder_that_somebody_empties_harms_nobody(tmp_path: Path) -> None:
    keeper = CaptionFolder(tmp_path, ("vtt",), pytest.fail)
    async with (
        Engine(FakeModel(slots=1), max_sessions=1, max_batch=1) as engine,
        following(engine, "captions", keeper),
    ):
        session = engine.open_session()
        await asyncio.to_thread(remove_the_next, tmp_path)
        session.abort()


@in_loop
async def test_a_file_that_fails_is_told_once_and_the_others_go_on(tmp_path: Path) -> None:
    told: list[str] = []
    with opened([tmp_path / "a.txt", tmp_path / "b.txt"]) as files:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, files[0]._descriptor)
        os.close(full)
        async with (
            Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
            following(engine, "captions", lambda each: keep(each.events, files, told.append)),
        ):
            await talk(engine, "turn on", "the lamp")
    assert (tmp_path / "b.txt").read_text() == "turn on\nthe lamp\n"
    (only,) = told
    assert "a.txt: No space left on device; the file ends here, without what was" in only
