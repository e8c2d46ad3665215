"""Speech or other sound, for all slots of an engine at once, on the model's device.

Owns the state that a network for voice activity has of every stream. Must not know: streams, what
follows from speech. Called by one thread at a time.

Shapes: B stream, N frame, S sample, C channel.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from streamer.core.chunker import Waveform
from streamer.core.speech import Probabilities
from streamer.engine.device import threads_of_torch


class Network(Protocol):
    """What the engine needs of a network; see ``models.voice_activity``."""

    def features(self, samples_NS: Tensor) -> Tensor:
        """(N, C) of frames with their context."""

    def __call__(
        self, features: PackedSequence, state: tuple[Tensor, Tensor]
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
        """Probabilities of the frames of B streams, and the state (1, B, C) behind them."""


class SpeechDetector:
    """A ``core.speech.Detector`` around ``network``, which is on ``device`` in float32.

    One thread of torch runs it on a CPU: a network this small gains nothing by others.
    """

    def __init__(
        self,
        network: Network,
        *,
        frame_samples: int,
        context_samples: int,
        channels: int,
        slots: int,
        device: str,
    ) -> None:
        self.frame_samples, self.context_samples = frame_samples, context_samples
        self._network, self._device = network, device
        self._state = (
            torch.zeros(1, slots, channels, device=device),
            torch.zeros(1, slots, channels, device=device),
        )

    @torch.inference_mode()
    def detect(self, slots: Sequence[int], samples: Sequence[Waveform]) -> Sequence[Probabilities]:
        """See ``core.speech.Detector``."""
        with threads_of_torch(1):
            return self._detect(slots, samples)

    def _detect(self, slots: Sequence[int], samples: Sequence[Waveform]) -> list[Probabilities]:
        heard = self.context_samples + self.frame_samples
        frames = [torch.from_numpy(each).unfold(0, heard, self.frame_samples) for each in samples]
        features_NC = self._network.features(torch.cat(frames).to(self._device))
        parts = torch.split(features_NC, [len(each) for each in frames])
        rows_B = torch.tensor(slots, device=self._device)
        hidden, cell = (state[:, rows_B] for state in self._state)
        packed, (hidden, cell) = self._network(
            pack_sequence(list(parts), enforce_sorted=False), (hidden, cell)
        )
        for state, new in zip(self._state, (hidden, cell), strict=True):
            state[:, rows_B] = new
        return [each.cpu().numpy() for each in unpack_sequence(packed)]

    @torch.inference_mode()
    def reset(self, slots: Sequence[int]) -> None:
        """See ``core.speech.Detector``."""
        for state in self._state:
            state[:, torch.tensor(slots, device=self._device)] = 0
