"""A stream that is searched, held to the same stream decoded greedily where nothing is in doubt."""

import random
from dataclasses import replace

import numpy as np
import pytest

from streamer.core.changes import MAX_CHANGES
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamDecoder, BeamSearch, Change, Chunk
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.frames import Labels
from streamer.core.hypothesis import Closed, Final, Partial
from streamer.core.options import DecodingOptions, Hotword
from streamer.core.recognizer import Recognizer
from streamer.core.scoring import NoScorer
from tests.fakes import FakeModel, SearchedModel, silence, speak

CONTEXTS = [Context(0, 1, 0), Context(0, 16, 0), Context(3, 5, 4)]


class Liking(NoScorer):
    """One word scores high, whole or begun."""

    def __init__(self, words: DecodingOptions):
        self.words = [each.text for each in words.hotwords]

    def word(self, state, word):
        return 9.0 * (word in self.words), None

    def part(self, part):
        return 9.0 * any(word.startswith(part) for word in self.words)


def texts(events):
    return [(e.text, e.reason) for e in events if isinstance(e, Final)]


def sentences(hop_samples=320):
    said = [silence(0.3)]
    for text in ("turn on the lamp", "it's too bright", "aa bb"):
        said += [speak(text, hop_samples=hop_samples), silence(1.5)]
    return np.concatenate(said)


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("hop_samples", [320, 640])
def test_speech_without_doubt_is_decoded_as_greedily(context, hop_samples):
    grid = Grid(hop_samples)
    samples = sentences(hop_samples)
    searched = Recognizer(SearchedModel(context, grid)).transcribe(samples)
    greedy = Recognizer(FakeModel(context, grid)).transcribe(samples)
    assert texts(searched) == texts(greedy)
    assert len(texts(greedy)) == 3
    for one, other in zip(searched, greedy, strict=False):
        if isinstance(one, Final) and isinstance(other, Final):
            assert [replace(w, confidence=1.0) for w in one.words] == list(other.words)


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_packets_change_nothing_and_events_keep_their_promises(context, seed):
    """In doubt about everything: each letter is also nearly another one."""
    samples, rng = sentences(), random.Random(seed)
    whole = Recognizer(SearchedModel(context, doubt=0.4)).transcribe(samples)
    recognizer = Recognizer(SearchedModel(context, doubt=0.4))
    events, begin = [], 0
    while begin < len(samples):
        end = begin + rng.randint(1, 9000)
        recognizer.stream.accept_waveform(samples[begin:end])
        events += recognizer.decode()
        begin = end
    recognizer.stream.input_finished()
    events += recognizer.decode()
    assert [e for e in events if isinstance(e, Final | Closed)] == [
        e for e in whole if isinstance(e, Final | Closed)
    ]
    committed, revision = "", 0
    for event in events:
        if isinstance(event, Partial):
            assert event.committed.startswith(committed)
            assert event.revision > revision
            committed, revision = event.committed, event.revision
        elif isinstance(event, Final):
            assert event.text.startswith(committed)
            assert all(w.start < w.end for w in event.words)
            committed = ""
    assert len(texts(events)) == 3


def test_a_flush_settles_everything_and_begins_anew():
    recognizer = Recognizer(SearchedModel(doubt=0.4))
    for text in ("ab cd", "ef"):
        recognizer.stream.accept_waveform(speak(text))
        recognizer.stream.flush(text)
        assert texts(recognizer.decode()) == [(text, "flush")]
    recognizer.stream.input_finished()
    assert [type(e) for e in recognizer.decode()] == [Closed]


def test_an_uncertain_word_is_committed_by_the_pause_behind_it():
    recognizer = Recognizer(SearchedModel(Context(0, 1, 0), doubt=0.45))
    recognizer.stream.accept_waveform(np.concatenate([speak("abc", 1), silence(0.5)]))
    partials = [(e.committed, e.tail) for e in recognizer.decode() if isinstance(e, Partial)]
    assert partials[-2:] == [("", "abc"), ("abc", "")]


def test_expected_words_win_from_the_next_frames_on():
    search = BeamSearch(25, Liking, takes_hotwords=True)
    recognizer = Recognizer(SearchedModel(doubt=0.45, search=search))  # z is nearly y, and so on
    recognizer.stream.accept_waveform(speak("yes "))
    recognizer.stream.flush()
    events = recognizer.decode()
    liking = DecodingOptions(hotwords=(Hotword("ZFT"),))  # each letter the next one
    assert recognizer.stream.unsupported(liking) == []
    recognizer.stream.configure(DEFAULT_RULES, liking)
    recognizer.stream.accept_waveform(speak("yes yes"))
    recognizer.stream.input_finished()
    events += recognizer.decode()
    assert [text for text, _ in texts(events)] == ["yes", "zft zft"]


def random_packets(samples, seed):
    rng, begin = random.Random(seed), 0
    while begin < len(samples):
        end = begin + rng.randint(1, 9000)
        yield samples[begin:end]
        begin = end


