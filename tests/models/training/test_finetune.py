"""`streamer finetune` as its user meets it: one command in, a model or one sentence out."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2BertProcessor,
)

from models import checkpoint
from tests.commands import ROOT, STREAMER, run
from tests.models.training import speech

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = speech.TEXTS[:6]
QUICK = ["--dtype", "float32", "--batch-s", "20", "--evaluate-every", "1000", "--log-every", "1000"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech.write_manifest(tmp_path_factory.mktemp("speech"), TEXTS)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    return speech.save(tmp_path_factory.mktemp("start") / "random", speech.acoustic())


def finetune(model: str, manifest: Path, out: Path, *options: str) -> tuple[int, str, str]:
    command = ["finetune", model, "--data", str(manifest), "--out", str(out), *QUICK, *options]
    return run(*command)


def metrics(out: Path) -> list[dict[str, str]]:
    with (out / "run" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def streamed_wer(model: Path, manifest: Path) -> float:
    """What `streamer transcribe` makes of the clips, chunk by chunk."""
    files = [str(manifest.parent / f"{index}.flac") for index in range(len(TEXTS))]
    status, out, _ = run("transcribe", *files, "--model", str(model), "--dtype", "float32")
    assert status == 0
    said = [" ".join(part.split()[2:]) for part in out.split("==>")[1:]]
    return jiwer.wer(list(TEXTS), said)


def test_a_full_context_checkpoint_learns_to_stream(
    start: str, manifest: Path, tmp_path: Path
) -> None:
    """The proof in small: learnt with full context, streamed badly; then streamed well."""
    options = "--full-context-share 1 --utterance-share 1 --distillation 0 --steps 80"
    options += " --learning-rate 8e-3 --warmup-share 0.05 --log-every 40"
    status, out, err = finetune(start, manifest, tmp_path / "whole", *options.split())
    assert status == 0
    assert out.splitlines() == ["6 clips, 0.00 h", f"finished: {tmp_path / 'whole'}"]
    assert float(metrics(tmp_path / "whole")[-1]["ctc"]) < 0.1
    assert [line.split(",")[0].split()[0] for line in err.splitlines()] == ["40/80", "80/80"]

    options = f"--dev {manifest} --chunk-s 0.32 0.32 --steps 80 --learning-rate 4e-3"
    options += " --evaluate-every 20"
    live = tmp_path / "live"
    status, out, _ = finetune(str(tmp_path / "whole"), manifest, live, *options.split())
    assert status == 0
    rates = [float(row["dev_wer"]) for row in metrics(live) if row["dev_wer"]]
    assert len(rates) == 5
    assert out.splitlines()[-1] == f"finished: {live}, streamed WER {min(rates):.1%}"
    before = streamed_wer(tmp_path / "whole", manifest)
    assert before > 0.5
    assert streamed_wer(live, manifest) < 0.6 * before  # processors round differently: by how far
    assert_loads_everywhere(live)


def assert_loads_everywhere(folder: Path) -> None:
    """Transformers and this engine give the same logits for the same sound, and the same words."""
    own = checkpoint.load(str(folder))
    reference = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Wav2Vec2BertProcessor.from_pretrained(folder)
    sound = speech.speak("abcd cab", 3)
    inputs = processor(sound, sampling_rate=16_000, return_tensors="pt")
    frames = inputs.attention_mask.sum(dim=1)
    with torch.inference_mode():
        expected = reference(**inputs).logits
        got, outputs = own.model(inputs.input_features, frames)
    valid = int(outputs)
    assert (got[:, :valid] - expected[:, :valid]).abs().max() <= 1e-4
    assert own.features.config.normalization == "running"


@pytest.mark.parametrize("adapter", [False, True])
def test_an_encoder_without_head_gets_one_for_the_data(
    manifest: Path, tmp_path: Path, adapter: bool
) -> None:
    torch.manual_seed(2)
    config = Wav2Vec2BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        feature_projection_input_dim=40, conv_depthwise_kernel_size=7, vocab_size=None,
    )  # fmt: skip
    encoder = Wav2Vec2BertModel(config)
    encoder.save_pretrained(tmp_path / "encoder")
    SeamlessM4TFeatureExtractor(num_mel_bins=20).save_pretrained(tmp_path / "encoder")
    options = ["--steps", "1", "--learning-rate", "1e-9", *(["--adapter"] if adapter else [])]
    status, _, _ = finetune(str(tmp_path / "encoder"), manifest, tmp_path / "out", *options)
    assert status == 0
    loaded = checkpoint.load(str(tmp_path / "out"))
    assert loaded.vocabulary.tokens == ("|", "a", "b", "c", "d", "[UNK]", "[PAD]")
    assert loaded.stride == (2 if adapter else 1)
    for name, weight in encoder.state_dict().items():
        if not name.endswith("masked_spec_embed"):
            torch.testing.assert_close(loaded.model.wav2vec2_bert.state_dict()[name], weight)
    assert_loads_everywhere(tmp_path / "out")
    status, _, err = finetune(str(tmp_path / "out"), manifest, tmp_path / "more", "--adapter")
    assert status == 1
    assert "already has a head" in err


def test_sigterm_saves_and_the_same_command_goes_on(
    start: str, manifest: Path, tmp_path: Path
) -> None:
    options = f"{start} --data {manifest} --dev {manifest} --out {tmp_path / 'out'} --steps 100000"
    command = [*STREAMER, "finetune", *options.split(), *QUICK, "--log-every", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stderr is not None
        while not ran.stderr.readline().startswith("2/"):
            assert ran.poll() is None
        ran.send_signal(signal.SIGTERM)
        out, err = ran.communicate()
    assert ran.returncode == 0, err
    saved = json.loads((tmp_path / "out" / "run" / "last.json").read_text())
    assert out.splitlines()[-1] == (
        f"stopped after update {saved['step']} of 100000; the same command goes on from there"
    )
    assert int(metrics(tmp_path / "out")[-1]["step"]) == saved["step"]
    checkpoint.load(str(tmp_path / "out"))
    status, _, err = run("finetune", *options.split(), *QUICK, "--steps", "50")
    assert (status, err.count("\n")) == (1, 1)
    assert "other settings (steps: 100000, now 50)" in err


def test_two_processes_are_one_with_twice_the_batches(
    start: str, manifest: Path, tmp_path: Path
) -> None:
    """Under torch's own launcher, over gloo; the weights are those of one process, accumulating."""
    options = "--steps 3 --batch-s 4 --learning-rate 1e-3 --dtype float32 --log-every 1"
    command = ["finetune", start, "--data", str(manifest), *options.split()]
    command += ["--dev", str(manifest), "--evaluate-every", "2"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", "-m", "streamer"]
    launched = subprocess.run(
        [*launcher, *command, "--out", str(tmp_path / "2")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("finished") == 1
    status, _, _ = run(*command, "--out", str(tmp_path / "1"), "--accumulate", "2")
    assert status == 0
    for name in ("model.safetensors", "run/last.safetensors"):
        two, one = (load_file(tmp_path / n / name) for n in ("2", "1"))
        assert two.keys() == one.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, rtol=1e-5, atol=1e-6)
    rates = [
        [row["dev_wer"] for row in metrics(tmp_path / name) if row["dev_wer"]] for name in "12"
    ]
    assert rates[0] == rates[1]
    assert len(rates[0]) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "none.tsv"}, "cannot read the manifest none.tsv: No such file"),
        ({"model": "nobody"}, "no model 'nobody'"),
        ({"options": ["--batch-s", "0"]}, "expected batch_s from"),
        ({"options": ["--chunk-s", "0.3"]}, "expected chunk_s as"),
        ({"options": ["--max-clip-s", "0.1"]}, "no clip"),
        ({"texts": ("ab", "ax", "xy b")}, "2 of 3 transcripts have characters"),
        ({"texts": ()}, "has no clips"),
        pytest.param(
            {"options": ["--device", "cuda"]}, "torch finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ({"out": "/proc/none"}, "No such file or directory"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    start: str, manifest: Path, tmp_path: Path, changes: dict, said: str
) -> None:
    if "texts" in changes:
        manifest = speech.write_manifest(tmp_path / "bad", changes["texts"])
    status, out, err = finetune(
        changes.get("model", start),
        Path(changes.get("data", manifest)),
        Path(changes.get("out", tmp_path / "out")),
        *changes.get("options", []),
    )
    assert (status, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("streamer: ")
    assert said in err


def test_a_run_that_has_learnt_nothing_yet_may_begin_with_other_settings(
    start: str, manifest: Path, tmp_path: Path
) -> None:
    """As one must whose first batch did not fit into memory."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text('{"batch_s": 999')
    assert finetune(start, manifest, tmp_path, "--steps", "1")[0] == 0
    status, _, err = finetune(start, manifest, tmp_path, "--steps", "2")
    assert status == 1
    assert "other settings (steps: 1, now 2)" in err


@pytest.mark.parametrize("name", ["settings.json", "last.safetensors"])
def test_a_damaged_run_is_told_in_one_line(
    start: str, manifest: Path, tmp_path: Path, name: str
) -> None:
    assert finetune(start, manifest, tmp_path, "--steps", "1")[0] == 0
    (tmp_path / "run" / name).write_text("{ half of it")
    status, _, err = finetune(start, manifest, tmp_path, "--steps", "1")
    assert (status, err.count("\n")) == (1, 1), err
    assert name in err


def test_transcripts_that_are_too_long_for_all_clips_are_told(
    start: str, manifest: Path, tmp_path: Path
) -> None:
    rows = [line.split("\t") for line in manifest.read_text().splitlines()]
    text = rows[0].index("text")
    for row in rows[1:]:
        row[text] = "ab" * 500
        row[rows[0].index("path")] = str(manifest.parent / row[rows[0].index("path")])
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    status, _, err = finetune(start, wrong, tmp_path / "out", "--steps", "1")
    assert (status, err) == (1, f"streamer: {wrong}: no clip is long enough for its text\n")


def test_a_model_is_not_written_over_itself(start: str, manifest: Path) -> None:
    status, _, err = finetune(start, manifest, Path(start))
    assert (status, err) == (1, f"streamer: --out {start} is the checkpoint itself\n")


def test_silence_can_be_learnt(start: str, manifest: Path, tmp_path: Path) -> None:
    """Clips in which nothing is said are data too."""
    speech.write_manifest(tmp_path / "quiet", ("", "ab"))
    quiet = tmp_path / "quiet" / "manifest.tsv"
    status, _, err = finetune(start, quiet, tmp_path / "out", "--steps", "2", "--dev", str(quiet))
    assert status == 0, err
    weights = load_file(tmp_path / "out" / "run" / "last.safetensors")
    assert all(np.isfinite(tensor.numpy()).all() for tensor in weights.values())
