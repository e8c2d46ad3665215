"""Streamed = offline: over random audio, geometry, packets, flushes, gaps and endpoint rules.

Three implementations must agree: the stream fed in packets, the stream fed in one call, and
`expected_finals` below, which sees each segment as a whole and knows nothing of windows.
"""

import math
import random
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from streamer.core.context import SAMPLE_RATE, Context, Grid
from streamer.core.endpoint import EndpointRules
from streamer.core.frames import Labels
from streamer.core.hypothesis import Closed, Final, Flushed, Gap, Partial, SpeechStart
from streamer.core.loudness import FIRST_FLOOR_DB, INAUDIBLE_DB, MARGIN_DB, RISE_DB_PER_S
from streamer.core.recognizer import Recognizer
from streamer.core.utterance import WORD_PAUSE_S
from tests.fakes import BLANK, DELIMITER, LABELS, FakeModel, audio, read_frames

NEVER_S = 3600.0


@dataclass
class Case:
    context: Context
    grid: Grid
    rules: EndpointRules
    samples: np.ndarray
    marks: list  # (position in samples, flush id or gap in samples), in order

    def feed(self, stream, begin, end, *, is_last):
        """Samples [begin, end) with the marks within, those at `end` only if it is the last."""
        for at, what in self.marks:
            if begin <= at < end or (is_last and at == end):
                stream.accept_waveform(self.samples[begin:at])
                stream.flush(what) if isinstance(what, str) else stream.report_gap(what)
                begin = at
        stream.accept_waveform(self.samples[begin:end])


def random_case(rng: random.Random, max_utterance_s=NEVER_S) -> Case:
    grid = Grid(rng.choice([320, 640, 1600]), rng.choice([0, 240, 700]))
    right = rng.choice([0, 0, rng.randint(1, 6)])
    context = Context(rng.choice([0, rng.randint(1, 12)]), rng.randint(1, 24), right)
    ids, log_probs = [], []
    speech = rng.random()
    for _ in range(rng.randint(0, 30)):
        if rng.random() < speech:
            token = rng.choice([DELIMITER, *range(2, 7)])
            count = rng.choice([1, 1, 2, 3, 40 if rng.random() < 0.03 else 5])
        else:
            token, count = BLANK, rng.choice([1, 2, 5, 25, rng.randint(1, 80)])
        ids += [token] * count
        log_probs += [-rng.randrange(64) / 64 for _ in range(count)]
    samples = audio(ids, log_probs, grid.hop_samples)
    samples = samples[: len(samples) - rng.choice([0, 1, 100, 319])]
    marks = [
        (rng.randint(0, len(samples)), rng.choice(["x", "", rng.choice([7, 500, 9000, 40_000])]))
        for _ in range(rng.choice([0, 0, 1, 3]))
    ]
    marks += [mark for mark in marks if rng.random() < 0.2]  # two at the same place
    rules = EndpointRules(
        silence_idle_s=rng.choice([0.3, 2.4]),
        silence_s=rng.choice([0.1, 0.5, 1.2, NEVER_S]),
        blank_s=rng.choice([0.1, 0.8, 1.2, NEVER_S]),
        max_utterance_s=max_utterance_s,
    )
    return Case(context, grid, rules, samples, sorted(marks, key=lambda mark: mark[0]))


def streamed(rng: random.Random, case: Case, labels: Labels = LABELS) -> list:
    recognizer = Recognizer(FakeModel(case.context, case.grid, labels), case.rules)
    stream, events, begin = recognizer.stream, [], 0
    packet = rng.choice([160, 320, 999, 5000, 40_000])
    if len(case.samples) < 2000:
        packet = 1
    while begin < len(case.samples):
        end = min(begin + rng.randint(0 if packet > 1 else 1, packet), len(case.samples))
        case.feed(stream, begin, end, is_last=False)
        begin = end
        events += recognizer.decode() if rng.random() < 0.8 else stream.take_events()
    case.feed(stream, begin, begin, is_last=True)
    stream.input_finished()
    events += recognizer.decode()
    assert stream.is_done
    assert stream.pending_samples == 0
    return events


