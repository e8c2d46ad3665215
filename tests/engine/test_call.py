"""What leaves a device, and that a search finds the same in it."""

import numpy as np
import pytest
import soundfile
import torch

from clients.demo import CLIP
from streamer.api import build_model
from streamer.assembly import decoding_options
from streamer.config import ModelConfig
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final
from streamer.core.recognizer import Recognizer
from streamer.engine import call, runner
from streamer.engine.call import Answer, Call, best_of, wanted_of

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [(0, 8, 8, 0), (0, 8, 8, 1), (0, 8, 8, 2)]


def asked(wanted):
    made = Call(ROWS, [np.zeros(3, np.float32)] * 3, wanted)
    rows = np.zeros((len(ROWS), call.COLUMNS), np.int64)
    made.fill_rows(rows)
    return made, torch.from_numpy(rows)


@pytest.mark.parametrize("wanted", [[0, 2], [0, 1, 2]], ids=["some", "all"])
def test_all_log_probs_leave_a_device_in_half_precision_and_a_cpu_as_they_are(wanted):
    log_probs = torch.randn(3, 8, 30).mul(9).log_softmax(-1)
    made, rows = asked(wanted)
    found = wanted_of(log_probs, rows, made)
    assert torch.equal(found, log_probs[wanted])
    afar = wanted_of(log_probs.to("meta"), rows.to("meta"), made)
    assert (afar.shape, afar.dtype) == (found.shape, torch.float16)
    every = Answer.of(best_of(log_probs), found.half()).every
    assert every.dtype == np.float32
    np.testing.assert_allclose(every, found.numpy(), rtol=2.0**-11, atol=1e-7)


def test_what_nobody_wants_stays():
    made, rows = asked([])
    assert wanted_of(torch.zeros(3, 8, 30), rows, made) is None


@pytest.mark.parametrize("lm", ["none", "model"])
def test_a_search_finds_the_same_n_best_in_half_precision(lm, monkeypatch):
    if lm == "model":
        pytest.importorskip("kenlm")
        pytest.importorskip("pyctcdecode")
    config = ModelConfig(dtype="float32", lm=lm, beam=25, n_best=5)
    samples = soundfile.read(CLIP, dtype="float32")[0]

    def said():
        model = build_model(config)
        rules = EndpointRules()
        events = Recognizer(model, rules, options=decoding_options(model, config)).transcribe(
            samples
        )
        return [each for each in events if isinstance(each, Final)]

    exact, halved = said(), []

    def short(*arguments):
        found = wanted_of(*arguments)
        halved.append(found)
        return found.half()

    monkeypatch.setattr(runner, "wanted_of", short)
    assert [texts(each) for each in said()] == [texts(each) for each in exact]
    assert len(halved) > 10
    assert len(exact[0].alternatives) > 1


def texts(final):
    return final.text, [each.text for each in final.alternatives]
