"""A model that can be predicted: every frame's token is written into the frame's own samples.

`audio(ids)` writes tokens into samples, `speak(text)` spells a text; `FakeModel` reads them back.
A token's id is the whole part of sample * SCALE, its log-probability minus the fraction, the same
over all samples of its frame: so the transcript of any audio is known, whatever the windows.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from streamer.core.chunker import Waveform, Window
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.frames import Frames, Labels
from streamer.core.options import DecodingOptions
from streamer.core.scoring import NoScorer
from streamer.core.speech import Detector, Probabilities

SCALE = 64
BLANK, DELIMITER = 0, 1
CONTEXT, GRID = Context(left=0, chunk=16, right=0), Grid()
LABELS = Labels(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"), BLANK, DELIMITER)


def audio(
    ids: Iterable[int], log_probs: Iterable[float] | None = None, hop_samples: int = 320
) -> Waveform:
    """One hop of samples per frame; log-probabilities in (-1, 0], multiples of 1/64 to be exact."""
    values = np.array(list(ids), np.float32)
    if log_probs is not None:
        values -= np.array(list(log_probs), np.float32)
    return np.repeat(values / np.float32(SCALE), hop_samples)


def speak(
    text: str, letter_frames: int = 2, pause_frames: int = 1, hop_samples: int = 320
) -> Waveform:
    """The text as audio: each letter a run of frames and a pause, each space a delimiter."""
    ids: list[int] = []
    for letter in text:
        ids += [DELIMITER if letter == " " else LABELS.tokens.index(letter)] * letter_frames
        ids += [BLANK] * pause_frames
    return audio(ids, hop_samples=hop_samples)


def silence(seconds: float) -> Waveform:
    return np.zeros(Grid.samples_in(seconds), np.float32)


def read_frames(samples: Waveform, hop_samples: int) -> Frames:
    """What the model hears in samples whose grid starts at the first one."""
    values = samples[::hop_samples] * np.float32(SCALE)
    ids: npt.NDArray[np.int64] = np.floor(values).astype(np.int64)
    return Frames(ids, (ids - values).astype(np.float32))


class FakeDetector:
    """Hears speech where its frame is loud at the end, by a threshold that `LOUD` noise is below.

    What it says of a frame depends on the frame before too, as a state would.
    """

    frame_samples, context_samples = 512, 64
    SPEECH = 0.98  # minus its log-probability, a frame's value: a murmur

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def detect(self, slots: Sequence[int], samples: Sequence[Waveform]) -> list[Probabilities]:
        assert len(set(slots)) == len(slots) == len(samples), slots
        self.calls.append(tuple(slots))
        return [self.judge(each) for each in samples]

    def judge(self, samples: Waveform) -> Probabilities:
        frames, rest = divmod(len(samples) - self.context_samples, self.frame_samples)
        assert frames >= 1, len(samples)
        assert rest == 0, len(samples)
        ends = samples[self.context_samples :].reshape(frames, -1)[:, -1]
        begins = samples[: -self.context_samples].reshape(frames, -1)[:, 0]
        loud = np.maximum(ends, begins) > np.float32(0.95 / SCALE)
        return loud.astype(np.float32)

    def reset(self, slots: Sequence[int]) -> None:
        pass


class FakeModel:
    search: BeamSearch | None = None  # greedy
    detector: Detector | None = None

    def __init__(
        self,
        context: Context = CONTEXT,
        grid: Grid = GRID,
        labels: Labels = LABELS,
        slots: int = 1,
    ) -> None:
        self.context = context
        self.grid = grid
        self.labels = labels
        self.slots = slots
        self.most_windows = 1

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        runs = [len(list(run)) for _, run in groupby(slots)]
        assert len(slots) == len(windows) == len(set(slots)) * runs[0], (slots, windows)
        assert set(runs) == {runs[0]} <= set(range(self.most_windows + 1)), slots
        assert all(0 <= slot < self.slots for slot in slots), slots
        return [self.read(window) for window in windows]

    def read(self, window: Window) -> Frames:
        valid_samples = self.grid.samples(window.left + window.chunk + window.right)
        frames = read_frames(window.samples[:valid_samples], self.grid.hop_samples)
        return self.of_all_labels(frames) if window.wants_all else frames

    def of_all_labels(self, frames: Frames, doubt: float = 0.0) -> Frames:
        """With all log-probabilities: of each letter, `doubt` is heard as the letter behind it."""
        rows, ids = np.arange(len(frames.token_ids)), frames.token_ids
        probs = np.full((len(ids), len(self.labels.tokens)), 1e-5)
        letters = (ids != BLANK) & (ids != DELIMITER)
        probs[rows[letters], ids[letters] % (len(self.labels.tokens) - 1) + 1] = doubt or 1e-5
        probs[rows, ids] = np.where(letters, 0.999 - doubt, 0.999)
        return Frames(ids, frames.log_probs, np.log(probs).astype(np.float32))

    def reset(self, slots: Sequence[int]) -> None:
        assert all(0 <= slot < self.slots for slot in slots), slots


def no_scorer(_: DecodingOptions) -> NoScorer:
    return NoScorer()


class SearchedModel(FakeModel):
    """Gives all log-probabilities, with `doubt`."""

    def __init__(
        self,
        context: Context = CONTEXT,
        grid: Grid = GRID,
        *,
        slots: int = 1,
        doubt: float = 0.0,
        search: BeamSearch = BeamSearch(10, no_scorer, takes_hotwords=False),  # noqa: B008
    ) -> None:
        super().__init__(context, grid, slots=slots)
        self.doubt = doubt
        self.search = search

    def read(self, window: Window) -> Frames:
        return self.of_all_labels(super().read(window), self.doubt)

    def read_all(self, samples: Waveform) -> Frames:
        """The frames of all samples, which begin on the grid."""
        return self.of_all_labels(read_frames(samples, self.grid.hop_samples), self.doubt)
