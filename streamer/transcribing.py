"""`streamer transcribe`: one file through an engine, and what is printed of it.

Owns the output formats and the progress bar. Must not know: the command line.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace

from streamer import messages
from streamer.audio import Samples
from streamer.captions import CaptionWriter
from streamer.config import SAMPLE_RATE, Config
from streamer.core.recognizer import Model
from streamer.edges.audio_file import AudioFile, stream
from streamer.edges.caption_files import CaptionFile, keep
from streamer.edges.terminal import LiveCaption
from streamer.engine.engine import Engine
from streamer.engine.outbox import Outbox
from streamer.wording import build_wording

LONG_FILE_S = 30.0  # from here on a progress bar is worth its line


async def transcribe(
    model: Model,
    settings: Config,
    file: AudioFile,
    form: str,
    out: Sequence[CaptionFile],
    realtime: bool,
) -> list[str]:
    """Print what is said in the file as text, json, srt or vtt, while it is read; also to `out`.

    Separate channels each have a transcript. Returns what the user must know of files that failed.
    """
    from streamer import api  # loads torch

    wording = build_wording(settings.text, settings.keywords)
    options = api.decoding_options(model, settings.model, settings.endpoint)
    # All of the machine is there for this file, however many channels it has.
    alone = replace(settings.engine, max_sessions=file.columns or 1, max_load=0)
    show, faults = _printer(form, live=realtime), list[str]()
    with _progress(file, realtime) as progress:

        async def blocks() -> AsyncIterator[Samples]:
            async for block in stream(file, realtime=realtime):
                progress(len(block) / SAMPLE_RATE)
                yield block

        def heard(engine: Engine) -> AsyncGenerator[messages.Event, None]:
            if file.columns is None:
                return api.recognize(engine, blocks(), settings.endpoint)
            return api.recognize_channels(engine, blocks(), file.columns, settings.endpoint)

        async with (
            api.build_engine(model, alone, wording, options) as engine,
            _kept(out, faults.append) as finals,
            aclosing(heard(engine)) as events,
        ):
            async for event in events:
                show(event)
                if isinstance(event, messages.Final):
                    finals.put(event)
    return faults


@asynccontextmanager
async def _kept(out: Sequence[CaptionFile], tell: Callable[[str], None]) -> AsyncIterator[Outbox]:
    """What is put into the outbox goes to the files, beside everything else."""
    finals = Outbox()
    writing = asyncio.create_task(keep(finals, out, tell), name="captions")
    try:
        yield finals
    finally:
        finals.close()
        await writing


@contextmanager
def _progress(file: AudioFile, realtime: bool) -> Iterator[Callable[[float], object]]:
    """A bar on stderr for a long file when stderr is a terminal; takes seconds of audio read."""
    if realtime or (file.duration_s or 0.0) < LONG_FILE_S or not sys.stderr.isatty():
        yield lambda seconds: None
        return
    from tqdm import tqdm

    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    with tqdm(total=file.duration_s, bar_format=form, leave=False) as bar:
        yield bar.update


def _printer(form: str, *, live: bool) -> Callable[[messages.Event], None]:
    """What to do with each event, by output format."""
    if form == "json":
        return lambda event: print(messages.encode(event), flush=True)
    if form == "text":
        return LiveCaption(sys.stdout, partials=live).show
    writer = CaptionWriter("srt" if form == "srt" else "vtt")
    print(writer.header(), end="")

    def add(event: messages.Event) -> None:
        if isinstance(event, messages.Final):
            print(writer.add(event), end="", flush=True)
        elif isinstance(event, messages.Closed):
            print("".join(writer.rest()), end="", flush=True)

    return add
