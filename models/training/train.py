"""Train a small streaming Wav2Vec2-BERT with CTC from scratch.

python -m models.training.train --synthetic runs/synthetic --human runs/human --out runs/tiny-en

Owns the loop and the recipe: bfloat16 weights with float32 masters, Muon for the matrices and
AdamW for the rest, CTC on the last and the middle layer, dynamic chunk masks and two normalisation
policies, so that one model serves full context and any chunk. Stops at any time and goes on from
its last checkpoint.
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Muon, Optimizer

from models.features import FeatureConfig, FeatureExtractor, mel_lengths, stack, with_normalization
from models.training import checkpoint
from models.training.augmentation import (
    GENTLE,
    Augmentation,
    Augmenter,
    load_recordings,
    prepare_room,
)
from models.training.data import SAMPLE_RATE, Batch, batches, load_shards
from models.wav2vec2_bert import Chunking, EncoderConfig, Wav2Vec2BertForCTC

LABELS = ("|", "'", *"abcdefghijklmnopqrstuvwxyz", "[UNK]", "[PAD]")
BLANK = LABELS.index("[PAD]")
MODEL = EncoderConfig(
    vocab_size=len(LABELS),
    pad_token_id=BLANK,
    hidden_size=256,
    num_hidden_layers=6,
    num_attention_heads=4,
    intermediate_size=1024,
    conv_depthwise_kernel_size=15,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that shapes a run but its data."""

    exposure_h: float = 250.0  # audio heard until the learning rate has reached its end
    batch_s: float = 45.0
    max_clip_s: float = 16.0
    learning_rate: float = 2e-3
    warmup_h: float = 1.0
    gentle_h: float = 6.0  # clean, short clips in small batches until then: many easy steps
    gentle_batch_s: float = 32.0
    gentle_clip_s: float = 4.0
    clean_share: float = 0.5  # of the batches after that, undistorted
    decay_share: float = 0.75  # of the exposure, at the end
    human_from_h: float = 12.0  # synthetic speech alone until then: it teaches the alignment
    human_share: float = 0.15
    middle_weight: float = 0.3
    full_context_share: float = 0.15
    chunk_frames: tuple[int, int] = (8, 32)
    left_frames: tuple[int, ...] = (32, 64, 128, 256)
    utterance_share: float = 0.35  # batches normalised per utterance, the others running
    average_decay: float = 0.998
    clip_norm: float = 1.0

    def rate(self, exposure_h: float) -> float:
        """Learning rate factor: warm up, hold, fall linearly to a hundredth."""
        left = (1.0 - exposure_h / self.exposure_h) / self.decay_share
        return max(0.01, min(1.0, exposure_h / self.warmup_h + 0.01, left))

    def humans(self, exposure_h: float) -> float:
        """Share of batches with human speech: none, then rising for as long again, then flat."""
        return self.human_share * min(1.0, max(0.0, exposure_h / self.human_from_h - 1.0))


@dataclass(frozen=True, slots=True)
class Example:
    """A batch ready for the encoder."""

    features: Tensor  # (B, T, F) float32
    frames: Tensor  # (B,)
    targets: Tensor  # (sum of target lengths,)
    target_lengths: Tensor  # (B,)
    chunking: Chunking | None
    audio_s: float


def encode_text(text: str) -> list[int]:
    """Label ids of a normalised text."""
    return [LABELS.index("|" if character == " " else character) for character in text]


class Preparation:
    """Batches of clips to examples: augmentation, features, mask of the day."""

    def __init__(self, recipe: Recipe, features: FeatureConfig, seed: int) -> None:
        self.recipe, self.random = recipe, random.Random(seed)
        self.extractors = {
            policy: FeatureExtractor(with_normalization(features, policy))
            for policy in ("running", "utterance")
        }

    @torch.no_grad()
    def __call__(self, batch: Batch, augmenter: Augmenter) -> Example:
        """Distort, extract, mask."""
        audio, samples = augmenter.waveforms(
            torch.from_numpy(batch.audio), torch.from_numpy(batch.lengths)
        )
        chunking = self._draw_chunking()
        policy = "utterance" if self.random.random() < self.recipe.utterance_share else "running"
        extractor = self.extractors[policy]
        mel = extractor.log_mel(audio)
        lengths = mel_lengths(samples)
        chunk = chunking.chunk if chunking else self.random.randint(*self.recipe.chunk_frames)
        mel = augmenter.mels(extractor.normalize(mel, lengths, chunk), lengths)
        targets = [encode_text(text) for text in batch.texts]
        return Example(
            features=stack(mel, extractor.config.stride),
            frames=lengths // extractor.config.stride,
            targets=torch.tensor([label for target in targets for label in target]),
            target_lengths=torch.tensor([len(target) for target in targets]),
            chunking=chunking,
            audio_s=float(samples.sum()) / SAMPLE_RATE,
        )

    def _draw_chunking(self) -> Chunking | None:
        if self.random.random() < self.recipe.full_context_share:
            return None
        chunk = self.random.randint(*self.recipe.chunk_frames)
        return Chunking(self.random.choice(self.recipe.left_frames), chunk)