def offline(case: Case, labels: Labels = LABELS) -> list:
    recognizer = Recognizer(FakeModel(case.context, case.grid, labels), case.rules)
    case.feed(recognizer.stream, 0, len(case.samples), is_last=True)
    recognizer.stream.input_finished()
    return recognizer.decode()


def letters_of(case: Case) -> list:
    """(text or None for the delimiter, start, end, log-prob) of each token, and the marks.

    Times are samples on the stream's clock.
    """
    timeline, begin, lost = [], 0, 0
    for at, what in [*case.marks, (len(case.samples), None)]:
        frames = read_frames(case.samples[begin:at], case.grid.hop_samples)
        position = begin + lost
        pairs = zip(frames.token_ids.tolist(), frames.log_probs.tolist(), strict=True)
        for token, run in groupby(pairs, key=lambda pair: pair[0]):
            log_probs = [log_prob for _, log_prob in run]
            end = position + case.grid.samples(len(log_probs))
            if token != BLANK:
                text = None if token == DELIMITER else LABELS.tokens[token]
                timeline.append((text, position, min(end, at + lost), max(log_probs)))
            position = end
        lost += what if isinstance(what, int) else 0
        reason = {int: None, str: "flush"}.get(type(what), "end")
        if reason:
            timeline.append((reason, at + lost))
        begin = at
    return timeline


def loud_stretches(case: Case) -> list:
    """[start, end) of each frame that is loud, frame by frame, and of each gap."""
    stretches, floor_db, begin, lost = [], FIRST_FLOOR_DB, 0, 0
    for at, what in [*case.marks, (len(case.samples), None)]:
        for start in range(begin, at, case.grid.hop_samples):
            frame = case.samples[start : min(start + case.grid.hop_samples, at)].astype(float)
            level_db = 10 * math.log10(max(np.square(frame).mean(), 1e-12))
            if level_db > INAUDIBLE_DB:
                floor_db += RISE_DB_PER_S * case.grid.hop_samples / SAMPLE_RATE
                floor_db = min(floor_db, level_db)
            if level_db > floor_db + MARGIN_DB:
                stretches.append((start + lost, start + lost + len(frame)))
        if isinstance(what, int):
            stretches.append((at + lost, at + lost + what))
            lost += what
        begin = at
    return stretches


def is_over(last, now, loud, silence, blank):
    """Whether a quiet or a long silence lies between a letter's end and now."""
    if now - last >= blank:
        return True
    points = [last, *(t for stretch in loud for t in stretch if last < t < now), now]
    loud_between = [s for s in loud if s[1] > last and s[0] < now]
    quiet_from = [p for p in points if not any(s <= p < e for s, e in loud_between)]
    return any(
        now - p >= silence and not any(p < s < p + silence for s, _ in loud_between)
        for p in quiet_from
    )


def expected_finals(case: Case) -> list:
    """(words, reason) of each final under the silence rules; a word is (text, start, end, conf)."""
    silence, pause = (Grid.samples_in(s) for s in (case.rules.silence_s, WORD_PAUSE_S))
    blank = max(silence, Grid.samples_in(case.rules.blank_s))
    loud = loud_stretches(case)
    finals, words, word = [], [], []

    def close():
        if word:
            mean = math.fsum(letter[3] for letter in word) / len(word)
            text = "".join(letter[0] for letter in word)
            times = word[0][1] / SAMPLE_RATE, word[-1][2] / SAMPLE_RATE
            words.append((text, *times, round(math.exp(mean), 9)))
            word.clear()

    def end(reason):
        close()
        if words:
            finals.append((tuple(words), reason))
            words.clear()

    last = -math.inf
    for item in letters_of(case):
        start = item[1]
        if start - last >= pause:
            close()
        if words + word and is_over(last, start, loud, silence, blank):
            end("endpoint")
        if len(item) == 2:
            end(item[0])
        elif item[0] is None:
            close()
        else:
            word.append(item)
            last = item[2]
    return finals


