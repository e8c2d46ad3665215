"""Where speech is, as a detector of voice activity tells that hears the stream beside the model.

Owns the samples that no verdict was asked for, the verdicts, and from when on they count. Must not
know: the detector's network, labels, endpoint rules.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from streamer.core.chunker import Waveform
from streamer.core.stretches import Stretches

SPEECH_FROM, SPEECH_UNTIL = 0.5, 0.35
"""Speech begins in a frame at least so probable, and lasts until one below the second."""

NEVER = 1 << 62
"""A sample that no stream comes to."""

Probabilities: TypeAlias = npt.NDArray[np.float32]


class Detector(Protocol):
    """Tells speech from other sound, frame by frame, with a row of state (a slot) per stream.

    A frame is `frame_samples` long and is heard with the `context_samples` before it.
    """

    @property
    def frame_samples(self) -> int:
        """The samples of a frame."""

    @property
    def context_samples(self) -> int:
        """The samples before a frame that are heard with it."""

    def detect(self, slots: Sequence[int], samples: Sequence[Waveform]) -> Sequence[Probabilities]:
        """How probable speech is in each next frame of the streams in `slots`, which are distinct.

        samples[i] is float32 (context + N * frame,), N >= 1, and the answer (N,) in [0, 1]. If it
        raises, the state of every slot is as it was before.
        """

    def reset(self, slots: Sequence[int]) -> None:
        """Forget the streams in these slots."""


@dataclass(slots=True)
class _Frame:
    """Up to the sample `end` of the clock, from the end of the one before."""

    end: int
    is_speech: bool | None = None  # None: no verdict yet
    is_lost: bool = False  # nobody heard it


class SpeechMeter:
    """Samples in, stretches of speech out, on a grid of the detector's own.

    It begins with `turn_on`. What was before, and what a gap has lost, counts as loud: nobody knows
    what it was. A verdict counts only when `count` has come to its frame, however early it was
    given: so neither the packets nor the moments of asking change a result. Counts samples on the
    stream's clock. Holds the samples between two calls of `take_unheard`.
    """

    def __init__(self, detector: Detector) -> None:
        self._size, self._context_samples = detector.frame_samples, detector.context_samples
        self.is_on = False
        self._pending: list[Waveform] = []  # context, then samples not asked for
        self._rest = 0  # of them, those behind the last whole frame
        self._unheard = 0  # whole frames among them
        self._frames: deque[_Frame] = deque()  # whose verdicts do not count yet
        self._expected: deque[_Frame] = deque()  # of these, the ones without a verdict
        self._end = 0  # of the last frame
        self._is_speech = False  # in the last frame judged
        self._stretches = Stretches()
        self.known = 0  # up to where verdicts count
        self._onsets: deque[int] = deque()  # where speech began, up to `known`
        self._lasts = False  # speech does, at `known`

    def turn_on(self, at: int) -> None:
        """Hear what is accepted from now on, at the sample `at`; again: no effect."""
        if not self.is_on:
            self.is_on = True
            self._pending = [np.zeros(self._context_samples, np.float32)]
            self._lose(at)

    def accept(self, samples: Waveform) -> None:
        """Take float32 (S,) samples."""
        if not self.is_on:
            return
        self._pending.append(samples.copy())
        self._rest += len(samples)
        while self._rest >= self._size:
            self._rest -= self._size
            self._end += self._size
            frame = _Frame(self._end)
            self._frames.append(frame)
            self._expected.append(frame)
            self._unheard += 1

    def skip(self, lost_samples: int) -> None:
        """Samples were lost; a frame that they cut short is lost with them."""
        if self.is_on:
            samples = np.concatenate(self._pending)
            self._pending = [samples[: len(samples) - self._rest]]
            self._lose(self._end + self._rest + lost_samples)
            self._rest = 0

    def _lose(self, until: int) -> None:
        if until > self._end:
            self._frames.append(_Frame(until, is_lost=True))
            self._end = until

    def take_unheard(self) -> Waveform | None:
        """Context and all whole frames that were not taken before; None if there are none."""
        if not self.is_on:
            return None
        samples = self._pending[0]
        if len(self._pending) > 1:
            samples = np.concatenate(self._pending)
        used = len(samples) - self._rest
        self._pending, self._unheard = [samples[used - self._context_samples :]], 0
        return samples[:used] if used > self._context_samples else None

    def accept_verdict(self, probabilities: Probabilities) -> None:
        """The detector's answer to the frames first taken that have none."""
        for probability in probabilities:
            frame = self._expected.popleft()
            self._is_speech = bool(
                probability >= (SPEECH_UNTIL if self._is_speech else SPEECH_FROM)
            )
            frame.is_speech = self._is_speech

    def count(self, until: int) -> None:
        """Verdicts count up to the sample `until`, where they are there."""
        while self._frames and self._frames[0].end <= until:
            frame = self._frames[0]
            if frame.is_speech is None and not frame.is_lost:
                return
            self._frames.popleft()
            if frame.is_speech or frame.is_lost:
                self._stretches.add(self.known, frame.end)
            if frame.is_speech and not self._lasts:
                self._onsets.append(self.known)
            self._lasts = bool(frame.is_speech)
            self.known = frame.end

    def onset(self, since: int) -> int | None:
        """Where speech first began from `since` on, as far as that is not forgotten."""
        return next((onset for onset in self._onsets if onset >= since), None)

    def quiet_end(self, since: int, duration: int) -> int:
        """Where the first `duration` samples without speech from `since` on end; NEVER: not yet."""
        end = self._stretches.quiet_end(since, duration)
        return end if end <= self.known else NEVER

    def may_be_quiet_by(self, since: int, duration: int, until: int) -> bool:
        """Whether verdicts that could be asked for now may bring a `quiet_end` up to `until`."""
        end = self._stretches.quiet_end(since, duration)
        return self._unheard > 0 and self.known < end <= min(until, self._end)

    def forget(self, before: int) -> None:
        """Nobody will ask for anything before this sample again."""
        self._stretches.forget(before)
        while self._onsets and self._onsets[0] < before:
            self._onsets.popleft()
