"""What keeps a small network from learning its clips by heart: warps, and parts left out."""

import argparse
import math
import os
import signal
import subprocess
from itertools import islice
from pathlib import Path

import pytest
import torch

from models.features import LogMel
from models.training.augmentation import (
    GENTLE,
    WARP_KNEE_HZ,
    Augmentation,
    Augmenter,
    warped_bins,
)
from models.training.mixture import Mixture, prepared
from models.training.network import drop_out, encoder_config
from models.training.recipe import Geometry, Recipe
from models.wav2vec2_bert import Wav2Vec2BertForCTC
from tests.commands import ROOT, STREAMER
from tests.models.training.shards import write_data

BINS = 80


def tone(hertz: float) -> torch.Tensor:
    """Log-mels (1, M, C) of a sine."""
    return LogMel(BINS, torch.float32)(
        torch.sin(2 * math.pi * hertz / 16_000 * torch.arange(8_000))[None] * 0.5
    )


@pytest.mark.parametrize("stretch", [0.85, 1.0, 1.18])
@pytest.mark.parametrize("hertz", [400.0, 1_000.0, 2_500.0])
def test_a_warped_tone_sounds_at_another_frequency(stretch: float, hertz: float) -> None:
    augmenter = Augmenter(Augmentation(warp=(stretch, stretch)), [], [], 0)
    warped = augmenter.warp(tone(hertz)).mean(dim=1).argmax().item()
    assert hertz / stretch < WARP_KNEE_HZ
    expected = tone(hertz / stretch).mean(dim=1).argmax().item()
    assert abs(warped - expected) <= 1


def test_a_warp_keeps_the_order_and_the_range_of_frequencies() -> None:
    place = warped_bins(BINS, torch.linspace(0.8, 1.25, 40))
    assert (place.diff(dim=1) >= 0).all()
    assert place.min() >= 0
    assert place.max() <= BINS - 1
    torch.testing.assert_close(
        warped_bins(BINS, torch.ones(1))[0], torch.arange(80.0), atol=1e-3, rtol=0
    )


def test_undistorted_clips_are_not_warped() -> None:
    mel = torch.randn(3, 20, BINS)
    torch.testing.assert_close(Augmenter(GENTLE, [], [], 0).warp(mel), mel, atol=1e-3, rtol=0)


def network(channel_share: float, branch_share: float) -> Wav2Vec2BertForCTC:
    torch.manual_seed(0)
    model = Wav2Vec2BertForCTC(encoder_config(Geometry(4, 2, 64, 4, 128, 7)))
    drop_out(model, channel_share, branch_share)
    return model


def test_nothing_is_left_out_but_while_training() -> None:
    features, frames = torch.randn(4, 12, 320), torch.full((4,), 12)
    plain, dropping = network(0.0, 0.0), network(0.3, 0.3)
    expected = plain(features, frames)[0]
    assert not torch.allclose(dropping(features, frames)[0], expected)
    assert torch.equal(dropping.eval()(features, frames)[0], expected)


def test_what_stays_makes_up_for_what_is_left_out() -> None:
    x = torch.ones(4_000, 1, 64)
    model = network(0.2, 0.5)
    branch = model.get_submodule("wav2vec2_bert.encoder.layers.1.ffn1")
    (hook,) = branch._forward_hooks.values()
    kept = hook(branch, (), x)
    whole_clips = (kept != 0).flatten(1).any(dim=1).float().mean().item()
    assert whole_clips == pytest.approx(0.5, abs=0.05)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)


def test_another_process_prepares_the_same_mixture(tmp_path: Path) -> None:
    write_data(tmp_path)
    recipe = Recipe(gentle_h=0.001, human_from_h=0.001)
    arguments = argparse.Namespace(
        synthetic=[tmp_path], human=tmp_path / "human", data=tmp_path, leave_out=["none"]
    )
    here = islice(Mixture(recipe, 2, arguments, 5).examples(0.0), 6)
    there = islice(prepared(Mixture(recipe, 2, arguments, 5), 0.0), 6)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.targets.labels, other.targets.labels)
        assert one.chunking == other.chunking


def test_a_signal_to_the_whole_group_ends_a_run_in_order(tmp_path: Path) -> None:
    """A service manager stops the process that prepares the batches as well."""
    sizes = "--batch-s 4 --gentle-h 0.002 --exposure-h 100000"
    with subprocess.Popen(
        [*STREAMER, "train", *write_data(tmp_path), *sizes.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline().startswith("step 50 ")
        os.killpg(ran.pid, signal.SIGTERM)
        out, err = ran.communicate()
    assert (ran.returncode, err) == (0, "")
    assert "the same command goes on from there" in out.splitlines()[-1]
