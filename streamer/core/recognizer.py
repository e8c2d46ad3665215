"""The synchronous shell over one stream: the reference for every other shell.

Owns the `Model` protocol, the only thing the house asks of a network. Must not know: batches of
several streams, tasks, torch.
"""

from collections.abc import Sequence
from typing import Protocol

from streamer.core.chunker import Waveform, Window
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Event
from streamer.core.keywords import Phrase
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.speech import Detector
from streamer.core.stream import Stream
from streamer.core.text_rules import SPOKEN, TextRules


class Model(Protocol):
    """Windows in, frames out, with a row of state (a slot) per stream."""

    @property
    def context(self) -> Context:
        """The geometry of its windows."""

    @property
    def grid(self) -> Grid:
        """Its frame grid."""

    @property
    def labels(self) -> Labels:
        """What its ids mean."""

    @property
    def search(self) -> BeamSearch | None:
        """How its frames are decoded; None: greedily.

        Then frames need `all_log_probs` for windows only that want them.
        """

    @property
    def detector(self) -> Detector | None:
        """What tells its streams speech from other sound, by the same slots; None: nothing."""

    @property
    def slots(self) -> int:
        """How many streams it can keep state for: slots 0 to `slots` - 1."""

    @property
    def most_windows(self) -> int:
        """How many windows of one stream a call of `run` may have, and is better for; 1 or more."""

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        """The frames of each window; windows[i] is the next one of the stream in slots[i].

        A slot may be there several times in a row, each slot as often, with windows that follow
        each other, all but the last with a full chunk. If it raises, the state of every slot must
        be as it was before the call: the caller may run the same windows again, in other company.
        """

    def reset(self, slots: Sequence[int]) -> None:
        """Forget the streams in these slots, and what their detector knows of them."""


class Recognizer:
    """One stream through one model, in the caller's thread (slot 0).

    For a whole recording, `transcribe`. Incrementally: feed `stream`, then call `decode`.
    """

    def __init__(
        self,
        model: Model,
        endpoint: EndpointRules = DEFAULT_RULES,
        text: TextRules = SPOKEN,
        keywords: Sequence[Phrase] = (),
        options: DecodingOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._model = model
        geometry = model.context, model.grid, model.labels
        self.stream = Stream(
            *geometry, endpoint, model.search, text, keywords, options, model.detector
        )

    def transcribe(self, samples: Waveform) -> list[Event]:
        """All events of one recording: float32 (S,) in [-1, 1] at 16 kHz."""
        self.reset()
        self.stream.accept_waveform(samples)
        self.stream.input_finished()
        return self.decode()

    def decode(self) -> list[Event]:
        """Run every window that is ready; returns the events since the last call."""
        unheard, detector = self.stream.take_unheard(), self._model.detector
        if unheard is not None and detector is not None:
            (verdict,) = detector.detect([0], [unheard])
            self.stream.accept_verdict(verdict)
        while self.stream.is_ready():
            (frames,) = self._model.run([0], [self.stream.next_window()])
            self.stream.accept_frames(frames)
        return self.stream.take_events()

    def reset(self) -> None:
        """Begin a new stream."""
        self._model.reset([0])
        self.stream.reset()
