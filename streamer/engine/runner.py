"""Windows to token ids: the only file of the engine that knows tensors and devices.

Owns the acoustic model, its state of all slots, and the one trip of a batch to the device and
back. Must not know: streams, sessions, decoding. Called by one thread at a time.

Shapes: B window, S sample, U frame, V label.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamer.core.chunker import Waveform, Window
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.frames import Frames, Labels
from streamer.engine.device import choose_device, choose_dtype, choose_threads, is_out_of_memory

Mode = Literal["cache", "window"]
TRIAL_WINDOWS = 4


class Vocabulary(Protocol):
    """What the ids of a model mean."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text of every id."""

    @property
    def blank(self) -> int:
        """The id that says nothing."""

    @property
    def delimiter(self) -> int | None:
        """The id between words, if there is one."""

    @property
    def silent(self) -> frozenset[int]:
        """Ids that are never shown."""

    @property
    def confidence_exponent(self) -> float:
        """To which power a word's confidence is right as often as it says."""

    @property
    def lm_confidence_exponent(self) -> float | None:
        """The same where a language model chooses the words; None: that one."""

    @property
    def word_start_delay_ms(self) -> float:
        """How long after a word begins its first frame begins."""

    @property
    def word_end_delay_ms(self) -> float:
        """How long after a word ends its last frame ends."""


