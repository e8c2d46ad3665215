"""A real browser whose microphone hears a file, and a model that reads what it makes of it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import soundfile
from playwright.async_api import Page, async_playwright, expect

from streamer.core.chunker import Waveform, Window
from streamer.core.stream import Frames
from tests.fakes import BLANK, SCALE, FakeModel, silence, speak
from tests.serving import DEADLINE_S

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLATNESS = 0.4 / SCALE  # a frame that varies more lies across a step

expect.set_options(timeout=DEADLINE_S * 1000)


class BrowserModel(FakeModel):
    """Reads letters that were resampled and are out of phase: a frame across a step is a blank."""

    def read(self, window: Window) -> Frames:
        hops = window.left + window.chunk + window.right
        frames = window.samples[: self.grid.samples(hops)].reshape(hops, -1)
        ids = np.floor(frames.mean(axis=1) * SCALE).astype(np.int64)
        ids[(np.ptp(frames, axis=1) > FLATNESS) | (ids < 0)] = BLANK
        return Frames(ids, np.full(hops, -0.5, np.float32))


def spoken(*texts: str) -> Waveform:
    """Each text as an utterance of its own; levels lie between the steps, so noise is harmless."""
    pieces = [silence(1.0)]
    for text in texts:
        letters = speak(text, letter_frames=3, pause_frames=2)
        pieces += [letters + np.float32(0.5 / SCALE), silence(1.5)]
    return np.concatenate(pieces)


@asynccontextmanager
async def browser_page(
    folder: Path, heard: Waveform, *, loop: bool = False, allowed: bool = True
) -> AsyncIterator[Page]:
    """A page of a fresh browser whose microphone hears `heard`, once or for ever.

    At the end, no script may have failed and nothing may have been against the page's policy.
    """
    assert CHROMIUM, "the tests need Chromium: apt-get install chromium, or set CHROMIUM=/path"
    path = folder / "heard.wav"
    soundfile.write(path, heard, 16_000, subtype="PCM_16")
    flags = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}{'' if loop else '%noloop'}",
    ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=flags, chromium_sandbox=os.getuid() != 0
        )
        try:
            context = await browser.new_context(
                permissions=["microphone", "clipboard-read", "clipboard-write"] if allowed else []
            )
            context.set_default_timeout(DEADLINE_S * 1000)
            faults: list[str] = []
            context.on("weberror", lambda error: faults.append(str(error.error)))
            context.on("console", lambda said: _note_policy(said.text, faults))
            yield await context.new_page()
            assert faults == []
        finally:
            await browser.close()


def _note_policy(text: str, faults: list[str]) -> None:
    if "Content Security Policy" in text:
        faults.append(text)
