"""What a command line asks for, crossed."""

import pytest

from streamer.config import ModelConfig
from streamer.evaluation.conditions import DECODINGS, crossed

FOUND = {  # beam, lm, whether hotwords are told
    "greedy": (0, "none", False),
    "beam": (25, "none", False),
    "beam+lm": (25, "model", False),
    "beam+hotwords": (25, "none", True),
    "beam+lm+hotwords": (25, "model", True),
}


def test_everything_is_crossed_and_named_by_what_was_asked():
    model = ModelConfig()
    asked = crossed(model, ["cache", "window"], ["low", "low"], ["greedy", "beam"], ["low", "high"])
    assert [[each.name for each in geometry] for geometry in asked] == [
        [f"{mode} low {way} {level}" for way in ("greedy", "beam") for level in ("low", "high")]
        for mode in ("cache", "window")
    ]
    for geometry in asked:
        assert len({(each.model.mode, each.model.preset) for each in geometry}) == 1
        assert [each.model.stability for each in geometry] == ["low", "high"] * 2
    assert crossed(model, [], [], [], [])[0][0].model == model
    assert [each.name for each in crossed(model, [], [], [], [])[0]] == ["cache default"]


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_decoding_says_how_frames_are_searched_whatever_the_model_has(decoding):
    for model in (ModelConfig(), ModelConfig(lm="model", beam=25), ModelConfig(beam=25)):
        ((asked,),) = crossed(model, [], [], [decoding], [])
        found = (asked.model.beam, asked.model.lm, asked.is_biased)
        assert found == FOUND[decoding]
    ((asked,),) = crossed(ModelConfig(lm="my.arpa", beam=7, n_best=3), [], [], [decoding], [])
    beam, lm, _ = FOUND[decoding]
    assert asked.model.beam == (7 if beam else 0)
    assert asked.model.lm == ("my.arpa" if lm == "model" else "none")
    assert asked.model.n_best == (3 if beam else 1)
