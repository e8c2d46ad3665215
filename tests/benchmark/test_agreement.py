"""Whether ways to run a model say the same: what is seen, and how the suite for GPUs says it."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from streamer.benchmark import agreement, clips
from streamer.benchmark.agreement import STREAMS, Way
from streamer.engine.runner import ModelRunner
from tests.benchmark.test_bench_command import MISSING
from tests.commands import ROOT
from tests.engine.tape import TapeRecorder
from tests.engine.test_runner import runner

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def audio():
    return clips.Audio([clips.synthetic(20.0)], 30.0)


def test_repeated_steps_agree_and_another_model_does_not(audio):
    recorder = TapeRecorder()
    repeating = runner("cache", STREAMS, kind=partial(ModelRunner, recorder=recorder))
    reference, other = Way("here", runner("cache", STREAMS)), runner("cache", STREAMS, seed=2)
    pairs = [
        (Way("plain", repeating.unrecorded()), Way("graphs", repeating)),
        (Way("b", other), None),
    ]
    plain, graphs, different = agreement.check(reference, pairs, audio)
    assert len(recorder.repeated) > 50
    for sentence, name in ((plain, "plain, beside here"), (graphs, "graphs, beside plain")):
        assert sentence.startswith(f"{name}: THE SAME TEXTS in 4 of 4 streams")
        assert "other labels in 0 of" in sentence
    assert "OTHER TEXTS in 0 of 4 streams" in different


def test_the_streams_meet_in_batches_and_some_are_wanted_whole(audio):
    model = runner("cache", STREAMS)
    heard = agreement.listen(model, audio)
    whole = [{each.all_log_probs is not None for each in frames} for frames in heard.frames]
    assert whole == [{False}, {True}, {False}, {True}]
    assert len({len(frames) for frames in heard.frames}) == 1
    assert all(heard.texts)
    for part in heard.frames[1]:
        part.all_log_probs[0, 0] += 0.5  # the labels are the same
    again = agreement.listen(model, audio)
    said = agreement.compared(heard, again)
    assert "log-probabilities at most 0.5 apart" in said
    heard.frames[1][2].all_log_probs[0, 0] = np.nan
    assert "log-probabilities at most nan apart" in agreement.compared(heard, again)


def test_the_suite_of_a_gpu_machine_is_rehearsed_where_only_torch_is_installed(tmp_path):
    """Every part of it but CUDA, on a network of no size; what was not reached is not lost."""
    table = tmp_path / "figures.json"
    missing = [name for name in MISSING if name != "tqdm"]  # transformers brings it
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from streamer.benchmark import building\n"
        "from streamer.benchmark.__main__ import main\n"
        "from models.wav2vec2_bert import EncoderConfig\n"
        "small = EncoderConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,\n"
        "                      intermediate_size=64)\n"
        "made = building.networks.random_model\n"
        "building.networks.random_model = lambda: made(small)\n"
        f"sys.argv[1:] = ['--suite', 'gpu', '--device', 'cpu', '--json', {str(table)!r}]\n"
        "sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    agreed, full, shipped = json.loads(table.read_text())["conditions"]
    assert "cpu in float32, beside cpu in float32: THE SAME TEXTS in 4 of 4" in agreed["notes"][0]
    names = [each["name"] for each in full["contenders"]]
    assert names[0] == "transformers windows, float32"
    assert "own cache, float32" in names
    for condition in (full, shipped):
        for contender in condition["contenders"]:
            assert [point["batch"] for point in contender["points"]] == [1, 2]
        assert condition["runs"]
        assert any(note.startswith("threads of torch: ") for note in condition["notes"])
    assert ran.stdout.index("THE SAME TEXTS") < ran.stdout.index("full size")
