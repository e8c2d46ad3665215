"""Several ways to decode one pass of a network: each is as if it had been alone."""

from dataclasses import replace

import numpy as np
import pytest

from streamer.core.context import Context
from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import EndpointRules
from streamer.core.options import DecodingOptions, Hotword
from streamer.core.scoring import NoScorer
from streamer.engine.runner import ModelRunner
from streamer.evaluation.experiment import Experiment, Setting
from streamer.evaluation.normalization import basic
from tests.evaluation.test_experiment import recorded  # noqa: F401
from tests.models.networks import acoustic

pytestmark = pytest.mark.usefixtures("one_thread")
RULES = EndpointRules(silence_s=0.3)
CONTEXT = Context(left=24, chunk=8, right=4)


class Liking(NoScorer):
    """Letters that hotwords begin with."""

    def __init__(self, options: DecodingOptions):
        self.letters = {each.text[0] for each in options.hotwords}

    def part(self, part):
        return 3.0 * (part[0] in self.letters)


SEARCHES = {"greedy": None, "beam": BeamSearch(5, Liking, takes_hotwords=True)}


class Counted:
    """A network that counts the windows it is given."""

    def __init__(self, mode, slots, search):
        model = acoustic(1)
        geometry = {"mode": mode, "context": CONTEXT, "slots": slots, "search": search}
        self._inner = ModelRunner(model, device="cpu", dtype="float32", threads=1, **geometry)
        self.windows = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def run(self, slots, windows):
        self.windows += len(windows)
        return self._inner.run(slots, windows)


def settings(mode, built):
    """Greedy, beams with each stability, and beams that are told of the recording's own letter."""

    def setting(name, decoding, options):
        def build(slots):
            built.append(Counted(mode, slots, SEARCHES[decoding]))
            return built[-1]

        return Setting(name, build, options)

    def told(recording):
        return DecodingOptions(hotwords=(Hotword(recording.text),))

    def showing(stability):
        return lambda recording: DecodingOptions(stability=stability)

    levels = [
        setting(f"{decoding} {level}", decoding, showing(level))
        for decoding in SEARCHES
        for level in ("low", "medium", "high")
    ]
    return [*levels, setting("told", "beam", told)]


@pytest.mark.parametrize("mode", ["cache", "window"])
def test_one_run_of_many_ways_is_as_many_runs(recorded, mode):  # noqa: F811
    rng = np.random.default_rng(2)
    items = [
        replace(recorded(text, rng.normal(0, 0.1, count), text), hotwords=frozenset({text, "x"}))
        for text, count in (("a", 9_000), ("b", 30_001), ("c", 14_000))
    ]
    built = []
    asked = settings(mode, built)
    experiment = Experiment(items, basic, RULES, 2, lambda seconds: None)
    experiment.offline(Counted(mode, 1, None))
    together = experiment.streamed(asked)
    passes = [each.windows for each in built if each.slots == 2]
    apart = [experiment.streamed([each])[0] for each in asked]
    assert passes == [built[-1].windows], "the network hears every recording once"
    for ours, theirs in zip(together, apart, strict=True):
        assert (ours.name, ours.outcomes) == (theirs.name, theirs.outcomes)
    by_name = {each.name: each.outcomes for each in together}
    words = {name: [each.words for each in outcomes] for name, outcomes in by_name.items()}
    assert words["greedy low"] == words["greedy high"] != words["beam low"] != words["told"]
    flicker = [sum(e.unstable_words for e in by_name[f"beam {s}"]) for s in ("low", "high")]
    assert flicker[0] > flicker[1] == 0
