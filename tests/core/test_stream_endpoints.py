"""Endpoints by loudness: blank alone is not yet silence, and quiet need not be decoded."""

import random

import numpy as np
import pytest

from streamer.core.context import Context, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Frames
from streamer.core.hypothesis import Final, Flushed, Partial, SpeechStart
from streamer.core.recognizer import Recognizer
from streamer.core.stream import Stream
from tests.fakes import BLANK, LABELS, FakeModel, audio, silence, speak

A, B = (LABELS.tokens.index(letter) for letter in "ab")
LOUD = 0.98  # minus its log-probability, a frame's value: such a blank sounds like a letter


def finals(events):
    return [(e.text, e.reason) for e in events if isinstance(e, Final)]


def said_and_blank(loud_frames, quiet_frames):
    """A letter, then blanks that are loud, then blanks that are quiet, then a letter."""
    count = loud_frames + quiet_frames
    ids = [A] + [BLANK] * count + [A]
    return audio(ids, [0.0] + [-LOUD] * loud_frames + [0.0] * quiet_frames + [0.0])


@pytest.mark.parametrize(
    ("loud_frames", "quiet_frames", "texts"),
    [
        (0, 25, ["a", "a"]),  # quiet for long enough
        (5, 24, ["a a"]),  # blank for long enough, but not quiet
        (5, 25, ["a", "a"]),
        (49, 0, ["a a"]),  # never quiet, but blank
        (50, 0, ["a", "a"]),
    ],
)
def test_short_silence_must_be_quiet_and_long_silence_need_not(loud_frames, quiet_frames, texts):
    rules = EndpointRules(silence_s=0.5, blank_s=1.0)
    events = Recognizer(FakeModel(), rules).transcribe(said_and_blank(loud_frames, quiet_frames))
    assert [text for text, _ in finals(events)] == texts


def over_ahead_of_decoding(samples, **rules):
    """Finals before and after each of the last samples, in chunks of 10 frames, 20 decoded.

    It takes 20 quiet frames to end an utterance.
    """
    endpoint = EndpointRules(silence_s=0.4, blank_s=1.0, **rules)
    recognizer = Recognizer(FakeModel(context=Context(0, 10, 0)), endpoint)
    recognizer.stream.accept_waveform(samples[: 20 * 320 + 240])
    assert finals(recognizer.decode()) == []
    recognizer.stream.accept_waveform(samples[20 * 320 + 240 : -1])
    assert finals(recognizer.decode()) == []
    recognizer.stream.accept_waveform(samples[-1:])
    return finals(recognizer.stream.take_events())


def test_an_endpoint_does_not_wait_for_the_chunk_in_which_it_lies():
    """Said up to frame 3 or 5: over with frame 23 or 25, though only 20 are decoded."""
    for letter_frame in (2, 4):
        ids = [BLANK] * letter_frame + [A] + [BLANK] * 20
        assert over_ahead_of_decoding(audio(ids)) == [("a", "endpoint")]


def test_no_endpoint_when_much_of_the_silence_is_not_decoded():
    ids = [BLANK] * 5 + [A] + [BLANK] * 20
    assert over_ahead_of_decoding(audio(ids)) == []


def test_an_utterance_that_grows_too_long_is_not_cut_ahead_of_decoding():
    ids = [BLANK] * 2 + [A] + [BLANK] * 20
    assert over_ahead_of_decoding(audio(ids), max_utterance_s=0.44) == []


@pytest.mark.parametrize("loud_frame", [20, 21, 22])
def test_no_endpoint_ahead_of_decoding_while_it_is_loud(loud_frame):
    ids = [BLANK] * 2 + [A] + [BLANK] * 20
    log_probs = [-LOUD if frame == loud_frame else 0.0 for frame in range(len(ids))]
    assert over_ahead_of_decoding(audio(ids, log_probs)) == []


def test_no_endpoint_ahead_of_decoding_while_lookahead_speaks():
    stream = Stream(Context(0, 10, 3), Grid(), LABELS, EndpointRules(silence_s=0.4))
    stream.accept_waveform(np.zeros(33 * 320 + 240, np.float32))
    for ids in ([BLANK] * 2 + [A] + [BLANK] * 10, [BLANK] * 12 + [B]):
        stream.next_window()
        stream.accept_frames(Frames(np.array(ids), np.zeros(13, np.float32)))
    events = stream.take_events()
    assert finals(events) == []
    assert [e.tail for e in events if isinstance(e, Partial)] == ["a", "ab"]


def test_no_endpoint_ahead_of_decoding_while_a_letter_lasts():
    stream = Stream(Context(0, 10, 0), Grid(), LABELS, EndpointRules(silence_s=0.4))
    stream.accept_waveform(np.zeros(33 * 320 + 240, np.float32))
    for ids in ([BLANK] * 2 + [A] + [BLANK] * 7, [BLANK] * 9 + [B], [B, *[BLANK] * 9]):
        stream.next_window()
        stream.accept_frames(Frames(np.array(ids), np.zeros(10, np.float32)))
    assert finals(stream.take_events()) == []


