"""Windows to token ids: the only file of the engine that knows tensors and devices.

Owns the acoustic model, its state of all slots, and the one trip of a batch to the device and
back. Must not know: streams, sessions, decoding. Called by one thread at a time.

Shapes: B window, S sample, U frame, V label.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamer.core.chunker import Waveform, Window
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.frames import Frames
from streamer.core.speech import Detector
from streamer.engine.acoustic import Acoustic
from streamer.engine.call import COLUMNS, WANTED, Answer, Call, best_of, wanted_of
from streamer.engine.device import (
    choose_device,
    choose_dtype,
    choose_sharing,
    choose_threads,
    eight_bit,
    is_out_of_memory,
    threads_of_torch,
)
from streamer.engine.graphs import Graphs, Recorder, sizes_up_to
from streamer.engine.vocabulary import labels_of

Mode = Literal["cache", "window"]
TRIAL_WINDOWS = 64
MOST_WINDOWS = 8
"""Of one stream in a call: with more of them a window is hardly cheaper, and the call is long."""


class ModelRunner:
    """Runs an acoustic model for up to ``slots`` streams; a ``core.recognizer.Model``.

    Args:
        model: loaded weights; moved to ``device`` and ``dtype``.
        mode: ``cache`` keeps the left context as encoder state, ``window`` encodes it anew.
        context: what a chunk may see, left context included, in output frames.
        slots: streams that can be open at once.
        device: ``auto`` is CUDA where there is one.
        dtype: ``auto`` is bfloat16 where the device multiplies it fast, else float32; ``int8``
            multiplies whole numbers on a CPU and keeps the rest as ``auto``; ``float8`` is a GPU's.
        kv_dtype: of keys and values that ``cache`` keeps: ``auto`` as they are computed, or 8 bits.
        threads: of torch in a step, on a CPU; 0: those with which it takes least time.
        search: how its frames are decoded; None: greedily.
        detector: what tells its streams speech from other sound, for as many slots.
        recorder: what repeats steps that it has recorded; None: every step is run anew.

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
        kv_dtype: str = "auto",
        threads: int = 0,
        search: BeamSearch | None = None,
        detector: Detector | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.slots = slots
        self.search, self.detector = search, detector
        self.context = Context(0, context.chunk, context.right) if mode == "cache" else context
        self.grid = Grid(model.hop_samples, model.tail_samples)
        self.labels = labels_of(model.vocabulary, search)
        self._cached = mode == "cache"
        self._model: Acoustic = model.place(
            self.device, self.dtype, products=eight_bit(dtype), kv=eight_bit(kv_dtype)
        )
        arena = slots if recorder is None else slots + 1  # the last for padding
        self._state = self._new_state(context, arena)
        self._graphs: Graphs | None = None
        if recorder is not None:
            self._graphs = Graphs(self._forward, recorder, slots, self.device)
        self.threads = threads
        if self.device == "cpu":
            self._divide_processors()

    def _new_state(self, context: Context, slots: int) -> Any:
        geometry = (context.left, context.chunk, context.right, self._cached)
        try:
            return self._model.init_state(slots, *geometry)
        except (RuntimeError, MemoryError) as error:
            one = _size_bytes(self._model.init_state(1, *geometry)) / 2**20
            raise ValueError(
                f"no memory for {self.slots} sessions of {one:.1f} MiB each on {self.device}"
            ) from error

    def _divide_processors(self) -> None:
        """Choose threads that are not given, and lanes for batches that gain by them."""
        most = self.threads or torch.get_num_threads()
        if not self.threads:
            choose_threads(partial(self._trial, 1), self._use, most)
        largest = min(self.slots, TRIAL_WINDOWS) if self._cached else 0
        choose_sharing(self._trial, self._share, most, largest)

    def _own_threads(self) -> AbstractContextManager[None]:
        return threads_of_torch(self.threads) if self.device == "cpu" else nullcontext()

    def _share(self, lanes: int, least: int) -> None:
        self._model.share(lanes, self.threads, least)

    def _use(self, threads: int) -> None:
        self.threads = threads

    def _trial(self, windows: int) -> None:
        """A step of so many streams; leaves every slot as if it had never been."""
        frames = self.context
        samples = np.zeros(self.grid.span_samples(frames.total), np.float32)
        window = Window(samples, frames.left, frames.chunk, frames.right, 0)
        slots = range(windows)
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

    @property
    def most_windows(self) -> int:
        """See ``core.recognizer.Model``: chunks that only look back follow each other in a call."""
        is_alone = not self._cached or self.context.right
        return 1 if is_alone else MOST_WINDOWS

    @property
    def records(self) -> bool:
        """Whether it repeats steps that were recorded."""
        return self._graphs is not None

    def unrecorded(self) -> "ModelRunner":
        """The same model with the same slots, every step of it run anew; to compare with."""
        other = copy(self)
        other._graphs = None
        return other

    @torch.inference_mode()
    def prepare(self, most_rows: int) -> None:
        """Record the steps that batches of up to so many windows need; without a recorder: nothing.

        Those that are not prepared are recorded when they are first met, in the middle of streams.
        """
        if self._graphs is None:
            return
        chunk, total = self.context.chunk, self.context.total
        for rows in sizes_up_to(min(most_rows, self.slots)):
            for each in range(1, max(self.most_windows // rows, 1) + 1):
                if each.bit_count() == 1:  # see lateness.windows_each
                    valid = total + (each - 1) * chunk
                    self._graphs.prepared(rows, self.grid.span_samples(valid), valid)

    @torch.inference_mode()
    def _run(self, slots: Sequence[int], windows: Sequence[Window]) -> list[Frames]:
        each = slots.count(slots[0])
        # In the order of their slots, so that neighbours need not be copied.
        order = sorted(range(0, len(slots), each), key=slots.__getitem__)
        runs = [windows[at : at + each] for at in order]
        call = Call(
            rows=[
                (run[0].left, sum(w.chunk for w in run), sum(map(_valid, run)), slots[at])
                for run, at in zip(runs, order, strict=True)
            ],
            samples=[self._joined(run) for run in runs],
            wanted=[
                row
                for row, run in enumerate(runs)
                if self.search is not None or any(w.wants_all for w in run)
            ],
        )
        answer = self._graphs.run(call) if self._graphs else None
        if answer is None:
            with self._own_threads():
                answer = self._run_once(call)
        frames = _parted(answer, call, runs)
        places = {at: row for row, at in enumerate(order)}
        return [part for at in range(0, len(slots), each) for part in frames[places[at]]]

    def _run_once(self, call: Call) -> Answer:
        host = np.zeros((len(call.rows), COLUMNS), np.int64)
        call.fill_rows(host)
        rows_BR = torch.from_numpy(host).to(self.device)
        samples_BS = torch.from_numpy(np.stack(call.samples)).to(self.device)
        log_probs_BUV = self._forward(samples_BS, rows_BR, call.span)
        best_2BU, every_WUV = best_of(log_probs_BUV), wanted_of(log_probs_BUV, rows_BR, call)
        return Answer.of(best_2BU.cpu(), None if every_WUV is None else every_WUV.cpu())

    def _forward(self, samples_BS: Tensor, rows_BR: Tensor, span: slice | None = None) -> Tensor:
        """Log-probs (B, U, V) of the rows of a call; the state is written in place."""
        left_B, committed_B, valid_B, slots_B = rows_BR[:, :WANTED].unbind(1)
        if self._cached:
            log_probs_BUV, self._state = self._model.forward_chunk(
                samples_BS, slots_B, committed_B, valid_B, self._state, span
            )
        else:
            log_probs_BUV, self._state = self._model.forward_window(
                samples_BS, slots_B, left_B, committed_B, valid_B, self._state
            )
        return log_probs_BUV

    def _joined(self, run: Sequence[Window]) -> Waveform:
        """The samples (S,) of windows that follow each other, each sample once."""
        if len(run) == 1:
            return run[0].samples
        step = self.grid.samples(self.context.chunk)
        return np.concatenate([*(w.samples[:step] for w in run[:-1]), run[-1].samples])

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
        with self._own_threads():
            found = self._model(on_device, torch.tensor(spans, device=self.device))
        log_probs_BUV, frames_B = found
        host, counts = log_probs_BUV.cpu().numpy(), frames_B.tolist()
        return [host[row, :count] for row, count in enumerate(counts)]

    @torch.inference_mode()
    def reset(self, slots: Sequence[int]) -> None:
        """Forget the streams in ``slots``."""
        self._state.reset(torch.tensor(slots, device=self.device))
        if self.detector is not None:
            self.detector.reset(slots)


def _parted(answer: Answer, call: Call, runs: Sequence[Sequence[Window]]) -> list[list[Frames]]:
    """For each row of a call the frames of its windows."""
    every = () if answer.every is None else answer.every
    wanted = dict(zip(call.wanted, every, strict=True))
    parted: list[list[Frames]] = []
    for row, run in enumerate(runs):
        frames, at = Frames(answer.ids[row], answer.best[row], wanted.get(row)), 0
        parted.append([])
        for window in run:
            parted[row].append(frames.part(at, at + _valid(window)))
            at += window.chunk
    return parted


def _valid(window: Window) -> int:
    """Its frames that are audio."""
    return window.left + window.chunk + window.right


def _size_bytes(state: Any) -> int:
    """All tensors in a state, however its dataclasses and tuples nest."""
    if isinstance(state, Tensor):
        return state.nbytes
    if is_dataclass(state):
        return sum(_size_bytes(getattr(state, each.name)) for each in fields(state))
    return sum(map(_size_bytes, state)) if isinstance(state, tuple | list) else 0
