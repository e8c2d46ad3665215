"""`streamer listen`, put together: a microphone, an engine, the terminal and whoever else follows.

Must not know: the command line.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, redirect_stderr

import numpy as np

from streamer.audio import SAMPLE_RATE
from streamer.config import Config
from streamer.edges import microphone
from streamer.edges.caption_files import CaptionFile, keep
from streamer.edges.microphone import Block, LastingMicrophone
from streamer.edges.terminal import LiveCaption
from streamer.edges.youtube import YouTubeCaptions
from streamer.engine.following import Sink, following
from streamer.signals import on_signals
from streamer.wording import build_wording

METER_SAMPLES = SAMPLE_RATE // 10


async def listen(
    settings: Config,
    device: str | None,
    files: Sequence[CaptionFile],
    youtube: str | None,
) -> int:
    """Captions until Ctrl-C; then what was said last is finished, printed, written and posted.

    `youtube` is an ingestion address. Raises MicrophoneError and ConfigError at the beginning; a
    microphone that goes away later is waited for. Returns 1 if captions were lost.
    """
    chosen = int(device) if device is not None and device.isdecimal() else device
    display = _Display(microphone.find(chosen).name)  # first: a model loads for seconds
    sinks: dict[str, Sink] = {"captions": lambda each: keep(each.events, files, display.complain)}
    if youtube is not None:
        sinks["youtube"] = YouTubeCaptions(youtube, display.complain)
    from streamer import api  # loads torch

    wording = build_wording(settings.text, settings.keywords)
    model = await asyncio.to_thread(api.build_model, settings.model)
    options = api.decoding_options(model, settings.model, settings.endpoint)
    async with AsyncExitStack() as stack:
        engine = api.build_engine(model, settings.engine, wording, options)
        await stack.enter_async_context(engine)
        for name, sink in sinks.items():
            await stack.enter_async_context(following(engine, name, sink))
        heard = await stack.enter_async_context(LastingMicrophone(chosen, display.changed))
        stack.enter_context(on_signals(heard.finish))
        stack.enter_context(_own_words_only())
        print(f"listening to {display.name}; Ctrl-C ends it", file=sys.stderr, flush=True)
        events = api.listen(engine, _Metered(heard, display), settings.endpoint)
        async for event in await stack.enter_async_context(aclosing(events)):
            display.caption.show(event)
    if heard.overruns:
        print(f"the sound system lost audio {heard.overruns} times", file=sys.stderr)
    return 1 if display.complained else 0


@contextmanager
def _own_words_only() -> Iterator[None]:
    """On stderr: PortAudio and ALSA tell pages there when a device goes away."""
    original, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    with (
        os.fdopen(os.dup(original), "w", buffering=1) as ours,
        redirect_stderr(ours),
    ):
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)


class _Display:
    """What the user sees: captions on stdout; on a terminal the sound's level and state below."""

    def __init__(self, name: str) -> None:
        self.name = name  # of the microphone
        self.caption = LiveCaption(sys.stdout)
        self.complained = False

    def complain(self, text: str) -> None:
        """Something is lost that was asked for."""
        self.complained = True
        self._tell(text)

    def changed(self, reason: str | None) -> None:
        """The microphone has gone, or is back."""
        self._tell(f"{reason}; waiting for it" if reason else "the microphone is back")
        self.caption.status("no microphone")

    def level(self, mean_square: float, heard_s: float) -> None:
        """Of the last tenth of a second."""
        level_db = 10 * np.log10(mean_square) if mean_square else float("-inf")
        minutes, seconds = divmod(int(heard_s), 60)
        self.caption.meter(level_db, f"{minutes}:{seconds:02}  {self.name}")

    def _tell(self, text: str) -> None:
        if sys.stdout.isatty():
            self.caption.note(f"[{text}]")
        else:
            print(f"streamer: {text}", file=sys.stderr, flush=True)


class _Metered:
    """A microphone whose level is shown as its blocks pass."""

    def __init__(self, heard: LastingMicrophone, display: _Display) -> None:
        self._heard, self._display = heard, display

    async def blocks(self) -> AsyncIterator[Block]:
        energy, samples, total_samples = 0.0, 0, 0
        async for block in self._heard.blocks():
            energy += float(np.square(block.samples).sum())
            samples += len(block.samples)
            total_samples += block.lost_samples + len(block.samples)
            if samples >= METER_SAMPLES:
                self._display.level(energy / samples, total_samples / SAMPLE_RATE)
                energy, samples = 0.0, 0
            yield block
