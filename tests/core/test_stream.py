import dataclasses

import numpy as np
import pytest

from streamer.core.context import Context, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames, Labels
from streamer.core.hypothesis import Closed, Final, Flushed, Gap, Partial, SpeechStart
from streamer.core.recognizer import Recognizer
from streamer.core.stream import Stream
from tests.fakes import BLANK, DELIMITER, LABELS, FakeModel, audio, silence, speak

A, B, C = (LABELS.tokens.index(letter) for letter in "abc")


def transcribe(samples, rules=EndpointRules(), **model):  # noqa: B008
    return Recognizer(FakeModel(**model), rules).transcribe(samples)


def finals(events):
    return [(e.text, e.reason) for e in events if isinstance(e, Final)]


def partials(events):
    return [(e.committed, e.tail) for e in events if isinstance(e, Partial)]


def test_a_sentence_from_start_to_close():
    samples = np.concatenate([silence(0.4), speak("turn on the lamp"), silence(2.0)])
    events = transcribe(samples)
    assert events[0] == SpeechStart(0.4)
    assert finals(events) == [("turn on the lamp", "endpoint")]
    assert events[-1] == Closed(len(samples), 1)
    final = next(e for e in events if isinstance(e, Final))
    assert [w.word for w in final.words] == ["turn", "on", "the", "lamp"]
    assert (final.words[0].start, final.words[0].end) == (0.4, 0.4 + 11 * 0.02)
    assert final.confidence == 1.0


def test_closed_words_are_committed_and_the_open_one_is_tail():
    events = transcribe(speak("ab cd ef", 1, 1), context=Context(0, 4, 0))
    # frames: a.b. | |.c. d.|. e.f.  in chunks of four
    assert partials(events) == [("", "ab"), ("ab", "c"), ("ab cd", "")]
    assert finals(events) == [("ab cd ef", "end")]


def test_a_pause_closes_a_word_without_delimiter():
    samples = audio([A, B] + [BLANK] * 19 + [C] + [BLANK] * 20 + [A])
    events = transcribe(samples, context=Context(0, 1, 0))
    assert partials(events) == [("", "a"), ("", "ab"), ("", "abc"), ("abc", "")]
    assert finals(events) == [("abc a", "end")]


def test_lookahead_is_shown_but_never_kept():
    """A model that changes its mind about lookahead: what it takes back leaves no trace."""
    stream = Stream(Context(0, 2, 2), Grid(), LABELS)
    stream.accept_waveform(np.zeros(8 * 320 + 240, np.float32))
    answers = [[A, A, B, BLANK], [C, C, B, DELIMITER], [BLANK, BLANK, BLANK, BLANK]]
    seen = []
    for ids in answers:
        stream.next_window()
        stream.accept_frames(Frames(np.array(ids), np.zeros(4, np.float32)))
        seen += stream.take_events()
    assert partials(seen) == [("", "ab"), ("", "acb"), ("", "ac")]
    assert [e.revision for e in seen if isinstance(e, Partial)] == [1, 2, 3]


def test_text_that_only_lookahead_saw_is_taken_back_before_the_answer_to_a_flush():
    stream = Stream(Context(0, 2, 1), Grid(), LABELS)
    stream.accept_waveform(np.zeros(3 * 320 + 240, np.float32))
    stream.next_window()
    stream.accept_frames(Frames(np.array([BLANK, BLANK, A]), np.zeros(3, np.float32)))
    assert partials(stream.take_events()) == [("", "a")]
    stream.flush("x")
    stream.next_window()
    stream.accept_frames(Frames(np.array([BLANK, BLANK]), np.zeros(2, np.float32)))
    taken_back, flushed = stream.take_events()
    assert (taken_back.committed, taken_back.tail, taken_back.words) == ("", "", ())
    assert flushed == Flushed("x")


def test_flush_answers_at_once_if_nothing_is_pending():
    recognizer = Recognizer(FakeModel(context=Context(0, 4, 0)))
    recognizer.stream.accept_waveform(speak("ab", 1, 1))
    recognizer.stream.flush("1")
    assert [type(e) for e in recognizer.decode()] == [SpeechStart, Final, Flushed]
    recognizer.stream.flush("2")
    recognizer.stream.flush("3")
    assert recognizer.decode() == [Flushed("2"), Flushed("3")]
    recognizer.stream.input_finished()
    recognizer.stream.input_finished()
    assert recognizer.decode() == [Closed(4 * 320, 1)]


