"""`streamer train`: a small streaming Wav2Vec2-BERT with CTC, from scratch.

Owns the recipe's loop: bfloat16 weights with float32 masters, Muon for the matrices and AdamW for
the rest, CTC on the last and the middle layer, dynamic chunk masks and two normalisation policies,
so that one model serves full context and any chunk. Stops at any time and goes on from its last
checkpoint.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from models.training import checkpoint
from models.training.examples import Example
from models.training.losses import ctc
from models.training.masters import Masters
from models.training.mixture import Mixture, prepared
from models.training.network import (
    BLANK,
    RUN_WEIGHTS,
    check_geometry,
    drop_out,
    encoder_config,
    initialize,
    read_weights,
)
from models.training.progress import clock, wish_to_stop
from models.training.recipe import Geometry, Recipe, from_options
from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

LOG_EVERY = 50  # updates


class Trainer:
    """Bfloat16 model, float32 masters, their running average, and the two optimisers."""

    def __init__(self, recipe: Recipe, config: EncoderConfig) -> None:
        self.recipe, self.model = recipe, Wav2Vec2BertForCTC(config)
        initialize(self.model)
        drop_out(self.model, recipe.dropped_channel_share, recipe.dropped_branch_share)
        self.masters = Masters(self.model, torch.bfloat16)
        weights = self.masters.weights
        self.average = {name: master.clone() for name, master in weights.items()}
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for name, master in weights.items():
            inner = master.ndim == 2 and "encoder.layers" in name
            (matrices if inner else others).append(master)
        self.optimizers: list[Optimizer] = [
            Muon(
                matrices, lr=recipe.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
            ),
            AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.progress = checkpoint.Progress()

    def step(self, example: Example) -> float:
        """One update; returns the CTC loss of the last layer."""
        encoder, head = self.model.wav2vec2_bert, self.model.lm_head
        hidden, frames, middle = encoder(
            example.features.bfloat16(), example.frames, example.chunking
        )
        loss, middle_loss = (ctc(head(x), frames, example.targets, BLANK) for x in (hidden, middle))
        (loss + self.recipe.middle_weight * middle_loss).backward()  # type: ignore[no-untyped-call]
        self.masters.take_gradients()
        rate = self.recipe.rate(self.progress.exposure_h)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.recipe.learning_rate * rate
        self.masters.step(self.optimizers, self.recipe.clip_norm)
        decay = min(self.recipe.average_decay, (self.progress.step + 1) / (self.progress.step + 20))
        averages, masters = list(self.average.values()), list(self.masters.weights.values())
        torch._foreach_lerp_(averages, masters, 1.0 - decay)
        self.progress.step += 1
        self.progress.exposure_h += example.audio_s / 3600
        return loss.item()

    def start(self, source: str) -> None:
        """Take the weights of a checkpoint or of a run's average for the first ones.

        Raises:
            TrainingError, CheckpointError: there are none, or they have other sizes.
        """
        weights = read_weights(source)
        check_geometry(weights, self.model.config, source)
        for target in (self.masters.weights, self.average):
            for name, tensor in target.items():
                tensor.copy_(weights[name])
        self.masters.copy_back()

    def save(self, folder: Path) -> None:
        """Write everything that ``resume`` needs."""
        weights = self.masters.weights
        checkpoint.save(folder, self.progress, weights, self.average, self.optimizers)

    def resume(self, folder: Path) -> None:
        """Go on from ``folder`` if there is something."""
        weights = self.masters.weights
        self.progress = checkpoint.resume(folder, weights, self.average, self.optimizers)
        self.masters.copy_back()


def run(arguments: argparse.Namespace) -> None:
    """Train until the exposure is reached or a signal asks to stop.

    Raises:
        TrainingError, CheckpointError: the data, the start or a setting is not fit for it.
    """
    recipe, geometry = from_options(Recipe, arguments), from_options(Geometry, arguments)
    torch.manual_seed(arguments.seed)
    trainer = Trainer(recipe, encoder_config(geometry))
    if (arguments.out / RUN_WEIGHTS).exists():
        check_geometry(read_weights(str(arguments.out)), trainer.model.config, str(arguments.out))
        trainer.resume(arguments.out)
    elif arguments.start is not None:
        trainer.start(arguments.start)
    seed = arguments.seed + trainer.progress.step
    mixture = Mixture(recipe, geometry.stride, arguments, seed)
    with wish_to_stop() as stop:
        loop(trainer, mixture, arguments, stop)


def loop(
    trainer: Trainer, mixture: Mixture, arguments: argparse.Namespace, stop: list[int]
) -> None:
    """All updates that are left, and a save now and then."""
    progress, recipe = trainer.progress, trainer.recipe
    saved, losses = time.monotonic(), []
    start = time.monotonic() - progress.elapsed_s
    for example in prepared(mixture, progress.exposure_h):
        losses.append(trainer.step(example))
        progress.elapsed_s = time.monotonic() - start
        if progress.step % LOG_EVERY == 0:
            print(describe(progress, recipe, losses), flush=True)
            losses.clear()
        done = progress.exposure_h >= recipe.exposure_h
        if done or stop or time.monotonic() - saved > arguments.save_every_s:
            trainer.save(arguments.out)
            saved = time.monotonic()
        if done or stop:
            break
    if progress.exposure_h < recipe.exposure_h:
        print(f"stopped after update {progress.step}; the same command goes on from there")


def describe(progress: checkpoint.Progress, recipe: Recipe, losses: list[float]) -> str:
    """One line on how the run goes."""
    speed = progress.exposure_h * 3600 / progress.elapsed_s
    left = clock(max(0.0, recipe.exposure_h - progress.exposure_h) * 3600 / speed)
    return (
        f"step {progress.step}  heard {progress.exposure_h:.1f} h  "
        f"loss {sum(losses) / len(losses):.3f}  rate {recipe.rate(progress.exposure_h):.2f}  "
        f"human {recipe.humans(progress.exposure_h):.2f}  "
        f"{speed:.0f} x real time, {left} left"
    )