def examples(
    recipe: Recipe, progress: checkpoint.Progress, arguments: argparse.Namespace, seed: int
) -> Iterator[Example]:
    """Endless examples, as hard as ``progress`` asks for."""
    rng = random.Random(seed)
    rooms = [prepare_room(recording) for recording in load_recordings(arguments.data / "rir")]
    augmenter = Augmenter(Augmentation(), load_recordings(arguments.data / "noise"), rooms, seed)
    gentle = Augmenter(GENTLE, [], [], seed)
    synthetic, human = load_shards(arguments.synthetic, "train*"), load_shards(arguments.human)
    easy = batches(synthetic, recipe.gentle_batch_s, recipe.gentle_clip_s, rng)
    walks = [
        batches(shards, recipe.batch_s, recipe.max_clip_s, rng) for shards in (synthetic, human)
    ]
    prepare = Preparation(recipe, FeatureConfig(), seed)
    while progress.exposure_h < recipe.gentle_h:
        yield prepare(next(easy), gentle)
    while True:
        walk = walks[rng.random() < recipe.humans(progress.exposure_h)]
        yield prepare(next(walk), gentle if rng.random() < recipe.clean_share else augmenter)


def ctc(logits: Tensor, frames: Tensor, example: Example) -> Tensor:
    """CTC loss per target character, in float32."""
    log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probs,
        example.targets,
        frames,
        example.target_lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / example.target_lengths.sum()


class Trainer:
    """Bfloat16 model, float32 masters, their running average, and the two optimisers."""

    def __init__(self, recipe: Recipe, config: EncoderConfig) -> None:
        self.recipe = recipe
        model = Wav2Vec2BertForCTC(config)
        initialize(model)
        self.masters = {
            name: parameter.detach().clone() for name, parameter in model.named_parameters()
        }
        self.average = {name: master.clone() for name, master in self.masters.items()}
        self.model = model.bfloat16()
        matrices = [
            m for name, m in self.masters.items() if m.ndim == 2 and "encoder.layers" in name
        ]
        others = [
            m for name, m in self.masters.items() if m.ndim != 2 or "encoder.layers" not in name
        ]
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
        loss = ctc(head(hidden), frames, example)
        middle_loss = ctc(head(middle), frames, example)
        (loss + self.recipe.middle_weight * middle_loss).backward()  # type: ignore[no-untyped-call]
        self._update(self.recipe.rate(self.progress.exposure_h))
        self.progress.step += 1
        self.progress.exposure_h += example.audio_s / 3600
        return loss.item()

    @torch.no_grad()
    def _update(self, rate: float) -> None:
        for (_, parameter), master in zip(
            self.model.named_parameters(), self.masters.values(), strict=True
        ):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.float(), None
        nn.utils.clip_grad_norm_(self.masters.values(), self.recipe.clip_norm)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.recipe.learning_rate * rate
            optimizer.step()
        decay = min(self.recipe.average_decay, (self.progress.step + 1) / (self.progress.step + 20))
        torch._foreach_lerp_(list(self.average.values()), list(self.masters.values()), 1.0 - decay)
        for parameter, master in zip(self.model.parameters(), self.masters.values(), strict=True):
            parameter.copy_(master)

    def save(self, folder: Path) -> None:
        """Write everything that ``resume`` needs."""
        checkpoint.save(folder, self.progress, self.masters, self.average, self.optimizers)

    def resume(self, folder: Path) -> None:
        """Go on from ``folder`` if there is something."""
        self.progress = checkpoint.resume(folder, self.masters, self.average, self.optimizers)
        self.model.load_state_dict(self.masters)


def initialize(model: nn.Module) -> None:
    """Small normal weights; each layer's last projections start smaller the deeper the model is."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fan_in = parameter[0].numel()
            nn.init.normal_(
                parameter,
                std=fan_in**-0.5 * (0.3 if "output_dense" in name or "linear_out" in name else 0.8),
            )
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def run(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Train until the exposure is reached or a signal asks to stop."""
    torch.manual_seed(arguments.seed)
    trainer = Trainer(recipe, MODEL)
    trainer.resume(arguments.out)
    progress, seed = trainer.progress, arguments.seed + trainer.progress.step
    stop = signal_flag()
    saved, losses = time.monotonic(), []
    start = time.monotonic() - progress.elapsed_s
    for example in examples(recipe, progress, arguments, seed):
        losses.append(trainer.step(example))
        progress.elapsed_s = time.monotonic() - start
        if progress.step % 50 == 0:
            print(describe(progress, recipe, losses), flush=True)
            losses.clear()
        done = progress.exposure_h >= recipe.exposure_h or bool(stop)
        if done or time.monotonic() - saved > arguments.save_every_s:
            trainer.save(arguments.out)
            saved = time.monotonic()
        if done:
            break


def describe(progress: checkpoint.Progress, recipe: Recipe, losses: list[float]) -> str:
    """One line on how the run goes."""
    speed = progress.exposure_h * 3600 / progress.elapsed_s
    left_min = (recipe.exposure_h - progress.exposure_h) * 60 / speed
    return (
        f"step {progress.step}  heard {progress.exposure_h:.1f} h  "
        f"loss {sum(losses) / len(losses):.3f}  rate {recipe.rate(progress.exposure_h):.2f}  "
        f"human {recipe.humans(progress.exposure_h):.2f}  "
        f"{speed:.0f} x real time, {left_min:.0f} min left"
    )


def signal_flag() -> list[int]:
    """A list that is empty until SIGTERM or SIGINT arrives."""
    received: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: received.append(number))
    return received


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="train a small streaming model from scratch")
    parser.add_argument(
        "--synthetic", type=Path, required=True, help="folder of shards from synthesis.py"
    )
    parser.add_argument(
        "--human", type=Path, required=True, help="folder of shards of human speech"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with noise/ and rir/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run's checkpoint")
    parser.add_argument("--exposure-h", type=float, default=Recipe().exposure_h)
    parser.add_argument("--save-every-s", type=float, default=240)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    run(arguments, Recipe(exposure_h=arguments.exposure_h))


if __name__ == "__main__":
    main()
