"""Messages from a client: what a connection may ask for.

Owns their names, types and ranges. Must not know: JSON, sessions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from streamer.core.options import DecodingOptions, Hotword, Stability
from streamer.messages.checks import MessageError, check, check_range

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "ogg_opus", "webm_opus"]
CONTAINERS: frozenset[Encoding] = frozenset({"ogg_opus", "webm_opus"})
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 48_000  # Hz
MAX_CHANNELS = 8
MAX_ID_LENGTH = 128  # characters of a flush id, a session or its token
MAX_SEQ = 2**53  # what every JSON reader can count to
MAX_KEYWORDS, MAX_KEYWORD_LENGTH = 100, 64
MIN_SILENCE_MS, MAX_SILENCE_MS = 100, 60_000
MIN_UTTERANCE_MS, MAX_UTTERANCE_MS = 1_000, 600_000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the binary frames hold: interleaved channels, mixed down unless `separate`.

    A WAV file, where PCM is announced, and containers say their rate and channels themselves.
    """

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = 16_000  # Hz
    channels: int = 1
    separate: bool = False  # each channel is heard by itself

    def __post_init__(self) -> None:
        expected = f"one of {', '.join(get_args(Encoding))}"
        check(self.encoding in get_args(Encoding), "encoding", expected, self.encoding)
        check_range("sample_rate", self.sample_rate, MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
        check_range("channels", self.channels, 1, MAX_CHANNELS)
        can_part = not (self.separate and self.is_container)
        check(can_part, "separate", "PCM or G.711", self.encoding)

    @property
    def is_container(self) -> bool:
        """Whether it is no plain sequence of samples."""
        return self.encoding in CONTAINERS


@dataclass(frozen=True, slots=True)
class EndpointPatch:
    """Endpoint rules a client wants different from the server's; None keeps the server's."""

    silence_idle_ms: int | None = None  # silence that ends an utterance without words
    silence_ms: int | None = None  # quiet silence that ends an utterance with words
    blank_ms: int | None = None  # any silence that does, however loud; at least silence_ms
    max_utterance_ms: int | None = None  # longest utterance
    vad: bool | None = None  # a voice detector tells what quiet is

    def __post_init__(self) -> None:
        check_range("silence_idle_ms", self.silence_idle_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        check_range("silence_ms", self.silence_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        check_range("blank_ms", self.blank_ms, MIN_SILENCE_MS, MAX_SILENCE_MS)
        check_range("max_utterance_ms", self.max_utterance_ms, MIN_UTTERANCE_MS, MAX_UTTERANCE_MS)


@dataclass(frozen=True, slots=True)
class DecodingPatch:
    """How a client wants its audio decoded; None keeps what the server or the client has set."""

    beam: int | None = None
    lm_alpha: float | None = None
    lm_beta: float | None = None
    n_best: int | None = None
    stability: Stability | None = None

    def __post_init__(self) -> None:
        self.patched(DecodingOptions())

    def patched(self, options: DecodingOptions) -> DecodingOptions:
        """The options with what is wanted different; MessageError for a value out of range."""
        wanted = {each.name: getattr(self, each.name) for each in fields(self)}
        try:
            return replace(options, **{k: v for k, v in wanted.items() if v is not None})
        except ValueError as error:
            raise MessageError(str(error)) from error


@dataclass(frozen=True, slots=True)
class TextWishes:
    """How a client wants words put; None keeps what the server does, and masks only add up."""

    written: bool | None = None  # finals have their written form in `display`
    mask_profanity: bool | None = None
    redact_numbers: bool | None = None


@dataclass(frozen=True, slots=True)
class KeywordWish:
    """A phrase to listen for; None: the usual threshold."""

    phrase: str
    threshold: float | None = None  # the score from which it is heard

    def __post_init__(self) -> None:
        is_phrase = 0 < len(self.phrase.strip()) <= len(self.phrase) <= MAX_KEYWORD_LENGTH
        check(is_phrase, "phrase", f"1 to {MAX_KEYWORD_LENGTH} characters", self.phrase)
        is_score = self.threshold is None or 0.0 < self.threshold <= 1.0
        check(is_score, "threshold", "a number above 0, up to 1", self.threshold)


@dataclass(frozen=True, slots=True)
class Start:
    """First message of a connection; every key is optional."""

    audio: AudioFormat = AudioFormat()
    partials: bool = True  # send partials
    words: bool = True  # send word times and confidences
    hotwords: tuple[str | Hotword, ...] = ()
    endpoint: EndpointPatch = EndpointPatch()
    decoding: DecodingPatch = DecodingPatch()
    text: TextWishes = TextWishes()
    keywords: tuple[KeywordWish, ...] | None = None  # None: the server's
    append_only: bool = False  # `append` instead of partials
    resume: bool = False  # keep the session when the connection is lost: `ready` has a token
    model: str | None = None  # the one it must be, by the name in `ready`; None: whichever it is

    def __post_init__(self) -> None:
        expected = f"at most {MAX_ID_LENGTH} characters"
        check(len(self.model or "") <= MAX_ID_LENGTH, "model", expected, self.model)
        expected_words(self.hotwords)
        _check_count(self.keywords)


@dataclass(frozen=True, slots=True)
class Resume:
    """First message of a connection that goes on with a session whose connection was lost."""

    session: str
    token: str  # as in its `ready`
    seq: int = 0  # of the last event that the client has

    def __post_init__(self) -> None:
        for name in ("session", "token"):
            expected = f"1 to {MAX_ID_LENGTH} characters"
            check(0 < len(getattr(self, name)) <= MAX_ID_LENGTH, name, expected, "another length")
        check_range("seq", self.seq, 0, MAX_SEQ)


@dataclass(frozen=True, slots=True)
class Confirm:
    """The client has all events up to `seq`: the server need not keep them for a resume."""

    seq: int

    def __post_init__(self) -> None:
        check_range("seq", self.seq, 0, MAX_SEQ)


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise what was said so far and go on; answered by `flushed` with the same id."""

    id: str = ""

    def __post_init__(self) -> None:
        expected = f"at most {MAX_ID_LENGTH} characters"
        check(len(self.id) <= MAX_ID_LENGTH, "id", expected, self.id)


@dataclass(frozen=True, slots=True)
class Configure:
    """Change settings in mid-stream; None keeps what is set. Answered by `configured`."""

    hotwords: tuple[str | Hotword, ...] | None = None
    endpoint: EndpointPatch = EndpointPatch()
    decoding: DecodingPatch = DecodingPatch()
    text: TextWishes = TextWishes()
    keywords: tuple[KeywordWish, ...] | None = None

    def __post_init__(self) -> None:
        expected_words(self.hotwords or ())
        _check_count(self.keywords)


@dataclass(frozen=True, slots=True)
class Stop:
    """No more audio: finish, send the last finals and `closed`, then close."""


ClientMessage = Start | Resume | Flush | Configure | Confirm | Stop

CLIENT = {
    "start": Start,
    "resume": Resume,
    "flush": Flush,
    "configure": Configure,
    "confirm": Confirm,
    "stop": Stop,
}


def _check_count(keywords: tuple[KeywordWish, ...] | None) -> None:
    count = len(keywords or ())
    check(count <= MAX_KEYWORDS, "keywords", f"at most {MAX_KEYWORDS}", count)


def expected_words(given: Iterable[str | Hotword]) -> tuple[Hotword, ...]:
    """The words a client expects; MessageError for what cannot be one."""
    try:
        words = tuple(Hotword(each) if isinstance(each, str) else each for each in given)
        return DecodingOptions(hotwords=words).hotwords
    except ValueError as error:
        raise MessageError(str(error)) from error
