"""Audio that a broker delivers, on its way into one session.

Owns the bounded queue between a connection that must not wait and a session that may, and what
happens to audio that does not fit: it is reported as a gap, in its place. Must not know: topics.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from streamer.audio import SAMPLE_RATE, PcmDecoder, bytes_per_sample
from streamer.engine.session import Session
from streamer.messages import AudioFormat

MAX_WAITING_BYTES = 4 << 20  # two minutes of 16 kHz s16le
MAX_WAITING_ITEMS = 20_000
SLICES_PER_S = 4  # a large packet is decoded in slices, so that others get their turn


@dataclass(frozen=True, slots=True)
class _Packet:
    audio: AudioFormat
    data: bytes


@dataclass(slots=True)
class _Lost:
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Flush:
    id: str


class Inlet:
    """`put_audio`, `put_flush` and `close` never wait; `feed` hands on, in order, to a session.

    At its limits, MAX_WAITING_BYTES or MAX_WAITING_ITEMS: audio becomes a gap, a flush is dropped.
    """

    def __init__(self) -> None:
        self._items: deque[_Packet | _Lost | _Flush] = deque()
        self._waiting_bytes = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    def put_audio(self, audio: AudioFormat, data: bytes) -> None:
        """Queue PCM; no effect after `close`."""
        if self._is_closed or not data:
            return
        if self._has_room(len(data)):
            self._items.append(_Packet(audio, data))
            self._waiting_bytes += len(data)
        else:
            duration_s = len(data) / bytes_per_sample(audio) / audio.sample_rate
            if self._items and isinstance(last := self._items[-1], _Lost):
                last.duration_s += duration_s
            else:
                self._items.append(_Lost(duration_s))
        self._changed.set()

    def put_flush(self, name: str) -> bool:
        """Queue a flush; whether there was room for it."""
        has_room = not self._is_closed and self._has_room(0)
        if has_room:
            self._items.append(_Flush(name))
            self._changed.set()
        return has_room

    def close(self) -> None:
        """Nothing more will come: `feed` finishes the session behind what is queued."""
        self._is_closed = True
        self._changed.set()

    async def feed(self, session: Session, idle_timeout_s: float) -> None:
        """Hand on until closed, or until nothing came for so long; then finish the session."""
        decoder: PcmDecoder | None = None
        decoded: AudioFormat | None = None
        while (item := await self._next(idle_timeout_s)) is not None:
            match item:
                case _Lost(duration_s=duration_s):
                    session.report_gap(max(1, round(duration_s * SAMPLE_RATE)))
                case _Flush(id=name):
                    await session.flush(name)
                case _Packet(audio=audio):
                    if decoder is None or audio != decoded:
                        if decoder is not None:
                            await session.send(decoder.finish())
                        decoder, decoded = PcmDecoder(audio), audio
                    await _send(session, decoder, item)
        if decoder is not None:
            await session.send(decoder.finish())
        await session.finish()

    def _has_room(self, size_bytes: int) -> bool:
        fits = self._waiting_bytes + size_bytes <= MAX_WAITING_BYTES
        return fits and len(self._items) < MAX_WAITING_ITEMS

    async def _next(self, idle_timeout_s: float) -> _Packet | _Lost | _Flush | None:
        """The next item; None at the end. Closed from within when it has been idle too long."""
        while not self._items:
            if self._is_closed:
                return None
            self._changed.clear()
            try:
                async with asyncio.timeout(idle_timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                self._is_closed = True
        item = self._items.popleft()
        if isinstance(item, _Packet):
            self._waiting_bytes -= len(item.data)
        return item

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing more: somebody closed it, or it was idle for too long."""
        return self._is_closed


async def _send(session: Session, decoder: PcmDecoder, packet: _Packet) -> None:
    audio = packet.audio
    slice_bytes = bytes_per_sample(audio) * (audio.sample_rate // SLICES_PER_S)
    for at in range(0, len(packet.data), slice_bytes):
        await session.send(decoder.accept(packet.data[at : at + slice_bytes]))
