"""One update of a checkpoint that learns to stream: its losses, gradients, weights and state.

Owns what happens between a batch and the new weights; knows nothing of files of speech, logs or
signals. The network computes in ``dtype``; the weights that are stored are float32.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.utils.checkpoint import checkpoint as recompute

from models.acoustic import AcousticModel
from models.training import checkpoint
from models.training.data import Batch
from models.training.examples import Example, Preparation
from models.training.labels import Alphabet
from models.training.losses import ctc, distillation, peak_first, trim_tail
from models.training.masters import Masters
from models.training.world import World

if TYPE_CHECKING:
    from models.training.recipe import Finetuning

LOSSES = ("loss", "ctc", "distillation", "peak_first")


class Finetuner:
    """A checkpoint, its optimiser and how far it has come."""

    def __init__(
        self, recipe: Finetuning, acoustic: AcousticModel, world: World, dtype: torch.dtype
    ) -> None:
        self.recipe, self.acoustic, self.world = recipe, acoustic, world
        self.alphabet = Alphabet(acoustic.vocabulary)
        acoustic.to(world.device)
        self.masters = Masters(acoustic.model, dtype)
        self.prepare = Preparation(
            recipe, acoustic.features.config, acoustic.stride, acoustic.model.lm_head.weight.device
        )
        self.optimizers: list[Optimizer] = [
            AdamW(
                self.masters.weights.values(),
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
            )
        ]
        self.progress = checkpoint.Progress()

    def example(self, number: int, batch: Batch) -> Example:
        """Batch ``number`` of the run with the draws that are its own, whoever makes it."""
        rng = random.Random(f"{self.recipe.seed}/mask/{number}")
        device = self.world.device
        return self.prepare(
            torch.from_numpy(batch.audio).to(device).float() / 2**15,
            torch.from_numpy(batch.lengths).to(device),
            [self.alphabet.encode(text) for text in batch.texts],
            rng,
        )

    def update(self, batches: Sequence[tuple[int, Batch]], steps: int) -> dict[str, float]:
        """One update from these batches, one of ``steps``; means of its losses over them."""
        sums = dict.fromkeys(LOSSES, 0.0)
        for number, batch in batches:
            example = self.example(number, batch)
            losses = self.losses(example, random.Random(f"{self.recipe.seed}/trim/{number}"))
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            self.masters.take_gradients(1.0 / len(batches))
            for name, loss in losses.items():
                sums[name] += loss.item() / len(batches)
            self.progress.exposure_h += example.audio_s * self.world.size / 3600
        self.world.average(self.masters.gradients)
        for group in self.optimizers[0].param_groups:
            group["lr"] = self.learning_rate(self.progress.step, steps)
        self.masters.step(self.optimizers, self.recipe.clip_norm)
        self.progress.step += 1
        return sums

    def learning_rate(self, step: int, steps: int) -> float:
        """Of the update after ``step`` others, one of ``steps``."""
        return self.recipe.learning_rate * self.recipe.rate(step, steps)

    def losses(self, example: Example, rng: random.Random) -> dict[str, Tensor]:
        """The loss and its parts; a part that this batch or this recipe has not is left out."""
        recipe, model, targets = self.recipe, self.acoustic.model, example.targets
        frames = example.frames
        if recipe.trim_s and example.chunking is not None:
            least = targets.counts * self.acoustic.stride
            frames = trim_tail(frames, self.prepare.frames(recipe.trim_s), least, rng)
        features = example.features.to(model.lm_head.weight.dtype)
        logits, outputs = model(features, frames, example.chunking)
        losses = {"ctc": ctc(logits, outputs, targets, self.acoustic.vocabulary.blank)}
        loss = losses["ctc"]
        if recipe.distillation and example.chunking is not None:
            with torch.no_grad():
                teacher, _ = model(features, frames)
            losses["distillation"] = distillation(logits, teacher, outputs, targets)
            loss = loss + recipe.distillation * losses["distillation"]
        if recipe.peak_first:
            losses["peak_first"] = peak_first(logits, outputs, targets)
            loss = loss + recipe.peak_first * losses["peak_first"]
        return losses | {"loss": loss}

    def save(self, folder: Path) -> None:
        """Write everything that ``resume`` needs."""
        checkpoint.save(folder, self.progress, self.masters.weights, {}, self.optimizers)

    def resume(self, folder: Path) -> None:
        """Go on from ``folder`` if there is something."""
        self.progress = checkpoint.resume(folder, self.masters.weights, {}, self.optimizers)
        self.masters.copy_back()


def recompute_layers(acoustic: AcousticModel) -> None:
    """Keep only the inputs of encoder layers for the gradient and compute the rest again.

    (Gradient checkpointing, Chen et al. 2016.) A third more time, far less memory.
    """
    for layer in acoustic.model.wav2vec2_bert.encoder.layers:
        layer.forward = partial(recompute, layer.forward, use_reentrant=False)