def test_a_flush_begins_a_new_grid_at_the_next_sample():
    recognizer = Recognizer(FakeModel())
    recognizer.stream.accept_waveform(audio([A])[:100])
    recognizer.stream.flush()
    recognizer.stream.accept_waveform(audio([BLANK, B, B]))
    recognizer.stream.input_finished()
    first, second = (e for e in recognizer.decode() if isinstance(e, Final))
    assert (first.text, first.start, first.end) == ("a", 0.0, 100 / 16_000)
    assert (second.text, second.start, second.end) == ("b", 420 / 16_000, 1060 / 16_000)


def test_an_empty_stream_just_closes():
    assert transcribe(np.zeros(0, np.float32)) == [Closed(0, 0)]
    assert transcribe(silence(5.0)) == [Closed(80_000, 0)]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(24, [("a a", "end")]), (25, [("a", "endpoint"), ("a", "end")])],
)
def test_silence_ends_an_utterance_exactly_when_it_is_long_enough(frames, expected):
    rules = EndpointRules(silence_s=0.5)
    assert finals(transcribe(audio([A] + [BLANK] * frames + [A]), rules)) == expected


@pytest.mark.parametrize(("leading_frames", "cut"), [(119, True), (120, False), (200, False)])
def test_leading_silence_counts_towards_the_length_until_the_utterance_restarts(
    leading_frames, cut
):
    rules = EndpointRules(silence_idle_s=2.4, max_utterance_s=3.0)  # 120 and 150 frames
    samples = audio([BLANK] * leading_frames + [A, DELIMITER] * 20)
    assert len(finals(transcribe(samples, rules))) == (2 if cut else 1)


def test_a_repeated_delimiter_is_silence_too():
    samples = audio([A] + [DELIMITER] * 70 + [B])
    assert finals(transcribe(samples)) == [("a", "endpoint"), ("b", "end")]


def test_too_long_an_utterance_is_cut_at_its_longest_late_pause():
    """Words behind that pause are held in the tail, and begin the next utterance."""
    blanks_before = [2, 9, 2, 1, 1, 6, 1, 1, 1]
    ids = [i for blanks in blanks_before for i in [BLANK] * blanks + [A, BLANK, A, DELIMITER]]
    rules = EndpointRules(max_utterance_s=1.0)  # 50 frames; the later part begins at 37.5
    events = transcribe(audio(ids), rules, context=Context(0, 1, 0))
    assert finals(events) == [("aa aa aa aa aa", "length"), ("aa aa aa aa", "end")]
    cut = next(i for i, e in enumerate(events) if isinstance(e, Final))
    assert partials(events[:cut])[-1] == ("aa aa aa aa aa", "aa aa")
    assert partials(events[cut:])[0] == ("aa aa", "")


def test_words_are_never_split_by_the_length_rule_if_there_is_a_pause_between_words():
    rules = EndpointRules(max_utterance_s=1.0)
    words = ["abcdef", "gh", "ijklm", "nop"] * 10
    for pause_frames in (0, 1, 3):
        events = transcribe(speak(" ".join(words), 1, pause_frames), rules)
        assert " ".join(text for text, _ in finals(events)).split() == words


def test_an_endless_word_is_cut_at_its_longest_pause():
    rules = EndpointRules(max_utterance_s=0.4)  # 20 frames
    ids = [A, B] * 3 + [BLANK] * 2 + [C, B] * 4 + [BLANK] + [A, B] * 3
    assert finals(transcribe(audio(ids), rules)) == [
        ("abababcbcbcbcb", "length"),
        ("ababab", "end"),
    ]


def test_one_long_letter_is_never_cut():
    rules = EndpointRules(max_utterance_s=0.4)
    assert finals(transcribe(audio([A] * 100), rules)) == [("a", "end")]


def test_a_gap_moves_time_on_and_counts_as_silence():
    recognizer = Recognizer(FakeModel())
    recognizer.stream.accept_waveform(audio([A, A, BLANK]))
    recognizer.stream.report_gap(16_000)
    recognizer.stream.accept_waveform(audio([BLANK, B]))
    recognizer.stream.report_gap(32_000)
    recognizer.stream.accept_waveform(audio([C]))
    recognizer.stream.input_finished()
    events = recognizer.decode()
    assert [e for e in events if isinstance(e, Gap)] == [Gap(0.06, 1.0), Gap(1.1, 2.0)]
    assert finals(events) == [("a b", "endpoint"), ("c", "end")]
    assert [(e.start, e.end) for e in events if isinstance(e, Final)] == [(0.0, 1.1), (3.1, 3.12)]
    assert events[-1] == Closed(6 * 320, 2)


