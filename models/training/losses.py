"""The losses of training: CTC, and what makes its streamed outputs better or earlier.

Pure functions of logits. Every loss is a sum over frames divided by the number of target labels of
the batch, so that weights between them mean the same whatever the clips' lengths.

Shapes: B clip, T frame, V label.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Targets:
    """What is said in the clips of a batch, as labels one behind the other."""

    labels: Tensor  # (sum of counts,)
    counts: Tensor  # (B,)

    @staticmethod
    def of(texts: Sequence[Sequence[int]]) -> Targets:
        """Targets of clips whose label ids are given."""
        labels = torch.tensor([label for text in texts for label in text], dtype=torch.int64)
        return Targets(labels, torch.tensor([len(text) for text in texts]))

    def to(self, device: torch.device) -> Targets:
        """The same on ``device``."""
        return Targets(self.labels.to(device), self.counts.to(device))

    @property
    def total(self) -> Tensor:
        """Labels of the batch, at least 1."""
        return self.counts.sum().clamp(min=1)


def ctc(logits_BTV: Tensor, frames_B: Tensor, targets: Targets, blank: int) -> Tensor:
    """CTC loss (Graves et al. 2006) in float32; a clip too short for its labels counts nothing."""
    log_probs = logits_BTV.float().log_softmax(dim=-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probs,
        targets.labels,
        frames_B,
        targets.counts,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )
    return total / targets.total


def distillation(
    logits_BTV: Tensor, teacher_BTV: Tensor, frames_B: Tensor, targets: Targets
) -> Tensor:
    """KL divergence of the streamed outputs from those of the same weights with full context.

    The teacher gets no gradient. (Dual-mode ASR, Yu et al. 2021, arXiv 2010.06030.)
    """
    return _divergence(logits_BTV, teacher_BTV.detach(), frames_B, targets)


def peak_first(logits_BTV: Tensor, frames_B: Tensor, targets: Targets) -> Tensor:
    """KL divergence of each frame from the one after it, which gets no gradient.

    Every frame learns what the next one says, so the peaks move forward (Tian et al. 2023, arXiv
    2211.03284).
    """
    return _divergence(
        logits_BTV[:, :-1], logits_BTV[:, 1:].detach(), (frames_B - 1).clamp(min=0), targets
    )


def _divergence(logits: Tensor, goal: Tensor, frames_B: Tensor, targets: Targets) -> Tensor:
    distance = F.kl_div(
        logits.float().log_softmax(dim=-1),
        goal.float().log_softmax(dim=-1),
        reduction="none",
        log_target=True,
    ).sum(dim=-1)
    valid = torch.arange(distance.shape[1], device=distance.device) < frames_B[:, None]
    return (distance * valid).sum() / targets.total


def trim_tail(frames_B: Tensor, longest: int, least_B: Tensor, rng: random.Random) -> Tensor:
    """Valid frames (B,) after a random tail of up to ``longest`` frames was cut off each clip.

    The labels stay, so the network must say them sooner (Song et al. 2022, arXiv 2211.00522). At
    most half of a clip goes, and never so much that fewer than ``least_B`` frames are left.
    """
    cut = torch.tensor([rng.randint(0, longest) for _ in frames_B], device=frames_B.device)
    room = torch.minimum(frames_B // 2, (frames_B - least_B).clamp(min=0))
    return frames_B - torch.minimum(cut, room)
