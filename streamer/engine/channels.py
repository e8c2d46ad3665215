"""The sessions of one source, a session for each channel that is heard by itself, as one.

Owns what is done to all of them together, and the labels and the order of their events. Must not
know: where audio comes from, where events go.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from streamer.core.chunker import Waveform
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Closed, Event, Flushed
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions
from streamer.core.text_rules import TextRules
from streamer.engine.session import Session


class Channels:
    """Used as a session is. Of channels that are not `separate` there is one, without a label.

    All sessions have the same samples, but while `send` runs. What they answer to `flush` and
    `finish` is answered once, by the last of them.
    """

    def __init__(self, sessions: Sequence[Session], *, separate: bool) -> None:
        assert separate or len(sessions) == 1, len(sessions)
        self.sessions, self._separate = tuple(sessions), separate
        self._answers = [0] * len(self.sessions)  # flushes answered by each
        self._closed: list[Closed] = []
        self._asked: dict[asyncio.Task[Event | None], int] = {}  # for a channel's next event
        self._heard: deque[Event] = deque()  # one of each channel at most

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
        for asking in self._asked:
            asking.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    # --- in ---------------------------------------------------------------------------------------

    async def send(self, samples: Waveform) -> None:
        """Take (S,) samples, or (S, C) of separate channels; waits for room in each session."""
        for session, column in zip(self.sessions, self._columns(samples), strict=True):
            await session.send(column)

    async def flush(self, name: str) -> None:
        """Finalise what was sent so far."""
        for session in self.sessions:
            await session.flush(name)

    async def finish(self) -> None:
        """No more input will come."""
        for session in self.sessions:
            await session.finish()

    def configure(
        self,
        endpoint: EndpointRules,
        options: DecodingOptions | None = None,
        text: TextRules | None = None,
        keywords: Sequence[Phrase] | None = None,
    ) -> int:
        """Other settings from here on, for all or, where one raises ValueError, for none."""
        for session in self.sessions:
            session.check_configure(text, keywords)
        wanted = endpoint, options, text, keywords
        (sample, *_) = [each.configure(*wanted) for each in self.sessions]
        return sample

    def abort(self) -> None:
        """Leave at once; no effect on what is over."""
        for session in self.sessions:
            session.abort()

    def _columns(self, samples: Waveform) -> list[Waveform]:
        if not self._separate:
            return [samples]
        return [np.ascontiguousarray(samples[:, each]) for each in range(samples.shape[1])]

    # --- out --------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        """All events, labelled, for one reader, as they come; ends and raises as a session's."""
        for channel in range(len(self.sessions)):
            self._ask(channel)
        return self

    async def __anext__(self) -> Event:
        while not self._heard:
            if not self._asked:
                raise StopAsyncIteration
            done, _ = await asyncio.wait(self._asked, return_when=asyncio.FIRST_COMPLETED)
            for answered in sorted(done, key=self._asked.__getitem__):
                channel, said = self._asked.pop(answered), answered.result()
                if said is not None:
                    self._ask(channel)
                    event = self.labelled(channel, said)
                    self._heard.extend([] if event is None else [event])
        return self._heard.popleft()

    def _ask(self, channel: int) -> None:
        async def answer() -> Event | None:
            return await anext(self.sessions[channel].events(), None)

        self._asked[asyncio.create_task(answer(), name=f"hear channel {channel}")] = channel

    def labelled(self, channel: int, event: Event) -> Event | None:
        """The event of a channel as the client gets it; None: another channel will answer too."""
        if isinstance(event, Flushed):
            self._answers[channel] += 1
            # Flushes are answered in order: whoever comes last to this one completes it.
            others = (n for at, n in enumerate(self._answers) if at != channel)
            return event if all(n >= self._answers[channel] for n in others) else None
        if isinstance(event, Closed):
            self._closed.append(event)
            if len(self._closed) < len(self.sessions):
                return None
            return Closed(event.received, sum(each.utterances for each in self._closed))
        return replace(event, channel=channel) if self._separate else event

    @property
    def received_samples(self) -> int:
        """Samples that all channels have: the last one gets its own last."""
        return self.sessions[-1].received_samples

    def are_decoded(self, samples: int) -> bool:
        """Whether so many are, and all that was received but for what fills no window yet."""
        return all(
            session.decoded_samples >= samples and session.is_caught_up()
            for session in self.sessions
        )

    @property
    def options(self) -> DecodingOptions:
        """What holds for the audio that is sent now."""
        return self.sessions[0].options

    def unsupported(self, options: DecodingOptions) -> list[str]:
        """The names of the options that would be ignored."""
        return self.sessions[0].unsupported(options)

    @property
    def open_sessions(self) -> int:
        """How many are not over."""
        return sum(not session.is_over for session in self.sessions)
