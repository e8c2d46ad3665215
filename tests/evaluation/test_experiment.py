"""Simulated streams and the figures made of them, with a model whose every frame is known."""

import numpy as np
import pytest
import soundfile

from streamer.core.context import SAMPLE_RATE, Context, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Labels
from streamer.core.hypothesis import Final, Partial
from streamer.core.recognizer import Recognizer
from streamer.engine.runner import ModelRunner
from streamer.evaluation import offline, results, simulation
from streamer.evaluation.experiment import Experiment, Item, Setting, batches
from streamer.evaluation.manifest import Recording
from streamer.evaluation.measures import Edits, Spread
from streamer.evaluation.normalization import basic
from tests.fakes import BLANK, CONTEXT, DELIMITER, GRID, FakeModel, speak
from tests.models.networks import acoustic

RULES = EndpointRules()
COARSE = Grid(hop_samples=640, tail_samples=240)


class FakeOfflineModel(FakeModel):
    """Hears whole recordings as well, and is sure of every frame."""

    def offline(self, recordings):
        found = []
        for samples in recordings:
            values = samples[:: self.grid.hop_samples] * np.float32(64)
            log_probs = np.full((len(values), len(self.labels.tokens)), -20.0, np.float32)
            log_probs[np.arange(len(values)), values.astype(int)] = 0.0
            found.append(log_probs)
        return found


@pytest.fixture
def recorded(tmp_path):
    """Makes a recording of samples."""

    def record(name, samples, text, source="", speaker=""):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        recording = Recording(name, path, text, speaker, source)
        return Item(recording, recording.duration_s(), tuple(basic(text).split()))

    return record


def one_by_one(model, recording):
    """The events of a recording in packets of 20 ms, through the reference recognizer."""
    recognizer, timed = Recognizer(model, RULES), []
    recognizer.reset()
    silence = np.zeros(simulation.pause_samples(model, RULES), np.float32)
    samples = np.concatenate([recording.samples(), silence])
    for start in range(0, len(samples), 320):
        recognizer.stream.accept_waveform(samples[start : start + 320])
        at_s = recognizer.stream.received_samples / SAMPLE_RATE
        timed += [(at_s, event) for event in recognizer.decode()]
    recognizer.stream.input_finished()
    timed += [(len(samples) / SAMPLE_RATE, event) for event in recognizer.decode()]
    return [(at_s, event) for at_s, event in timed if isinstance(event, Partial | Final)]


SAID = ["turn on", "a", "the quick brown fox jumps over the lazy dog", "stop it now"]


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_streams_side_by_side_are_the_recognizers_own(recorded, slots):
    items = [recorded(f"r{i}", speak(text), text) for i, text in enumerate(SAID)]
    recordings, done = [item.recording for item in items], []
    (heard,) = simulation.simulate(FakeModel(slots=slots), recordings, RULES, done.append)
    assert heard.events == [one_by_one(FakeModel(), each) for each in recordings]
    texts = [[event.text for _, event in each if isinstance(event, Final)] for each in heard.events]
    assert texts == [[text] for text in SAID]
    assert sorted(done) == sorted(item.duration_s for item in items)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("mode", ["cache", "window"])
def test_company_changes_nothing_for_a_real_network(recorded, mode):
    def runner(slots):
        context = Context(left=24, chunk=8, right=4)
        return ModelRunner(
            acoustic(1), mode=mode, context=context, slots=slots, device="cpu", dtype="float32"
        )

    rng = np.random.default_rng(2)
    recordings = [
        recorded(f"n{i}", rng.normal(0, 0.1, samples), "").recording
        for i, samples in enumerate((9_000, 30_001, 14_000))
    ]
    heard = simulation.simulate(runner(2), recordings, RULES)[0].events
    alone = [one_by_one(runner(1), each) for each in recordings]
    for ours, theirs in zip(heard, alone, strict=True):
        assert [(at_s, type(event)) for at_s, event in ours] == [
            (at_s, type(event)) for at_s, event in theirs
        ]
        for (_, a), (_, b) in zip(ours, theirs, strict=True):
            assert [word.word for word in a.words] == [word.word for word in b.words]
    assert any(heard)


def test_the_last_utterance_always_ends_before_the_silence_does(recorded):
    item = recorded("r", speak("abc"), "abc")
    for chunk, right in ((8, 0), (16, 0), (32, 16)):
        model = FakeModel(Context(0, chunk, right))
        ((events,),) = (each.events for each in simulation.simulate(model, [item.recording], RULES))
        assert [event.reason for _, event in events if isinstance(event, Final)] == ["endpoint"]


# --- offline --------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [GRID, COARSE])
def test_offline_hears_the_same_and_knows_where_words_lie(grid):
    samples = speak("ab cd", hop_samples=grid.hop_samples)
    model = FakeOfflineModel(grid=grid)
    (heard,) = offline.transcribe(model, [samples], [("ab", "cd")])
    hop_s = grid.hop_samples / SAMPLE_RATE
    assert [word.word for word in heard.words] == ["ab", "cd"]
    # a a - b b - | | - c c - d d -
    expected = [(0, 5 * hop_s), (9 * hop_s, 14 * hop_s)]
    assert [pytest.approx(span) for span in expected] == list(heard.reference_times)


