"""`streamer finetune`: teach a Wav2Vec2-BERT checkpoint to stream, on speech with transcripts.

Owns what a run is made of: the checkpoint, perhaps with a new head, the clips, and that a folder
holds one run only. The settings are in ``recipe.py``, the run in ``job.py``, one update in
``finetuner.py``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from models import checkpoint
from models.acoustic import AcousticModel
from models.features import with_normalization
from models.training.data import SAMPLE_RATE
from models.training.dataset import count_too_fast, utterances
from models.training.finetuner import Finetuner, recompute_layers
from models.training.job import Job
from models.training.labels import Alphabet, build_vocabulary
from models.training.manifest import Row, read_manifest
from models.training.network import RUN_WEIGHTS
from models.training.progress import wish_to_stop
from models.training.recipe import Finetuning, TrainingError, from_options
from models.training.world import World, join

FREE = ("evaluate_every", "save_every_s", "log_every")  # may change between start and resumption


def run(arguments: argparse.Namespace) -> None:
    """Fine-tune until the last update or a signal asks to stop.

    Raises:
        TrainingError, CheckpointError: the checkpoint, the data or a setting is not fit for it.
    """
    recipe = from_options(Finetuning, arguments)
    if Path(arguments.checkpoint).resolve() == arguments.out.resolve():
        raise TrainingError(f"--out {arguments.out} is the checkpoint itself")
    try:
        with join(arguments.device) as world, wish_to_stop() as stop:
            prepare(arguments, recipe, world).go(stop)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU's memory is full: take a smaller --batch-s and more --accumulate, "
            "or add --recompute"
        ) from error


def prepare(arguments: argparse.Namespace, recipe: Finetuning, world: World) -> Job:
    """Load everything and take up what an earlier call has left."""
    rows = read_manifest(arguments.data)
    torch.manual_seed(recipe.seed)  # of a new head
    acoustic = read_start(arguments.checkpoint, rows, adapter=arguments.adapter)
    alphabet = Alphabet(acoustic.vocabulary)
    clips = utterances(arguments.data, rows, alphabet, recipe.max_clip_s)
    too_fast = count_too_fast(clips, alphabet, acoustic.hop_samples)
    if too_fast == len(clips):
        raise TrainingError(f"{arguments.data}: no clip is long enough for its text")
    dev = []
    if arguments.dev is not None:
        dev = utterances(arguments.dev, read_manifest(arguments.dev), alphabet, float("inf"))
    check_settings(arguments.out / "run", settings_of(arguments, recipe, world), world)
    finetuner = Finetuner(recipe, acoustic, world, getattr(torch, arguments.dtype))
    if arguments.recompute:
        recompute_layers(acoustic)
    finetuner.resume(arguments.out / "run")
    if world.first:
        hours = sum(clip.samples for clip in clips) / SAMPLE_RATE / 3600
        left_out = len(rows) - len(clips)
        print(
            f"{len(clips)} clips, {hours:.2f} h"
            + (f"; {left_out} longer than {recipe.max_clip_s:g} s left out" if left_out else "")
            + (f"; {too_fast} too short for their text, of no use" if too_fast else "")
        )
    return Job(finetuner, clips, dev, arguments.out)


def read_start(name: str, rows: Sequence[Row], *, adapter: bool) -> AcousticModel:
    """The checkpoint to start from; one without a head gets one for the characters of ``rows``.

    Its features will be normalised as a stream can know them, unless they are ``global``.
    """
    if checkpoint.has_ctc_head(name):
        if adapter:
            raise TrainingError(f"--adapter: {name} already has a head, trained without one")
        acoustic = checkpoint.load(name)
    else:
        vocabulary = build_vocabulary(row.text for row in rows)
        acoustic = checkpoint.load_encoder(name, vocabulary, adapter=adapter)
    features = acoustic.features.config
    if features.normalization != "global":
        features = with_normalization(features, "running")
    return AcousticModel(acoustic.name, acoustic.model, features, acoustic.vocabulary)


def settings_of(
    arguments: argparse.Namespace, recipe: Finetuning, world: World
) -> dict[str, object]:
    """What a run must be resumed with: everything that changes its weights."""
    settings: dict[str, object] = {
        name: str(getattr(arguments, name)) for name in ("checkpoint", "data", "dev")
    }
    settings |= {"adapter": arguments.adapter, "dtype": arguments.dtype, "processes": world.size}
    settings |= {name: value for name, value in asdict(recipe).items() if name not in FREE}
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]


def check_settings(folder: Path, settings: dict[str, object], world: World) -> None:
    """Write the settings of a new run; TrainingError where a run with others has learnt already."""
    path = folder / "settings.json"
    if not world.first:
        return
    if not (folder / RUN_WEIGHTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} of the run in {folder} cannot be read: {error}") from error
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise TrainingError(
            f"{folder} holds a run with other settings ({name}: {before.get(name)}, now "
            f"{settings[name]}); give another --out, or the same settings to go on"
        )
