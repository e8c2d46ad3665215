"""Silero's network: its layers, its state, and that nothing else in the process notices it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_sequence

from models import voice_activity
from models.voice_activity import CHANNELS, CONTEXT_SAMPLES, FRAME_SAMPLES
from streamer.engine.detector import SpeechDetector
from streamer.engine.device import threads_of_torch

ROOT = Path(__file__).parents[2]
SPEECH = soundfile.read(ROOT / "clients/demo.flac", dtype="float32")[0]
FRAMES = len(SPEECH) // FRAME_SAMPLES
HEARD = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), SPEECH[: FRAMES * FRAME_SAMPLES]])


def detector(slots: int = 4) -> SpeechDetector:
    return SpeechDetector(
        voice_activity.load(voice_activity.weights()),
        frame_samples=FRAME_SAMPLES,
        context_samples=CONTEXT_SAMPLES,
        channels=CHANNELS,
        slots=slots,
        device="cpu",
    )


def part(begin: int, end: int) -> np.ndarray:
    """The samples of these frames, with context."""
    return HEARD[begin * FRAME_SAMPLES : end * FRAME_SAMPLES + CONTEXT_SAMPLES]


def test_the_layers_are_those_of_the_packages_own_network():
    """With its weights, which are another training's: the file of ours comes in no other form."""
    theirs = torch.jit.load(voice_activity.weights().with_name("silero_vad.jit"))
    given = {**dict(theirs._model.named_parameters()), **dict(theirs._model.named_buffers())}
    names = {"stft.forward_basis_buffer": "stft.weight"}
    for layer in range(4):
        names |= {
            f"encoder.{layer}.reparam_conv.{what}": f"layers.{layer}.{what}"
            for what in ("weight", "bias")
        }
    for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        names[f"decoder.rnn.{what}"] = f"recurrent.{what}_l0"
    names |= {f"decoder.decoder.2.{what}": f"head.{what}" for what in ("weight", "bias")}
    ours = voice_activity.VoiceActivity().eval()
    ours.load_state_dict({names[name]: tensor for name, tensor in given.items()})
    frames = torch.from_numpy(SPEECH[: FRAMES * FRAME_SAMPLES]).view(FRAMES, 1, FRAME_SAMPLES)
    with torch.inference_mode():
        expected = torch.stack([theirs(frame, 16_000).flatten()[0] for frame in frames])
        windows = torch.from_numpy(HEARD).unfold(0, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
        start = torch.zeros(1, 1, CHANNELS), torch.zeros(1, 1, CHANNELS)
        found, _ = ours(pack_sequence([ours.features(windows)]), start)
    torch.testing.assert_close(found.data, expected, rtol=0, atol=1e-5)


def test_it_hears_speech_and_not_noise():
    noise = np.random.default_rng(1).normal(0, 0.02, len(HEARD)).astype(np.float32)
    speech, other = detector().detect([0, 2], [HEARD, noise])
    assert np.mean(speech > 0.5) > 0.5
    assert np.max(other) < 0.35


@pytest.mark.parametrize("seed", range(3))
def test_neither_packets_nor_neighbours_change_what_it_says(seed):
    rng = np.random.default_rng(seed)
    (whole,) = detector().detect([0], [HEARD])
    hearing, found, begin = detector(), [], 0
    while begin < FRAMES:
        end = min(FRAMES, begin + int(rng.integers(1, 15)))
        others = [slot for slot in (0, 1, 3) if rng.random() < 0.5]
        given = [part(7, 7 + int(rng.integers(1, 20))) for _ in others]
        *_, mine = hearing.detect([*others, 2], [*given, part(begin, end)])
        found.append(mine)
        begin = end
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=1e-5)


def test_a_slot_that_is_reset_begins_anew():
    hearing = detector()
    (first,) = hearing.detect([1], [part(0, 30)])
    (other,) = hearing.detect([1], [part(0, 30)])
    assert not np.array_equal(first, other)
    hearing.reset([1])
    (again,) = hearing.detect([1], [part(0, 30)])
    np.testing.assert_array_equal(first, again)


def test_huge_samples_do_not_make_it_deaf_for_ever():
    hearing = detector()
    hearing.detect([0], [np.full(CONTEXT_SAMPLES + 3 * FRAME_SAMPLES, 3e38, np.float32)])
    (after,) = hearing.detect([0], [HEARD])
    assert np.isfinite(after).all()
    assert np.mean(after > 0.5) > 0.5


def test_one_thread_runs_it(monkeypatch):
    hearing, seen = detector(), []

    def features(self, samples):
        seen.append(torch.get_num_threads())
        return plain(self, samples)

    plain = type(hearing._network).features
    monkeypatch.setattr(type(hearing._network), "features", features)
    with threads_of_torch(3):
        hearing.detect([0], [part(0, 4)])
    assert seen == [1]


def test_a_file_with_other_weights_is_refused(tmp_path):
    path = tmp_path / "silero_vad_16k.safetensors"
    for write in (lambda: save_file({"conv1.bias": torch.zeros(3)}, path), path.unlink):
        write()
        with pytest.raises(ValueError, match="has not the weights of silero-vad"):
            voice_activity.load(path)


SETTINGS = """
import json, sys, torch
def seen():
    return [torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled(),
            str(torch.get_default_dtype()), torch.are_deterministic_algorithms_enabled(),
            torch.backends.mkldnn.enabled, torch.get_float32_matmul_precision()]
torch.set_num_threads(3)
before = seen()
from streamer import api
from streamer.config import ModelConfig
model = api.build_model(ModelConfig(threads=2))
model.detector.detect([0], [torch.zeros(576).numpy()])
print(json.dumps([before, seen(), [name for name in sys.modules if "silero" in name]]))
"""


def test_nothing_in_the_process_is_set_and_the_package_not_imported():
    """Its import sets torch's threads to one for everybody."""
    run = subprocess.run(
        [sys.executable, "-c", SETTINGS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, after, imported = json.loads(run.stdout)
    assert before == after
    assert imported == []
