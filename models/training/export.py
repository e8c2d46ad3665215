"""Turn a run's averaged weights into a checkpoint directory that this engine and transformers load.

python -m models.training.export --run runs/tiny-en --out models/pretrained/tiny-en
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from models import checkpoint
from models.features import FeatureConfig
from models.training.train import BLANK, LABELS, MODEL
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import Wav2Vec2BertForCTC


def export(run: Path, out: Path) -> None:
    """Write the running average of ``run``, rounded to bfloat16, to the directory ``out``."""
    tensors = load_file(run / "last.safetensors")
    prefix = "average."
    model = Wav2Vec2BertForCTC(MODEL)
    model.load_state_dict(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
    )
    silent = frozenset({BLANK, LABELS.index("[UNK]")})
    vocabulary = Vocabulary(LABELS, BLANK, LABELS.index("|"), silent)
    features = FeatureConfig(normalization="running")
    checkpoint.save(out, model.to(torch.bfloat16), features, vocabulary)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="export a training run as a checkpoint directory")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.run, arguments.out)


if __name__ == "__main__":
    main()
