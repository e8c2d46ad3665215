"""A network with 20 ms frames as the start of one with 40 ms frames, which is half the work.

python -m models.training.restride --start runs/tiny-en --out runs/tiny-en-40ms

The result hears roughly what the first one heard and must be trained on. Every new frame stands for
two old ones: the projection takes the mean of both halves, convolution taps that fall together are
added, and the embedding of distance d becomes that of 2d.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoint import CheckpointError
from models.training.export import write
from models.training.mistakes import told
from models.training.network import config_of, read_weights

TAPS_SCALE = 0.75  # summed taps see smoother inputs, which would be too loud


def restride(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network for twice the stride; raises TrainingError as ``config_of``."""
    config = config_of(weights)
    left, right = config.left_max_position_embeddings, config.right_max_position_embeddings
    twice = (2 * torch.arange(-left, right + 1)).clamp(-left, right) + left
    made = {}
    for name, weight in weights.items():
        if "feature_projection.layer_norm" in name:
            made[name] = weight.repeat(2)
        elif name.endswith("feature_projection.projection.weight"):
            made[name] = torch.cat([weight, weight], dim=1) / 2
        elif name.endswith("depthwise_conv.weight"):
            made[name] = _folded(weight)
        elif name.endswith("distance_embedding.weight"):
            made[name] = weight[twice]
        else:
            made[name] = weight.clone()
    return made


def _folded(taps: Tensor) -> Tensor:
    """Taps (C, 1, K), the newest last: those of ages 2a and 2a + 1 become that of age a."""
    made = torch.zeros_like(taps)
    size = taps.shape[-1]
    for age in range(size):
        made[..., size - 1 - age // 2] += TAPS_SCALE * taps[..., size - 1 - age]
    return made


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="turn a network with 20 ms frames to 40 ms")
    parser.add_argument("--start", required=True, help="folder of a run, or a checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint directory to write")
    arguments = parser.parse_args()

    def run() -> None:
        write(restride(read_weights(arguments.start)), arguments.out, torch.float32)

    return told("restride", run, CheckpointError)


if __name__ == "__main__":
    sys.exit(main())