LIKES_ZFT = DecodingOptions(hotwords=tuple(Hotword("zft"[i:] + "zft"[:i]) for i in range(3)))


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_a_change_holds_from_its_sample_whatever_is_decoded_by_then(context, seed):
    """Late or early decoding, any packets; and the frames behind the sample alone are affected."""
    search = BeamSearch(10, Liking, takes_hotwords=True)
    rng = random.Random(seed)
    samples = np.concatenate([speak("yes yes yes yes "), silence(0.3), speak("yes yes")])
    at = sorted(rng.sample(range(len(samples)), 2))

    def heard(*, lazy, packets):
        recognizer = Recognizer(SearchedModel(context, doubt=0.45, search=search))
        stream, events = recognizer.stream, []
        changes = [LIKES_ZFT, DecodingOptions(beam=3)]
        for part, change in zip(np.split(samples, at), [*changes, None], strict=True):
            for packet in random_packets(part, packets):
                stream.accept_waveform(packet)
                events += [] if lazy else recognizer.decode()
            if change is not None:
                assert stream.configure(DEFAULT_RULES, change) == stream.received_samples
        stream.input_finished()
        return [e for e in events + recognizer.decode() if isinstance(e, Final)]

    one, *others = [heard(lazy=lazy, packets=i) for lazy in (False, True) for i in range(2)]
    assert others == [one] * 3
    words = [word for final in one for word in final.words]
    assert len(words) == 6
    for word in words:
        if word.end * 16_000 <= at[0] - 3 * 320 or word.start * 16_000 >= at[1]:
            assert word.word == "yes"
        elif word.start * 16_000 >= at[0] and word.end * 16_000 <= at[1] - 3 * 320:
            assert word.word != "yes"


@pytest.mark.parametrize("seed", range(20))
def test_a_change_splits_the_fold_at_its_frame(seed):
    """The stream's text against two folds by hand, one behind the other."""
    rng = random.Random(seed)
    search = BeamSearch(10, Liking, takes_hotwords=True)
    model = SearchedModel(Context(0, 5, 0), doubt=0.45, search=search)
    samples = speak("yes yes yes yes yes")
    at = rng.randrange(len(samples))
    recognizer = Recognizer(model)
    recognizer.stream.accept_waveform(samples[:at])
    recognizer.stream.configure(DEFAULT_RULES, LIKES_ZFT)
    recognizer.stream.accept_waveform(samples[at:])
    recognizer.stream.input_finished()
    (streamed,) = [e.text for e in recognizer.decode() if isinstance(e, Final)]
    decoder = BeamDecoder(search, model.labels, model.grid, DEFAULT_RULES)
    whole, frame = model.read_all(samples), -(-at // 320)
    rest = whole.part(frame, len(whole.token_ids))
    tokens = decoder.decode(Chunk(whole.part(0, frame))).settled
    change = Change(0, DEFAULT_RULES, LIKES_ZFT)
    last = decoder.decode(Chunk(rest, None, [change], may_end=True))
    tokens += last.settled + last.ending.settled
    spelled = "".join(" " if t.id == 1 else model.labels.tokens[t.id] for t in tokens)
    assert spelled.split() == streamed.split()


def test_changes_that_wait_have_a_limit():
    recognizer = Recognizer(SearchedModel(Context(0, 16, 0)))
    for _ in range(MAX_CHANGES):
        recognizer.stream.accept_waveform(silence(0.001))
        recognizer.stream.configure(DEFAULT_RULES)
    recognizer.stream.configure(DEFAULT_RULES)  # at the same sample: instead of the last one
    recognizer.stream.accept_waveform(silence(0.001))
    with pytest.raises(ValueError, match="at most 64 changes"):
        recognizer.stream.configure(DEFAULT_RULES)
    recognizer.stream.accept_waveform(silence(1.0))
    recognizer.decode()
    recognizer.stream.configure(DEFAULT_RULES)


def test_of_the_changes_within_a_frame_only_the_last_costs_a_scorer():
    made = []

    def scorer(options):
        made.append([each.text for each in options.hotwords])
        return Liking(options)

    model = SearchedModel(Context(0, 16, 0), search=BeamSearch(10, scorer, takes_hotwords=True))
    recognizer = Recognizer(model)
    recognizer.stream.accept_waveform(speak("yes "))
    for i in range(60):  # 5 ms apart, so four to a frame
        options = DecodingOptions(hotwords=(Hotword(f"word {i}"),))
        recognizer.stream.configure(DEFAULT_RULES, options)
        recognizer.stream.accept_waveform(silence(0.005))
    recognizer.stream.accept_waveform(silence(1.0))
    recognizer.decode()
    assert 15 <= len(made) <= 17  # with the one of the beginning
    assert made[-1] == ["word 59"]


def test_a_greedy_stream_takes_no_hotwords():
    hotwords = DecodingOptions(hotwords=(Hotword("a"),))
    assert Recognizer(FakeModel()).stream.unsupported(hotwords) == ["hotwords"]


def test_words_need_a_delimiter():
    labels = Labels(("_", "a"), 0, None)
    search = BeamSearch(5, lambda _: NoScorer(), takes_hotwords=False)
    with pytest.raises(ValueError, match="delimiter"):
        BeamDecoder(search, labels, Grid(), DEFAULT_RULES)


@pytest.mark.parametrize("silence_s", [0.2, 1.0])
def test_configured_endpoints_are_met(silence_s):
    rules = EndpointRules(silence_s=silence_s)
    samples = np.concatenate([speak("ab"), silence(0.6), speak("cd")])
    found = texts(Recognizer(SearchedModel(doubt=0.4), rules).transcribe(samples))
    assert found == ([("ab", "endpoint"), ("cd", "end")] if silence_s < 0.5 else [("ab cd", "end")])
