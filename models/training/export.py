"""Turn runs' averaged weights into a checkpoint directory that this engine and transformers load.

python -m models.training.export --run runs/tiny-en --out models/pretrained/tiny-en

Given several runs of one network, their mean is exported (checkpoint averaging).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from models import checkpoint
from models.features import FeatureConfig
from models.training.mistakes import told
from models.training.network import MEL_BINS, VOCABULARY, check_geometry, config_of, read_weights
from models.vocabulary import Vocabulary
from models.wav2vec2_bert import Wav2Vec2BertForCTC

USUAL_CHUNK_MEL_FRAMES = 32  # 320 ms: full context normalises as the preset `default` does


def export(runs: Sequence[Path], out: Path, vocabulary: Vocabulary = VOCABULARY) -> None:
    """Write the mean of the running averages of ``runs``, rounded to bfloat16, to ``out``.

    ``vocabulary`` is the recipe's, with what was measured of the words.

    Raises:
        TrainingError, CheckpointError: a run is not there, or they are of different networks.
    """
    averages = [read_weights(str(run)) for run in runs]
    config = config_of(averages[0])
    for run, average in zip(runs, averages, strict=True):
        check_geometry(average, config, str(run))
    mean = {
        name: torch.stack([average[name] for average in averages]).mean(dim=0)
        for name in averages[0]
    }
    write(mean, out, torch.bfloat16, vocabulary)


def write(
    weights: dict[str, torch.Tensor],
    out: Path,
    dtype: torch.dtype,
    vocabulary: Vocabulary = VOCABULARY,
) -> None:
    """A network of the scratch recipe as a checkpoint directory."""
    config = config_of(weights)
    model = Wav2Vec2BertForCTC(config)
    model.load_state_dict(weights)
    stride = config.feature_projection_input_dim // MEL_BINS
    features = FeatureConfig(
        normalization="running", stride=stride, chunk_frames=USUAL_CHUNK_MEL_FRAMES // stride
    )
    checkpoint.save(out, model.to(dtype), features, vocabulary)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="export training runs as a checkpoint directory")
    parser.add_argument(
        "--run", type=Path, action="append", required=True, help="may be given several times"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--confidence-exponent", type=float, default=1.0, help="calibrates the words' confidences"
    )
    parser.add_argument(
        "--lm-confidence-exponent", type=float, help="the same with the language model"
    )
    parser.add_argument(
        "--word-start-delay-ms", type=float, default=0.0, help="of first frames behind words"
    )
    parser.add_argument(
        "--word-end-delay-ms", type=float, default=0.0, help="of last frames behind their ends"
    )
    measured = vars(parser.parse_args())
    runs, out = measured.pop("run"), measured.pop("out")
    return told(
        "export",
        lambda: export(runs, out, replace(VOCABULARY, **measured)),
        checkpoint.CheckpointError,
        ValueError,
    )


if __name__ == "__main__":
    sys.exit(main())