def test_the_first_word_after_an_endpoint_is_whole():
    """A letter that the model tells late, in the quiet before its endpoint, is the next one's."""
    stream = Stream(Context(0, 10, 0), Grid(), LABELS, EndpointRules(silence_s=0.4))
    stream.accept_waveform(np.zeros(40 * 320 + 240, np.float32))
    blanks = [BLANK] * 10
    for ids in ([BLANK] * 2 + [A] + [BLANK] * 7, blanks, [BLANK, B, *[BLANK] * 8], blanks):
        stream.next_window()
        stream.accept_frames(Frames(np.array(ids), np.zeros(10, np.float32)))
    stream.input_finished()
    stream.next_window()
    stream.accept_frames(Frames(np.array([BLANK]), np.zeros(1, np.float32)))
    events = stream.take_events()
    assert finals(events) == [("a", "endpoint"), ("b", "end")]
    assert [e.time for e in events if isinstance(e, SpeechStart)] == [2 * 0.02, 21 * 0.02]


@pytest.mark.parametrize("late", [False, True])
def test_a_flush_lets_the_silence_before_it_end_an_utterance_first(late):
    """The endpoint lies in the frame that the flush cuts short; a letter is told late there."""
    stream = Stream(Context(0, 10, 0), Grid(), LABELS, EndpointRules(silence_s=6_500 / 16_000))
    stream.accept_waveform(np.zeros(7_500, np.float32))
    answers = ([BLANK] * 2 + [A] + [BLANK] * 7, [BLANK] * 10, [BLANK] * 2 + [B, BLANK])
    for index, ids in enumerate(answers):
        if index == (2 if late else 0):
            stream.flush()
        stream.next_window()
        stream.accept_frames(Frames(np.array(ids), np.zeros(len(ids), np.float32)))
    assert finals(stream.take_events()) == [("a", "endpoint"), ("b", "flush")]


class DeafModel(FakeModel):
    """Hears what it likes, where it likes: letters in quiet audio, and nothing in loud audio."""

    def read(self, window):
        hop_samples = self.grid.hop_samples
        count = window.left + window.chunk + window.right
        first = window.start_sample - window.left * hop_samples
        starts = range(first, first + count * hop_samples, hop_samples)
        ids = [A if random.Random(start).random() < 0.05 else BLANK for start in starts]
        return Frames(np.array(ids), np.zeros(count, np.float32))


def test_when_audio_comes_is_all_the_same_even_if_letters_are_told_late():
    for seed in range(300):
        rng = random.Random(seed)
        right = rng.choice([0, 3])
        rules = EndpointRules(silence_s=0.4, blank_s=rng.choice([0.4, 1.0]))
        model = DeafModel(context=Context(0, rng.randint(1, 12), right), grid=Grid(640, 240))
        sizes = [rng.randint(1, 3) * rng.choice([1, 640, 640, 1500]) for _ in range(60)]
        parts = [np.full(size, rng.choice([0, 0, 0, 0.5]), np.float32) for size in sizes]
        flushes = {rng.randrange(60) for _ in range(rng.choice([0, 2]))}
        at_once, packets = (Recognizer(model, rules) for _ in range(2))
        seen = []
        for index, part in enumerate(parts):
            if index in flushes:
                at_once.stream.flush()
                packets.stream.flush()
            at_once.stream.accept_waveform(part)
            for piece in np.array_split(part, rng.randint(1, 3)):
                packets.stream.accept_waveform(piece)
                seen += packets.decode()
        for each in (at_once, packets):
            each.stream.input_finished()
        expected = finals_and_flushes(at_once.decode())
        assert finals_and_flushes(seen + packets.decode()) == expected, seed


def finals_and_flushes(events):
    return [event for event in events if isinstance(event, Final | Flushed)]


@pytest.mark.parametrize("seed", range(8))
def test_changed_rules_hold_from_their_sample_whatever_is_decoded_by_then(seed):
    """Tight rules for a stretch in the middle: late or early decoding, any packets."""
    rng = random.Random(seed)
    samples = np.concatenate([each for _ in range(8) for each in (speak("ab cd"), silence(0.5))])
    at = sorted(rng.sample(range(len(samples)), 2))
    tight, gap_samples = EndpointRules(silence_s=0.2), rng.choice([0, 4_000])

    def heard(*, lazy, packets):
        recognizer, sizes = Recognizer(FakeModel()), random.Random(packets)
        stream, events = recognizer.stream, []
        for part, rules in zip(np.split(samples, at), [tight, EndpointRules(), None], strict=True):
            begin = 0
            while begin < len(part):
                end = begin + sizes.randint(1, 9000)
                stream.accept_waveform(part[begin:end])
                begin = end
                events += [] if lazy else recognizer.decode()
            if rules is not None:
                if gap_samples:
                    stream.report_gap(gap_samples)
                stream.configure(rules)
        stream.input_finished()
        return [e for e in events + recognizer.decode() if isinstance(e, Final)]

    one, *others = [heard(lazy=lazy, packets=i) for lazy in (False, True) for i in range(2)]
    assert others == [one] * 3
    for final in one:
        if final.reason == "endpoint":
            assert at[0] < (final.end + 0.5) * 16_000
            assert (final.end + 0.2) * 16_000 <= at[1] + 2 * gap_samples + 1
