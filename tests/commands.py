"""Running `streamer` commands, in this process or in their own."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from streamer import messages as m
from streamer.cli import main

ROOT = Path(__file__).parents[1]
STREAMER = [sys.executable, "-W", "error", "-m", "streamer"]


def use(model: str) -> list[str]:
    """Options; float32, since bfloat16 need not give the same text in other batches."""
    return ["--model", model, "--dtype", "float32"]


def run(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process: status, stdout, stderr."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = main(list(arguments))
        except SystemExit as end:  # from the parser
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def run_process(
    *arguments: str, env: dict[str, str] | None = None, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Run a command in a process of its own."""
    ran = subprocess.run(
        [*STREAMER, *arguments],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | (env or {}),
    )
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`streamer serve` in a process of its own, and its URL; killed at the end if it still runs."""
    server = await asyncio.create_subprocess_exec(
        *(*STREAMER, "serve", *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        line = (await server.stdout.readline()).decode()
        yield server, line.split(" at ")[1].strip()
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


def finals(model: str, talk: str, *options: str) -> list[m.Final]:
    """What `streamer transcribe` hears in a file."""
    status, out, err = run("transcribe", talk, *use(model), "--format", "json", *options)
    assert (status, err) == (0, "")
    events = [m.decode_server(line) for line in out.splitlines()]
    return [event for event in events if isinstance(event, m.Final)]
