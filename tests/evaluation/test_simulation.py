"""Recordings in audio time: what happens between two windows happens when a live stream has it."""

import numpy as np

from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final
from streamer.evaluation.simulation import simulate
from tests.fakes import FakeDetector, FakeModel, speak


class Recorded:
    """Loud to the end, though nobody speaks."""

    def samples(self):
        return np.concatenate([speak("abc", 2, 1), np.full(16_000, 0.9 / 64, np.float32)])


def test_a_verdict_ends_an_utterance_before_its_window_is_there():
    """Over with sample 11,072, whose verdict comes with 11,264: with the packet at 0.72 s."""
    model = FakeModel(Context(0, 10, 0), slots=2)
    model.detector = FakeDetector()
    rules = EndpointRules(vad=True, silence_s=0.5, blank_s=3.0)
    (heard,) = simulate(model, [Recorded(), Recorded()], rules)
    finals = [[(at_s, e.text) for at_s, e in each if isinstance(e, Final)] for each in heard.events]
    assert finals == [[(0.72, "abc")]] * 2
