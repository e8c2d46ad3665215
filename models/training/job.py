"""A fine-tuning run from its first or next update to its last.

Owns how long it goes and when it is evaluated, logged and saved. OUT is the best model so far, in
Hugging Face layout, replaced file by file; OUT/run holds the state to go on from and metrics.csv.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from models import checkpoint
from models.training.data import Batch
from models.training.dataset import Utterance, epoch, load, order
from models.training.evaluation import error_rates
from models.training.finetuner import LOSSES, Finetuner
from models.training.progress import RunLog

if TYPE_CHECKING:
    from models.training.recipe import Finetuning

COUNTED_EPOCHS = 100
COLUMNS = ("elapsed_s", *LOSSES, "heard_h", "learning_rate", "dev_wer", "dev_wer_full_context")


class Job:
    """A Finetuner, the clips to learn from and to be judged by, and the folder to write to."""

    def __init__(
        self, finetuner: Finetuner, clips: list[Utterance], dev: list[Utterance], out: Path
    ) -> None:
        self.finetuner, self.clips, self.dev, self.out = finetuner, clips, dev, out
        self.recipe, self.world = finetuner.recipe, finetuner.world
        self.progress = finetuner.progress
        self.lengths = [clip.samples for clip in clips]
        self.steps = updates(self.recipe, self.lengths, self.world.size)
        self.started = self.saved = time.monotonic()
        self.elapsed_before_s = self.progress.elapsed_s
        self.losses: list[dict[str, float]] = []  # since the last row of the log
        self.shown: dict[str, float] = {}  # the last loss and word error rate

    def go(self, stop: Sequence[int]) -> None:
        """Train to the end, or until ``stop`` has something in it in any process."""
        path = self.out / "run" / "metrics.csv" if self.world.first else None
        with (
            RunLog(path, COLUMNS, self.progress.step, self.steps) as log,
            closing(self._batches()) as batches,
        ):
            if self.progress.step == 0 and self.dev:
                self._log(log, self._evaluate())
            stopped = False
            while self.progress.step < self.steps and not stopped:
                used = list(islice(batches, self.recipe.accumulate))
                self.losses.append(self.finetuner.update(used, self.steps))
                stopped = self.world.total(len(stop))[0] > 0
                self._account(log, last=stopped or self.progress.step == self.steps)
        if self.world.first:
            print(self._outcome(), flush=True)

    def _batches(self) -> Generator[tuple[int, Batch], None, None]:
        """This process's batches, from the next update on."""
        plan = order(self.lengths, self.recipe.batch_s, self.recipe.seed)
        done = self.progress.step * self.recipe.accumulate * self.world.size
        return load(self.clips, plan, done + self.world.rank, self.world.size)

    def _account(self, log: RunLog, *, last: bool) -> None:
        """What is due after an update: its log, its evaluation, its save."""
        recipe, progress = self.recipe, self.progress
        progress.elapsed_s = self.elapsed_before_s + time.monotonic() - self.started
        values: dict[str, float] = {}
        if last or progress.step % recipe.log_every == 0:
            values |= _means(self.losses)
            values |= {"heard_h": progress.exposure_h}
            values |= {"learning_rate": self.finetuner.learning_rate(progress.step - 1, self.steps)}
            self.losses.clear()
        due = progress.step % recipe.evaluate_every == 0 or progress.step == self.steps
        if self.dev and due:
            values |= self._evaluate()
        log.advance()
        if values:
            self._log(log, values)
        if last or time.monotonic() - self.saved > recipe.save_every_s:
            self._save()

    def _log(self, log: RunLog, values: dict[str, float]) -> None:
        self.shown |= values
        values["elapsed_s"] = self.progress.elapsed_s
        loss, wer = self.shown.get("loss"), self.shown.get("dev_wer")
        parts = [
            "" if loss is None else f"loss {loss:.3f}",
            "" if wer is None else f"WER {wer:.1%}",
        ]
        log.row(self.progress.step, values, ", ".join(part for part in parts if part))

    def _evaluate(self) -> dict[str, float]:
        """Word error rates on the dev clips; the best model so far is kept."""
        rates = error_rates(self.finetuner.acoustic, self.dev, self.recipe.batch_s, self.world)
        if self.progress.best_wer is None or rates.streamed < self.progress.best_wer:
            self.progress.best_wer = rates.streamed
            self._export()
        return {"dev_wer": rates.streamed, "dev_wer_full_context": rates.full_context}

    def _save(self) -> None:
        if self.world.first:
            self.finetuner.save(self.out / "run")
        if not self.dev:
            self._export()
        self.saved = time.monotonic()

    def _export(self) -> None:
        """Replace the model in OUT; its weights come last."""
        if not self.world.first:
            return
        acoustic, made = self.finetuner.acoustic, self.out / "run" / "export"
        features = acoustic.features.config
        checkpoint.save(made, acoustic.model, features, acoustic.vocabulary)
        for path in sorted(made.iterdir(), key=lambda path: path.name == "model.safetensors"):
            path.replace(self.out / path.name)
        made.rmdir()

    def _outcome(self) -> str:
        step = self.progress.step
        if step < self.steps:
            return (
                f"stopped after update {step} of {self.steps}; the same command goes on from there"
            )
        best = self.progress.best_wer
        return f"finished: {self.out}" + ("" if best is None else f", streamed WER {best:.1%}")


def updates(recipe: Finetuning, lengths: Sequence[int], processes: int) -> int:
    """Updates of a run over clips of ``lengths`` samples: as asked for, or what the epochs have.

    Epochs differ by a batch or so; beyond COUNTED_EPOCHS all others count as these do.
    """
    if recipe.steps:
        return recipe.steps
    counted = min(ceil(recipe.epochs), COUNTED_EPOCHS)
    batches = sum(
        len(epoch(lengths, recipe.batch_s, recipe.seed, number)) for number in range(counted)
    )
    used = batches * recipe.epochs / counted
    return max(1, int(used / (recipe.accumulate * processes)))


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in LOSSES}
