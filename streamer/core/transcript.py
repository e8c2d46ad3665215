"""From tokens to events: letters on the stream's clock, utterances, what is said of them.

Owns the order in which an utterance takes letters and time, and its events. Must not know: frames
of a model, windows, marks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile

from streamer.core.alternatives import Part, n_best
from streamer.core.ctc import Token
from streamer.core.decoder import Decoded
from streamer.core.frames import Labels
from streamer.core.hypothesis import Event, Reason, Word
from streamer.core.narrator import Narrator
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.settings import Settings
from streamer.core.speech import SpeechMeter
from streamer.core.text_rules import TextRules
from streamer.core.timeline import Timeline
from streamer.core.utterance import Ended, Letter, Utterance


class Transcript:
    """What a stream has heard, told as events; `timeline` places the tokens."""

    def __init__(
        self,
        labels: Labels,
        timeline: Timeline,
        utterance: Utterance,
        text: TextRules,
        options: DecodingOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.utterance = utterance
        self._labels = labels
        self._timeline = timeline
        self._seconds = timeline.grid.seconds
        self._narrator = Narrator(text)
        self._options = options
        self._is_speaking = False  # a letter is open or in the frames behind the decoded ones
        self._before: list[str] = []  # the words of the hypothesis before
        self._parts: list[Part] = []  # of what is settled and in no final yet
        # By sample of the clock, which passes them soon.
        self._changes: deque[tuple[int, Settings]] = deque()

    @property
    def awaits_silence(self) -> bool:
        """Whether silence would end an utterance: it has words, and none is being said."""
        return not (self._is_speaking or self.utterance.is_blank())

    @property
    def utterances(self) -> int:
        """Finals so far."""
        return self._narrator.utterances

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        return self._narrator.take_events()

    def say(self, *events: Event) -> None:
        """Events that concern no utterance."""
        self._narrator.say(*events)

    def settle(self, decoded: Decoded) -> None:
        """Take tokens that are final."""
        for choice in decoded.choices:
            span = self._timeline.span(choice.start_frame, choice.end_frame)
            # Both as ends of words are told: they are only compared with such.
            start, end = (self._seconds(self._timeline.sound_end(at)) for at in span)
            self._parts.append(Part(start, end, choice.texts))
        for token in decoded.settled:
            self._add(self._letter(token))

    def pass_decoded(self, open_tokens: Sequence[Token]) -> None:
        """Let time pass to where nothing is settled: to `open_tokens`, or to all decoded."""
        now = self._timeline.now
        if open_tokens:
            letter = self._letter(open_tokens[0])
            if letter.text is None:
                self._add(letter)  # takes effect where it begins
            else:
                now = letter.start  # what is being said is not silence
        self.advance(now)

    def advance(self, now: int, *, at_mark: bool = False) -> None:
        """Let time pass up to the sample `now`; at a mark, changes made there come behind it."""
        while self._changes and self._changes[0][0] <= now - at_mark:
            at, settings = self._changes.popleft()
            self._end_all(self.utterance.advance(at))
            self.utterance.configure(settings.endpoint)
            self._options = settings.options
        self._end_all(self.utterance.advance(now))

    def check_room(self, text: TextRules) -> None:
        """Raise ValueError if no change of the text rules can be made now."""
        self._narrator.check_room(text, self._seconds(self.utterance.start))

    def configure(self, at: int, settings: Settings) -> None:
        """Settings behind the sample `at` of the clock, which is not before the last one's."""
        if self._changes and self._changes[-1][0] == at:
            self._changes.pop()
        self._changes.append((at, settings))
        # Words go by where they begin, not by when they come: what is behind `at` is not heard yet.
        self._narrator.configure(self._seconds(at), settings.text)

    def look_ahead(
        self, until: int, measure: Callable[[], int], speech: SpeechMeter | None
    ) -> None:
        """End the utterance up to `until` if only its quiet is not decoded yet.

        `measure` says how far loudness is known. Not beyond a change of the rules. Not while
        something is said; speech that a detector has heard begins anyway.
        """
        until = self._not_beyond_change(until)
        if speech is not None:
            speech.count(until)
        if not self._is_speaking and self.utterance.may_end_by(until):
            self._end_all(self.utterance.look_ahead(min(until, measure())))
        since = None if speech is None else self.utterance.new_speech()
        if since is not None:
            self._narrator.start_speech(self._seconds(since))

    def wants_verdict(self, until: int) -> bool:
        """Whether `look_ahead` could do with more of what a detector hears."""
        until = self._not_beyond_change(until)
        return not self._is_speaking and self.utterance.wants_verdict(until)

    def _not_beyond_change(self, until: int) -> int:
        return min(until, self._changes[0][0]) if self._changes else until

    def end(self, now: int, reason: Reason) -> None:
        """End the utterance at the sample `now`."""
        self._say_final(self.utterance.end(now), reason, self._seconds(now))

    def show(self, upcoming: Sequence[Token]) -> None:
        """Show the utterance in progress, with the tokens that are not settled as its tail."""
        utterance, delimiter = self.utterance, self._labels.delimiter
        self._is_speaking = bool(upcoming) and any(each.id != delimiter for each in upcoming)
        if upcoming or not (utterance.is_blank() and self._narrator.is_silent()):
            committed, tail = utterance.shown([self._letter(token) for token in upcoming])
            if committed or tail:
                self._narrator.start_speech((committed or tail)[0].start)
            shown = tail[: self._shown_words(committed, tail)]
            self._narrator.show(committed, shown, self._seconds(self._timeline.now))

    def _shown_words(self, committed: Sequence[Word], tail: Sequence[Word]) -> int:
        """How many words of the tail are stable enough to be shown."""
        if self._options.stability == "low":
            return len(tail)
        if self._options.stability == "high":
            return 0
        words = [word.word for word in (*committed, *tail)]
        agreed = _common(self._before, words)
        self._before = words
        return max(0, agreed - len(committed))

    def _letter(self, token: Token) -> Letter:
        """A token on the stream's clock."""
        labels, (id_, start_frame, end_frame, log_prob) = self._labels, token
        text = None if id_ == labels.delimiter else labels.tokens[id_]
        start, end, sound_start, sound_end = self._timeline.placed(start_frame, end_frame)
        log_prob *= labels.confidence_exponent
        return Letter(text, start, end, log_prob, sound_start, sound_end)

    def _add(self, letter: Letter) -> None:
        if self._changes:
            self.advance(letter.start)
        ended = self.utterance.add(letter)
        if ended:
            self._end_all(ended)

    def _end_all(self, ended: Sequence[Ended]) -> None:
        for words, reason in ended:
            self._say_final(words, reason, words[-1].end)

    def _say_final(self, words: tuple[Word, ...], reason: Reason, now: float) -> None:
        """The final, with the n-best of its parts if they are asked for."""
        alternatives = None
        if words and self._options.n_best > 1:
            alternatives = n_best(words, self._parts, self._options.n_best)
        self._narrator.end(words, reason, now, alternatives)
        self._parts = [part for part in self._parts if words and part.start >= words[-1].end]
        self._before = []


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of words with which both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
