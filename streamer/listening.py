"""`streamer listen`, put together: a microphone, an engine and the terminal.

Must not know: the command line.
"""

import asyncio
import sys
from contextlib import aclosing

from streamer.config import Config
from streamer.edges import microphone
from streamer.edges.terminal import LiveCaption
from streamer.signals import on_signals
from streamer.wording import build_wording


async def listen(settings: Config, device: str | None) -> int:
    """Captions until Ctrl-C; then what was said last is finished and printed."""
    chosen = int(device) if device is not None and device.isdecimal() else device
    name = microphone.find(chosen).name  # first: it fails at once, a model loads for seconds
    from streamer import api  # loads torch

    wording = build_wording(settings.text, settings.keywords)
    model = await asyncio.to_thread(api.build_model, settings.model)
    options = api.decoding_options(model, settings.model)
    caption = LiveCaption(sys.stdout)
    async with (
        api.build_engine(model, settings.engine, wording, options) as engine,
        microphone.Microphone(chosen) as heard,
    ):
        with on_signals(heard.finish):
            print(f"listening to {name}; Ctrl-C ends it", file=sys.stderr, flush=True)
            async with aclosing(api.listen(engine, heard, settings.endpoint)) as events:
                async for event in events:
                    caption.show(event)
    if heard.overruns:
        print(f"the sound system lost audio {heard.overruns} times", file=sys.stderr)
    return 0