class Acoustic(Protocol):
    """The network, as ``models.acoustic.AcousticModel`` has it; all counts are output frames."""

    vocabulary: Any

    @property
    def hop_samples(self) -> int:
        """Samples per frame."""

    @property
    def tail_samples(self) -> int:
        """Samples that a run of frames needs beyond its hops."""

    def __call__(self, samples_BS: Tensor, lengths_B: Tensor) -> Any:
        """Whole recordings, ``lengths_B`` samples each: log-probs (B, U, V) and frames (B,)."""

    def place(self, device: str, dtype: torch.dtype, *, int8: bool) -> Any:
        """The model itself, moved to ``device`` and ``dtype``; ValueError if it cannot be."""

    def init_state(self, slots: int, left: int, chunk: int, right: int, cached: bool) -> Any:
        """New state of ``slots`` streams; ValueError for a geometry that it cannot have."""

    def forward_chunk(
        self, samples_BS: Tensor, slots_B: Tensor, committed_B: Tensor, valid_B: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probs (B, U, V) of chunk | lookahead frames, and the state."""

    def forward_window(
        self,
        samples_BS: Tensor,
        slots_B: Tensor,
        left_B: Tensor,
        committed_B: Tensor,
        valid_B: Tensor,
        state: Any,
    ) -> tuple[Tensor, Any]:
        """Log-probs (B, U, V) of left | chunk | lookahead frames, and the state."""


class ModelRunner:
    """Runs an acoustic model for up to ``slots`` streams; a ``core.recognizer.Model``.

    Args:
        model: loaded weights; moved to ``device`` and ``dtype``.
        mode: ``cache`` keeps the left context as encoder state, ``window`` encodes it anew.
        context: what a chunk may see, left context included, in output frames.
        slots: streams that can be open at once.
        device: ``auto`` is CUDA where there is one.
        dtype: ``auto`` is bfloat16 where the device multiplies it fast, else float32; ``int8``
            multiplies whole numbers on a CPU and keeps the rest as ``auto``.
        threads: of torch in this process, on a CPU; 0: those with which a step takes least time.
        search: how its frames are decoded; None: greedily.

    Raises:
        ValueError: no such device, or a geometry that the model cannot have.
    """

    def __init__(
        self,
        model: Acoustic,
        *,
        mode: Mode,
        context: Context,
        slots: int,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        search: BeamSearch | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.slots = slots
        self.search = search
        self.context = Context(0, context.chunk, context.right) if mode == "cache" else context
        self.grid = Grid(model.hop_samples, model.tail_samples)
        vocabulary: Vocabulary = model.vocabulary
        self.labels = Labels(
            vocabulary.tokens,
            vocabulary.blank,
            vocabulary.delimiter,
            vocabulary.silent,
            _exponent(vocabulary, search),
            vocabulary.word_start_delay_ms,
            vocabulary.word_end_delay_ms,
        )
        self._cached = mode == "cache"
        self._model: Acoustic = model.place(self.device, self.dtype, int8=dtype == "int8")
        self._state = self._new_state(context)
        if self.device == "cpu":
            self.threads = threads or choose_threads(self._trial)
            torch.set_num_threads(self.threads)

    def _new_state(self, context: Context) -> Any:
        geometry = (context.left, context.chunk, context.right, self._cached)
        try:
            return self._model.init_state(self.slots, *geometry)
        except (RuntimeError, MemoryError) as error:
            one = _size_bytes(self._model.init_state(1, *geometry)) / 2**20
            raise ValueError(
                f"no memory for {self.slots} sessions of {one:.1f} MiB each on {self.device}"
            ) from error

    def _trial(self) -> None:
        """A step of few streams, as most are; leaves every slot as if it had never been."""
        frames = self.context
        samples = np.zeros(self.grid.span_samples(frames.total), np.float32)
        window = Window(samples, frames.left, frames.chunk, frames.right, 0)
        slots = range(min(self.slots, TRIAL_WINDOWS))
        self.run(slots, [window] * len(slots))
        self.reset(slots)

    def run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        """The best id of every valid frame of each window, and all log-probs where they are needed.

        See ``core.recognizer.Model.run``. MemoryError if the device has none for so many windows.
        """
        try:
            return self._run(slots, windows)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            raise MemoryError(f"no memory for {len(windows)} windows on {self.device}") from error

    @torch.inference_mode()
    def _run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        samples_BS = torch.from_numpy(np.stack([window.samples for window in windows]))
        valid = [window.left + window.chunk + window.right for window in windows]
        rows = [
            (w.left, w.chunk, end, slot) for w, end, slot in zip(windows, valid, slots, strict=True)
        ]
        left_B, committed_B, valid_B, slots_B = torch.tensor(rows).to(self.device).unbind(1)
        samples_BS = samples_BS.to(self.device)
        if self._cached:
            log_probs_BUV, self._state = self._model.forward_chunk(
                samples_BS, slots_B, committed_B, valid_B, self._state
            )
        else:
            log_probs_BUV, self._state = self._model.forward_window(
                samples_BS, slots_B, left_B, committed_B, valid_B, self._state
            )
        best_BU, ids_BU = log_probs_BUV.max(dim=-1)
        # One copy back for both: an id is a whole number that float32 holds.
        best, whole = torch.stack([best_BU, ids_BU.to(best_BU.dtype)]).cpu().numpy()
        ids = whole.astype(np.int64)
        needs_all = self.search is not None or any(window.wants_all for window in windows)
        every = log_probs_BUV.cpu().numpy() if needs_all else None
        return [
            Frames(
                ids[row, :count], best[row, :count], None if every is None else every[row, :count]
            )
            for row, count in enumerate(valid)
        ]

    @torch.inference_mode()
    def offline(self, recordings: Sequence[Waveform]) -> list[npt.NDArray[np.float32]]:
        """Log-probs (T, V) of each whole recording (S,) with full context, T = ceil(S / hop).

        Touches no slot. One batch: memory grows with the longest recording times their number.
        """
        spans = [self.grid.span_samples(self.grid.covering_frames(len(r))) for r in recordings]
        samples_BS = np.zeros((len(recordings), max(spans)), np.float32)
        for row, recording in zip(samples_BS, recordings, strict=True):
            row[: len(recording)] = recording
        on_device = torch.from_numpy(samples_BS).to(self.device)
        log_probs_BUV, frames_B = self._model(on_device, torch.tensor(spans, device=self.device))
        host, counts = log_probs_BUV.cpu().numpy(), frames_B.tolist()
        return [host[row, :count] for row, count in enumerate(counts)]

    @torch.inference_mode()
    def reset(self, slots: Sequence[int]) -> None:
        """Forget the streams in ``slots``."""
        self._state.reset(torch.tensor(slots, device=self.device))


def _exponent(vocabulary: Vocabulary, search: BeamSearch | None) -> float:
    with_lm = vocabulary.lm_confidence_exponent
    has_lm = search is not None and search.has_lm
    return vocabulary.confidence_exponent if with_lm is None or not has_lm else with_lm


def _size_bytes(state: Any) -> int:
    """All tensors in a state, however its dataclasses and tuples nest."""
    if isinstance(state, Tensor):
        return state.nbytes
    if is_dataclass(state):
        return sum(_size_bytes(getattr(state, each.name)) for each in fields(state))
    return sum(map(_size_bytes, state)) if isinstance(state, tuple | list) else 0