def finals_of(events) -> list:
    return [
        (tuple((w.word, w.start, w.end, round(w.confidence, 9)) for w in e.words), e.reason)
        for e in events
        if isinstance(e, Final)
    ]


def without_partials(events) -> list:
    return [e for e in events if not isinstance(e, Partial)]


def partials_of(events) -> list:
    """A stream that learns of a flush or its end late has shown a partial more, never another."""
    return [(e.utterance, e.committed, e.tail, e.words) for e in events if isinstance(e, Partial)]


def check_promises(case: Case, events: list) -> None:
    """What every stream promises, whatever was said."""
    lost = sum(what for _, what in case.marks if isinstance(what, int))
    clock_s = (len(case.samples) + lost) / SAMPLE_RATE
    utterance, revision, committed, started, shown = 0, 0, "", False, ("", "")
    for event in events:
        if isinstance(event, SpeechStart):
            assert not started
            started = True
        elif isinstance(event, Partial):
            assert started
            assert event.utterance == utterance
            assert event.revision > revision
            assert event.committed.startswith(committed)
            assert (event.committed, event.tail) != shown
            assert [w.word for w in event.words] == f"{event.committed} {event.tail}".split()
            revision, committed = event.revision, event.committed
            shown = event.committed, event.tail
        elif isinstance(event, Final):
            assert started
            assert event.utterance == utterance
            assert event.text.startswith(committed)
            assert event.text == " ".join(w.word for w in event.words) != ""
            assert (event.start, event.end) == (event.words[0].start, event.words[-1].end)
            mean = sum(w.confidence for w in event.words) / len(event.words)
            assert abs(event.confidence - mean) < 1e-12
            utterance, committed, started, shown = utterance + 1, "", False, ("", "")
        for words in [event.words] if isinstance(event, Partial | Final) else []:
            times = [time for w in words for time in (w.start, w.end)]
            assert times == sorted(times)
            assert all(w.start < w.end and 0 < w.confidence <= 1 for w in words)
            assert not times or times[-1] <= clock_s
    assert events[-1] == Closed(len(case.samples), utterance)
    flushes = [what for _, what in case.marks if isinstance(what, str)]
    assert [e.id for e in events if isinstance(e, Flushed)] == flushes
    gaps = [what / SAMPLE_RATE for _, what in case.marks if isinstance(what, int)]
    assert [e.duration for e in events if isinstance(e, Gap)] == gaps


def test_streamed_is_offline_is_expected():
    for seed in range(4000):
        rng = random.Random(seed)
        case = random_case(rng)
        events = streamed(rng, case)
        whole = offline(case)
        assert without_partials(events) == without_partials(whole), seed
        shown = iter(partials_of(events))
        assert all(partial in shown for partial in partials_of(whole)), seed
        assert finals_of(events) == expected_finals(case), seed
        check_promises(case, events)


def test_geometry_of_the_windows_changes_no_final():
    """Also under the length rule: endpoints are exact to the frame, not to the chunk."""
    for seed in range(2000):
        rng = random.Random(seed)
        case = random_case(rng, max_utterance_s=rng.choice([0.2, 0.7, 2.0, 4.0]))
        events = streamed(rng, case)
        check_promises(case, events)
        finals = finals_of(events)
        context = Context(rng.randint(0, 9), rng.randint(1, 40), rng.randint(0, 9))
        case.grid = Grid(case.grid.hop_samples, rng.randint(0, 900))
        case.context = context
        assert finals_of(offline(case)) == finals, seed


def test_cutting_long_utterances_loses_and_doubles_no_letter():
    for seed in range(2000):
        rng = random.Random(seed)
        case = random_case(rng, max_utterance_s=rng.choice([0.2, 0.7, 2.0, 4.0]))
        events = streamed(rng, case)
        text = "".join(word[0] for words, _ in finals_of(events) for word in words)
        assert text == "".join(item[0] for item in letters_of(case) if len(item) == 4 and item[0])
        times = [t for words, _ in finals_of(events) for word in words for t in word[1:3]]
        assert times == sorted(times)