def test_offline_knows_no_endpoints():
    said = [speak("ab"), np.zeros(30 * SAMPLE_RATE, np.float32), speak("cd " * 60)]
    model, samples = FakeOfflineModel(), np.concatenate(said)
    (log_probs,) = model.offline([samples])
    events = offline.events(model.grid, model.labels, samples, log_probs)
    assert [event.text for event in events if isinstance(event, Final)] == ["ab" + " cd" * 60]


def test_words_that_no_label_spells_have_no_time():
    samples = speak("ab cd")
    (heard,) = offline.transcribe(FakeOfflineModel(), [samples], [("ab", "99", "cd")])
    assert heard.reference_times[1] is None
    (expected,) = offline.transcribe(FakeOfflineModel(), [samples], [("ab", "cd")])
    assert heard.reference_times[::2] == expected.reference_times


def test_a_text_longer_than_its_audio_has_no_times():
    (heard,) = offline.transcribe(FakeOfflineModel(), [speak("a")], [("much", "longer")])
    assert heard.reference_times == (None, None)
    assert [word.word for word in heard.words] == ["a"]


def test_spelling_prefers_long_labels_and_the_case_as_written():
    labels = Labels(("<pad>", "|", "A", "B", "TH", "T", "H", "a"), BLANK, DELIMITER)
    ids, owners = offline.spell(labels, ["thb", "?", "Aa", "b-t"])
    assert ids == [4, 3, 1, 2, 7, 1, 3, 5]
    assert owners == [0, 0, None, 2, 2, None, 3, 3]
    bare = Labels(("<pad>", "a", "b"), 0, None)
    assert offline.spell(bare, ["a", "b"]) == ([1, 2], [0, 1])


# --- all together ---------------------------------------------------------------------------------


def evaluated(items, batch=2, model=FakeOfflineModel):
    experiment = Experiment(items, basic, RULES, batch, lambda seconds: None)
    conditions = [
        experiment.offline(model()),
        *experiment.streamed([Setting("cache default", lambda slots: model(slots=slots))]),
    ]
    return experiment, [results.summarize(each, experiment.items) for each in conditions]


def test_latencies_are_the_geometrys_to_the_packet(recorded):
    """A chunk of 16 frames is ready with its tail, 5,360 samples: with the 17th packet, 0.34 s."""
    _, (whole, live) = evaluated([recorded("r", speak("ab cd"), "ab cd")])
    assert whole.latency is None
    assert whole.flicker is None
    assert live.latency.algorithm_s == CONTEXT.latency_s(GRID) == 0.335
    assert live.latency.first_token_s == Spread(0.34, 0.34, 1)
    emission = live.latency.emission_s  # 0.34 - 0.10 and 0.34 - 0.28
    assert (emission.p50, emission.count) == (pytest.approx(0.15), 2)
    assert emission.p95 == pytest.approx(0.06 + 0.95 * 0.18)
    assert live.latency.final_s.p50 >= RULES.silence_s
    assert live.latency.commit_s.p50 >= emission.p50


def test_only_right_words_count_for_latency(recorded):
    items = [recorded("r", speak("ab xx cd"), "ab cd")]
    _, (_, live) = evaluated(items)
    assert live.latency.emission_s.count == 2
    _, (_, live) = evaluated([recorded("s", speak("xx yy"), "ab cd")])
    assert live.latency.emission_s is None
    assert live.errors.words.rate == 1.0


def test_errors_are_pooled_by_source_and_speaker(recorded):
    items = [
        recorded("a", speak("one two"), "one two", "read", "ann"),
        recorded("b", speak("one too many"), "one two", "read", "bob"),
        recorded("c", speak("hm"), "Hello, world", "free", "bob"),
    ]
    _, (whole, live) = evaluated(items)
    for figures in (whole, live):
        assert figures.errors.words == Edits(6, 2, 1, 1)
        assert {name: each.words for name, each in figures.by_source.items()} == {
            "free": Edits(2, 1, 1, 0),
            "read": Edits(4, 1, 0, 1),
        }
        assert {name: each.words.errors for name, each in figures.by_speaker.items()} == {
            "ann": 0,
            "bob": 4,
        }
        assert figures.spurious_words_per_min is None
        assert figures.calibration_error == pytest.approx(3 / 6)  # sure of 6 words, 3 are right


def test_noise_counts_words_by_the_minute_and_no_error_rate(recorded):
    noise = np.concatenate([speak("he llo"), np.zeros(SAMPLE_RATE * 3, np.float32)])
    items = [recorded("noise", noise, ""), recorded("speech", speak("hi"), "hi")]
    experiment, (_, live) = evaluated(items)
    assert [item.recording.id for item in experiment.items] == ["noise", "speech"]
    assert live.errors.words == Edits(1, 0, 0, 0)
    assert live.spurious_words_per_min == pytest.approx(2 / (len(noise) / SAMPLE_RATE / 60))
    _, (whole, live) = evaluated(items[:1])
    for figures in (whole, live):
        assert figures.errors.words.rate is None
        assert figures.calibration_error is None
    assert live.latency.emission_s is live.latency.final_s is None


@pytest.mark.parametrize("largest", [1, 3, 100])
def test_batches_hold_every_item_once_and_are_bounded(largest):
    recording = Recording("", None, "", "", "")
    items = [Item(recording, float(seconds), ()) for seconds in (500, 100, 90, 80, 70, 3, 2, 1)]
    groups = list(batches(items, largest))
    assert [item for group in groups for item in group] == items
    for group in groups:
        assert 1 <= len(group) <= largest
        assert len(group) == 1 or len(group) * group[0].duration_s <= 320
