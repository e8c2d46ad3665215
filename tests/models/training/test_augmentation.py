"""Distortions of a clip: they keep its shape and its start."""

import pytest
import torch

from models.training.augmentation import ROOM_SAMPLES, Augmentation, Augmenter, mu_law, prepare_room

pytestmark = pytest.mark.usefixtures("one_thread")


def test_distorted_clips_are_finite_in_range_and_as_long_as_told() -> None:
    rooms = [prepare_room(torch.randn(5000).cumsum(0))]
    always = Augmentation(room=1.0, noise=1.0, equalizer=1.0, band_limit=1.0, codec=1.0)
    for seed in range(8):
        augmenter = Augmenter(always, [torch.randn(80_000)], rooms, seed)
        audio = (torch.randn(3, 16_000) * 3000).short()
        lengths = torch.tensor([16_000, 12_000, 500])
        x, new = augmenter.waveforms(audio, lengths)
        assert torch.isfinite(x).all()
        assert x.abs().max() <= 1.0
        assert (new > 0).all()
        assert (new <= x.shape[1]).all()


def test_a_room_starts_at_its_direct_sound() -> None:
    recording = torch.zeros(3000)
    recording[700], recording[900] = -0.5, 0.25
    room = prepare_room(recording)
    assert room.shape == (ROOM_SAMPLES,)
    assert room[0] == 1.0
    assert room[200] == -0.5


def test_mu_law_is_close_and_coarse() -> None:
    x = torch.linspace(-1, 1, 4001)
    assert (mu_law(x) - x).abs().max() < 0.03
    assert len(mu_law(x).unique()) <= 255
