"""The losses against their definitions."""

import itertools
import random

import pytest
import torch

from models.training.losses import Targets, ctc, distillation, peak_first, trim_tail

B, T, V = 2, 5, 3
BLANK = 2
FRAMES = torch.tensor([5, 3])
TARGETS = Targets.of([[0, 1], [1]])


def logits(seed: int) -> torch.Tensor:
    return torch.randn(B, T, V, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != BLANK]


def test_ctc_is_the_sum_over_all_alignments() -> None:
    x = logits(0)
    log_probs, total = x.log_softmax(-1), torch.zeros(())
    for row, (frames, target) in enumerate(((5, [0, 1]), (3, [1]))):
        paths = [p for p in itertools.product(range(V), repeat=frames) if collapse(p) == target]
        scores = [sum(log_probs[row, t, label] for t, label in enumerate(p)) for p in paths]
        total = total - torch.stack(scores).logsumexp(0)
    torch.testing.assert_close(ctc(x, FRAMES, TARGETS, BLANK), total / 3)


def test_a_clip_too_short_for_its_text_counts_nothing() -> None:
    one = Targets.of([[0, 1], [1, 1]])  # 1 1 needs three frames
    x = logits(1)
    short = ctc(x, torch.tensor([5, 2]), one, BLANK)
    first = ctc(x[:1], torch.tensor([5]), Targets.of([[0, 1]]), BLANK)
    torch.testing.assert_close(short * 4, first * 2)


def divergence(goal: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """KL of one frame."""
    p, q = goal.softmax(-1), x.softmax(-1)
    return (p * (p / q).log()).sum()


def test_distillation_is_the_divergence_of_valid_frames_from_a_fixed_teacher() -> None:
    student, teacher = logits(2), logits(3)
    pairs = [(b, t) for b, frames in enumerate(FRAMES) for t in range(frames)]
    expected = sum(divergence(teacher[b, t], student[b, t]) for b, t in pairs) / 3
    loss = distillation(student, teacher, FRAMES, TARGETS)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert not student.grad[1, 3:].any()
    assert student.grad[1, :3].any(dim=-1).all()
    assert distillation(student, student, FRAMES, TARGETS).abs() < 1e-6


def test_peak_first_draws_each_frame_to_the_next_and_leaves_the_last_alone() -> None:
    x = logits(4)
    pairs = [(b, t) for b, frames in enumerate(FRAMES) for t in range(frames - 1)]
    expected = sum(divergence(x[b, t + 1], x[b, t]) for b, t in pairs) / 3
    loss = peak_first(x, FRAMES, TARGETS)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert x.grad is not None
    assert not x.grad[0, 4].any()
    assert not x.grad[1, 2:].any()
    step = (x - 0.1 * x.grad).detach()
    assert divergence(x[0, 1], step[0, 0]) < divergence(x[0, 1], x[0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_a_trimmed_clip_keeps_half_and_room_for_its_text(seed: int) -> None:
    frames, least = torch.tensor([40, 41, 10, 3, 6]), torch.tensor([5, 41, 9, 7, 1])
    left = trim_tail(frames, 12, least, random.Random(seed))
    assert (left <= frames).all()
    assert (left >= frames - 12).all()
    assert (left >= (frames + 1) // 2).all()
    assert (left >= torch.minimum(frames, least)).all()
    assert left[1] == 41
    torch.testing.assert_close(trim_tail(frames, 0, least, random.Random(seed)), frames)


def test_trimming_does_cut() -> None:
    frames = torch.full((50,), 40)
    left = trim_tail(frames, 12, torch.ones(50, dtype=torch.int64), random.Random(0))
    assert left.min() == 28
    assert left.max() == 40