def test_multi_character_and_silent_tokens():
    labels = Labels(("_", " ", "th", "sch", "e", "<unk>"), 0, 1, frozenset({5}))
    samples = audio([2, 0, 4, 5, 4, 1, 3, 3, 5])
    assert finals(transcribe(samples, labels=labels)) == [("thee sch", "end")]


def test_without_a_delimiter_pauses_separate_words():
    labels = Labels(("_", "a", "b"), 0, None)
    samples = audio([1, 2] + [0] * 20 + [2, 1])
    assert finals(transcribe(samples, labels=labels)) == [("ab ba", "end")]


def test_confidence_of_a_word_is_the_geometric_mean_of_its_tokens_best_frames():
    samples = audio([A, A, B, DELIMITER, C], [-0.5, -0.25, -0.75, 0.0, -0.5])
    (final,) = (e for e in transcribe(samples) if isinstance(e, Final))
    assert [w.confidence for w in final.words] == pytest.approx(np.exp([-0.5, -0.5]))
    assert final.confidence == pytest.approx(np.exp(-0.5))


def test_confidence_is_calibrated_by_a_power():
    samples = audio([A, A, B, DELIMITER, C], [-0.5, -0.25, -0.75, 0.0, -0.5])
    events = transcribe(samples, labels=dataclasses.replace(LABELS, confidence_exponent=3.0))
    (final,) = (e for e in events if isinstance(e, Final))
    assert [w.confidence for w in final.words] == pytest.approx(np.exp([-1.5, -1.5]))


def test_configure_changes_the_rules_for_what_is_not_yet_decoded():
    recognizer = Recognizer(FakeModel())
    recognizer.stream.accept_waveform(audio([A] + [BLANK] * 31))
    recognizer.decode()
    recognizer.stream.configure(EndpointRules(silence_s=0.5))
    recognizer.stream.accept_waveform(audio([BLANK] * 20))
    assert finals(recognizer.decode()) == [("a", "endpoint")]


def test_tightened_rules_take_back_nothing_that_was_committed():
    recognizer = Recognizer(FakeModel(context=Context(0, 1, 0)))
    recognizer.stream.accept_waveform(speak("ab cd ef gh " * 12, 1, 1))
    committed = partials(recognizer.decode())[-1][0]
    recognizer.stream.configure(EndpointRules(max_utterance_s=0.5))
    recognizer.stream.accept_waveform(silence(0.1))
    assert finals(recognizer.decode())[0][0].startswith(committed)


def test_reset_forgets_everything():
    recognizer = Recognizer(FakeModel())
    samples = speak("ab cd")
    first = recognizer.transcribe(samples)
    recognizer.reset()
    recognizer.stream.accept_waveform(speak("never said"))
    recognizer.decode()
    assert recognizer.transcribe(samples) == first


def test_one_window_in_flight():
    stream = Stream(Context(0, 1, 0), Grid(), LABELS)
    stream.accept_waveform(silence(1.0))
    assert stream.is_ready()
    stream.next_window()
    assert not stream.is_ready()
    with pytest.raises(AssertionError, match="in flight"):
        stream.next_window()
    with pytest.raises(AssertionError):
        stream.accept_frames(Frames(np.zeros(2, int), np.zeros(2, np.float32)))


@pytest.mark.parametrize(
    ("samples", "seen"),
    [
        ([0.0], "list"),
        (np.zeros(3), r"float64 \(3,\)"),
        (np.zeros((2, 3), np.float32), r"float32 \(2, 3\)"),
        (np.array([0, np.nan, np.inf], np.float32), "got 2"),
    ],
)
def test_bad_waveforms_are_refused_with_what_was_seen(samples, seen):
    stream = Stream(Context(0, 1, 0), Grid(), LABELS)
    with pytest.raises(ValueError, match=seen):
        stream.accept_waveform(samples)
    assert stream.received_samples == 0


def test_huge_but_finite_samples_are_accepted():
    Stream(Context(0, 1, 0), Grid(), LABELS).accept_waveform(np.full(9, 3e38, np.float32))


def test_a_finished_stream_takes_nothing_more():
    stream = Stream(Context(0, 1, 0), Grid(), LABELS)
    stream.input_finished()
    for call in (lambda: stream.accept_waveform(silence(0.1)), stream.flush):
        with pytest.raises(ValueError, match="after input_finished"):
            call()
    with pytest.raises(ValueError, match="got 0"):
        Stream(Context(0, 1, 0), Grid(), LABELS).report_gap(0)


def test_labels_must_know_their_special_ids():
    with pytest.raises(ValueError, match="within the 2 tokens"):
        Labels(("_", "a"), 0, 2)
