"""The sound card as blocks of float32 mono 16 kHz samples.

Owns the PortAudio stream and the bridge from its thread to the event loop. The queue between them
holds MAX_QUEUED_BLOCKS; when it is full the oldest block is dropped, and the next block given says
how many samples were lost before it. Must not know: sessions, events, terminals.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from streamer.audio import SAMPLE_RATE, Resampler, Samples, clipped, mix

BLOCKS_PER_S = 50
MAX_QUEUED_BLOCKS = 100  # 2 s
STALL_S = 5.0  # a device that gives nothing for so long is gone, whatever the sound system says
CLOSE_S = 2.0  # the sound system may never return when its server has died
LATENCY_S = 0.05  # asked of the sound system: short, and still above a busy laptop's hiccups


class MicrophoneError(Exception):
    """No sound, and why, in one sentence for the user."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """One way to hear: PortAudio's number and name for it."""

    index: int
    name: str
    channels: int
    sample_rate: int  # Hz that it prefers
    default: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Samples (S,) at 16 kHz, and how many samples were lost just before them."""

    samples: Samples
    lost_samples: int


class Heard(Protocol):
    """Anything that gives what is heard."""

    def blocks(self) -> AsyncIterator[Block]:
        """Give blocks until there are no more."""


class Microphone:
    """An open microphone: `async with Microphone() as mic: async for block in mic.blocks(): …`.

    `device` is a number or a part of a name as `devices()` lists them, None the system's default.
    Entering raises MicrophoneError when there is no such device, it is busy, or PortAudio is
    missing.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self.overruns = 0  # times the sound system reported lost input
        self._device = device
        self._queue: deque[tuple[int, Samples]] = deque()  # (number of its first sample, samples)
        self._captured = 0  # samples that the device has produced, lost ones included
        self._last_time = 0.0  # of the sound card's clock, at the last block
        self._waking = False  # a wake-up is on its way to the loop
        self._finished = False  # by finish(): what is queued is still given
        self._failed = False  # the device ended by itself

    async def __aenter__(self) -> Self:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._stream = await asyncio.to_thread(self._opened)
        self._rate = round(self._stream.samplerate)
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished = True
        closed = asyncio.Event()

        def close() -> None:
            self._stream.close()
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                self._loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="close microphone", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await closed.wait()

    def finish(self) -> None:
        """Stop listening: `blocks` gives what is queued and ends."""
        self._finished = True
        self._wake.set()

    async def blocks(self) -> AsyncIterator[Block]:
        """Give what is heard until `finish`; raises MicrophoneError when the device goes away."""
        resampler, expected = Resampler(self._rate), 0
        while True:
            while self._queue:
                first, samples = self._queue.popleft()
                lost = (first - expected) * SAMPLE_RATE // self._rate
                expected = first + len(samples)
                yield Block(clipped(resampler.accept(samples)), lost)
            if self._finished:
                yield Block(clipped(resampler.finish()), 0)
                return
            if self._failed:
                raise MicrophoneError("the microphone has stopped: was it unplugged?")
            self._wake.clear()
            if not self._queue:
                await self._woken_up()

    async def _woken_up(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._wake.wait()
        except TimeoutError:
            raise MicrophoneError(f"the microphone gave no sound for {STALL_S:g} s") from None

    def _opened(self) -> Any:
        """A PortAudio stream at 16 kHz mono, or at what the device offers instead."""
        sd = _sounddevice()
        info = _device_info(self._device)
        offered = round(info["default_samplerate"])
        for rate, channels in (
            (SAMPLE_RATE, 1),
            (offered, 1),
            (offered, info["max_input_channels"]),
        ):
            try:
                return sd.InputStream(
                    samplerate=rate,
                    channels=channels,
                    device=self._device,
                    dtype="float32",
                    blocksize=rate // BLOCKS_PER_S,
                    latency=LATENCY_S,
                    callback=self._on_block,
                    finished_callback=self._on_end,
                )
            except sd.PortAudioError as error:
                failure = error
        raise MicrophoneError(
            f"cannot open the microphone {info['name']!r}, perhaps another program uses it: "
            f"{failure.args[0]}"
        ) from failure

    def _start(self) -> None:
        try:
            self._stream.start()
        except _sounddevice().PortAudioError as error:
            self._finished = True
            self._stream.close()
            raise MicrophoneError(f"cannot start the microphone: {error.args[0]}") from error

    # The two below run in PortAudio's thread: they own `_captured` and share only the deque, whose
    # single operations are atomic.

    def _on_block(self, data: Any, frames: int, time: Any, status: Any) -> None:
        if status.input_overflow:
            self.overruns += 1
            elapsed = round((time.currentTime - self._last_time) * self._rate)
            self._captured += max(0, elapsed - frames)
        self._last_time = time.currentTime
        if len(self._queue) >= MAX_QUEUED_BLOCKS:
            self._queue.popleft()
        self._queue.append((self._captured, np.array(mix(data))))
        self._captured += frames
        self._wake_up()

    def _on_end(self) -> None:
        self._failed = True
        if not self._finished:
            self._wake_up()

    def _wake_up(self) -> None:
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._waking = False
        self._wake.set()


def devices() -> list[InputDevice]:
    """All input devices; raises MicrophoneError when PortAudio is missing."""
    return [_described(info) for info in _sounddevice().query_devices() if _can_hear(info)]


def find(device: int | str | None) -> InputDevice:
    """The device that `Microphone(device)` would open; raises MicrophoneError as it does."""
    return _described(_device_info(device))


def _can_hear(info: Any) -> bool:
    return bool(info["max_input_channels"] > 0)


def _described(info: Any) -> InputDevice:
    return InputDevice(
        info["index"],
        info["name"],
        info["max_input_channels"],
        round(info["default_samplerate"]),
        info["index"] == _sounddevice().default.device[0],
    )


def _device_info(device: int | str | None) -> Any:
    sd = _sounddevice()
    try:
        return sd.query_devices(device, "input")
    except (sd.PortAudioError, ValueError) as error:
        if not devices():
            raise MicrophoneError("no microphone: the system has no audio input device") from error
        wanted = "default microphone" if device is None else f"microphone {device!r}"
        raise MicrophoneError(f"there is no {wanted}; see: streamer devices") from error


def _sounddevice() -> Any:
    """The module, loaded when first needed: it is an extra, and loads PortAudio."""
    try:
        import sounddevice
    except ImportError as error:
        raise MicrophoneError(
            "the microphone needs the Python package sounddevice: pip install -e '.[mic]'"
        ) from error
    except OSError as error:
        raise MicrophoneError(
            "the microphone needs the system library PortAudio: apt-get install libportaudio2"
        ) from error
    return sounddevice
