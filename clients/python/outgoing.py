"""What a client says, kept until nobody will ask for it again.

Owns the positions in it: what was sent, what the server has taken, what is in finals. Counts bytes
of audio and messages since the beginning, over all sessions. Must not know: sockets, tasks, clocks.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from streamer.messages import (
    Configure,
    Confirm,
    DecodingPatch,
    EndpointPatch,
    Flush,
    Start,
    Stop,
    TextWishes,
)

Message = Flush | Configure | Stop | Confirm
Item = bytes | Message
Patch = TypeVar("Patch", EndpointPatch, DecodingPatch, TextWishes)

FRAME_BYTES = 32 << 10  # of one websocket message
SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
MAX_KEPT_S = 60.0
MAX_KEPT_BYTES = 8 << 20  # of audio whose seconds cannot be counted
NEVER = 2**53
ANSWER_S = 0.6  # of audio that is acknowledged at the latest


@dataclass(frozen=True, slots=True)
class Patience:
    """How a client comes back: after a random part of a pause that doubles, up to a limit."""

    first_s: float = 0.25
    longest_s: float = 5.0
    total_s: float = 60.0  # without a connection; 0: a lost connection is an error at once

    def pauses_s(self) -> Iterator[float]:
        """Pauses before each try. All is left to chance: a thousand clients come back spread."""
        bound_s = self.first_s
        while True:
            yield random.uniform(0, bound_s)  # noqa: S311 (no secret)
            bound_s = min(2 * bound_s, self.longest_s)


class Outgoing:
    """A queue that can be read again from any place that a server may name.

    `keeps_finals`: also what was taken is kept until it is in a final, for a new session. At the
    limit of MAX_KEPT_S: what was taken goes first, and a new session will miss it; then `is_full`,
    and whoever adds must wait.
    """

    def __init__(self, start: Start, *, keeps_finals: bool) -> None:
        audio = start.audio
        self.start = start  # with all that was configured before the first item
        self.bytes_per_s = 0  # 0: not to be known
        if audio.encoding in SAMPLE_BYTES:
            self._frame_bytes = SAMPLE_BYTES[audio.encoding] * audio.channels
            self.bytes_per_s = audio.sample_rate * self._frame_bytes
        self._max_bytes = round(MAX_KEPT_S * self.bytes_per_s) or MAX_KEPT_BYTES
        self._keeps_finals = keeps_finals and self.bytes_per_s > 0
        self._items: deque[Item] = deque()
        self._first_bytes = self._first_messages = 0  # before `_items`
        self._last_bytes = self._last_messages = 0  # behind them
        self._next = 0  # index of the next item to send
        self._sent_bytes = self._sent_messages = 0
        self._taken_bytes = self._taken_messages = 0
        self._final_bytes = 0  # everything before is in a final
        channels = range(audio.channels) if audio.separate else [None]
        self._channel_final_bytes: dict[int | None, int] = dict.fromkeys(channels, 0)
        self._session_bytes = self._session_messages = 0  # where the session began
        self._flushes: deque[tuple[int, int]] = deque()  # places behind those not answered
        self._stop_messages: int | None = None  # the place behind it

    # --- in and out -------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """Audio, or a message that takes effect behind it."""
        if not isinstance(item, bytes):
            self._items.append(item)
            self._last_messages += 1
            if isinstance(item, Flush):
                self._flushes.append((self._last_bytes, self._last_messages))
            elif isinstance(item, Stop):
                self._stop_messages = self._last_messages
            return
        for at in range(0, len(item), FRAME_BYTES):
            self._items.append(item[at : at + FRAME_BYTES])
        self._last_bytes += len(item)
        self._release()

    def next(self) -> Item | None:
        """The next item to send, from now on sent."""
        if self._next == len(self._items):
            return None
        item = self._items[self._next]
        self._next += 1
        if isinstance(item, bytes):
            self._sent_bytes += len(item)
        else:
            self._sent_messages += 1
        return item

    @property
    def is_full(self) -> bool:
        """Whether no more can be kept."""
        return self._last_bytes - self._first_bytes >= self._max_bytes

    @property
    def awaits_answer(self) -> bool:
        """Whether the server, if it lives, will say something soon."""
        owed = self._flushes[0][1] if self._flushes else self._stop_messages or NEVER
        unheard_bytes = self._sent_bytes - self._taken_bytes
        per_s = self.bytes_per_s or float("inf")
        return owed <= self._sent_messages or unheard_bytes > ANSWER_S * per_s

    # --- what the server says ---------------------------------------------------------------------

    def taken(self, audio_bytes: int, messages: int) -> None:
        """The session has so much, and will not ask for it again."""
        self._taken_bytes = self._session_bytes + audio_bytes
        self._taken_messages = self._session_messages + messages
        self._release()

    def taken_until(self, session_s: float) -> None:
        """The same, from a server that counts no bytes: a little less than it has."""
        if not self.bytes_per_s:
            self._taken_bytes = self._sent_bytes
        else:
            self._taken_bytes = max(self._taken_bytes, self._place(session_s))
        self._taken_messages = self._sent_messages
        self._release()

    def final_until(self, session_s: float, channel: int | None = None) -> None:
        """Everything up to this time of the session is in finals; None: of all channels."""
        if self.bytes_per_s:
            finals = self._channel_final_bytes
            for each in finals if channel is None else [channel]:
                finals[each] = max(finals.get(each, 0), self._place(session_s))
            self._final_bytes = max(self._final_bytes, min(finals.values()))
            self._release()

    def flushed(self) -> None:
        """The oldest flush was answered: everything before it is in finals."""
        at_bytes, at_messages = self._flushes.popleft()
        self._final_bytes = max(self._final_bytes, at_bytes)
        self._taken_bytes = max(self._taken_bytes, at_bytes)
        self._taken_messages = max(self._taken_messages, at_messages)
        self._release()

    def all_taken(self, session_samples: int) -> bool:
        """Whether a session that has received so much (at 16 kHz) has all there is."""
        if not self.bytes_per_s:
            return True
        frames = (self._last_bytes - self._session_bytes) // self._frame_bytes
        return session_samples >= -(-frames * 16_000 // self.start.audio.sample_rate)

    # --- another connection -----------------------------------------------------------------------

    def resume(self, audio_bytes: int, messages: int) -> None:
        """The session goes on behind this; ValueError if that is not here any more."""
        self.taken(audio_bytes, messages)
        self._rewind(self._taken_bytes, self._taken_messages)

    def restart(self) -> tuple[float, float]:
        """A new session begins with the oldest that is here.

        Gives its beginning, and what is lost before it, in seconds of audio.
        """
        lost_bytes = self._first_bytes - self._final_bytes
        while self._items and self._first_bytes < self._final_bytes:
            self._drop(self._final_bytes - self._first_bytes)
        self._session_bytes, self._session_messages = self._first_bytes, self._first_messages
        self._taken_bytes, self._taken_messages = self._first_bytes, self._first_messages
        self._rewind(self._first_bytes, self._first_messages)
        per_s = self.bytes_per_s or 1
        return self._first_bytes / per_s, max(0, lost_bytes) / per_s

    @property
    def unheard_s(self) -> float:
        """Seconds of audio that are in no final."""
        return (self._last_bytes - self._final_bytes) / (self.bytes_per_s or float("inf"))

    def _rewind(self, to_bytes: int, to_messages: int) -> None:
        at_bytes, at_messages = self._first_bytes, self._first_messages
        for index, item in enumerate(self._items):
            if at_bytes == to_bytes and at_messages == to_messages:
                self._next = index
                break
            if not isinstance(item, bytes):
                at_messages += 1
            elif at_bytes + len(item) > to_bytes:
                self._items[index] = item[: to_bytes - at_bytes]
                self._items.insert(index + 1, item[to_bytes - at_bytes :])
                self._next = index + 1
                at_bytes = to_bytes
                break
            else:
                at_bytes += len(item)
        else:
            self._next = len(self._items)
        if (at_bytes, at_messages) != (to_bytes, to_messages):
            raise ValueError(f"expected what is kept, got {to_bytes} bytes, {to_messages} messages")
        self._sent_bytes, self._sent_messages = to_bytes, to_messages

    def _place(self, session_s: float) -> int:
        frames = int(session_s * self.start.audio.sample_rate)
        return min(self._session_bytes + frames * self._frame_bytes, self._last_bytes)

    def _release(self) -> None:
        """Forget what nobody will ask for: of what is taken, at most the limit is kept."""
        while self._items and self._next > 0:
            item = self._items[0]
            size = len(item) if isinstance(item, bytes) else 0
            end, count = self._first_bytes + size, self._first_messages + (size == 0)
            if end > self._taken_bytes or count > self._taken_messages:
                return
            if self._keeps_finals and end > self._final_bytes and not self.is_full:
                return
            self._drop(size)
            self._next -= 1

    def _drop(self, max_bytes: int) -> None:
        """Forget the first item; of audio, not more than so much."""
        item = self._items.popleft()
        if isinstance(item, bytes):
            if len(item) > max_bytes:
                self._items.appendleft(item[max_bytes:])
            self._first_bytes += min(len(item), max_bytes)
            return
        self._first_messages += 1
        if isinstance(item, Configure):
            self.start = _configured(self.start, item)


def _configured(start: Start, change: Configure) -> Start:
    """The start message that a new session needs after this change."""
    return replace(
        start,
        endpoint=_patched(start.endpoint, change.endpoint),
        decoding=_patched(start.decoding, change.decoding),
        text=_patched(start.text, change.text),
        hotwords=start.hotwords if change.hotwords is None else change.hotwords,
        keywords=start.keywords if change.keywords is None else change.keywords,
    )


def _patched(settings: Patch, change: Patch) -> Patch:
    wanted = {each.name: getattr(change, each.name) for each in fields(change)}
    return replace(settings, **{name: v for name, v in wanted.items() if v is not None})
