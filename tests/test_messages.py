"""The wire protocol: what is written can be read, and what a peer got wrong is said clearly."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import messages as m
from streamer.core import options
from streamer.core.hypothesis import Alternative
from streamer.messages import client as limits

short = st.text(max_size=20)
ms = st.integers(0, 10_000_000).map(lambda n: n / 1000)  # times travel in milliseconds
confidence = st.integers(0, 1000).map(lambda n: n / 1000)
count = st.integers(0, 2**53)
channels = st.none() | st.integers(0, 7)
words = st.lists(st.builds(m.Word, short, ms, ms, confidence), max_size=4).map(tuple)
silence = st.none() | st.integers(limits.MIN_SILENCE_MS, limits.MAX_SILENCE_MS)
length = st.none() | st.integers(limits.MIN_UTTERANCE_MS, limits.MAX_UTTERANCE_MS)
flags = st.none() | st.booleans()
patches = st.builds(m.EndpointPatch, silence, silence, silence, length, flags)
phrases = st.text(min_size=1, max_size=options.MAX_HOTWORD_LENGTH).filter(str.split)
thousandths = st.integers(0, 10_000).map(lambda n: n / 1000)
weighed = st.builds(m.Hotword, phrases, st.none() | thousandths)
hotwords = st.lists(phrases | weighed, max_size=3).map(tuple)
decoding = st.builds(
    m.DecodingPatch,
    st.none() | st.integers(1, options.MAX_BEAM),
    st.none() | thousandths,
    st.none() | thousandths,
    st.none() | st.integers(1, options.MAX_N_BEST),
    st.none() | st.sampled_from(["low", "medium", "high"]),
)
encodings = st.sampled_from(["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
formats = st.builds(
    m.AudioFormat, encodings, st.integers(8_000, 48_000), st.integers(1, 8), st.booleans()
)
texts = st.builds(m.TextWishes, flags, flags, flags)
thresholds = st.none() | st.integers(1, 1000).map(lambda n: n / 1000)
keywords = st.none() | st.lists(st.builds(m.KeywordWish, phrases, thresholds), max_size=3).map(
    tuple
)
client_messages = st.one_of(
    st.builds(
        m.Start, formats, st.booleans(), st.booleans(), hotwords, patches, decoding, texts, keywords
    ),
    st.builds(m.Flush, short),
    st.builds(m.Configure, st.none() | hotwords, patches, decoding, texts, keywords),
    st.just(m.Stop()),
)
alternatives = st.none() | st.lists(st.builds(Alternative, short, ms), max_size=3).map(tuple)
reasons = st.sampled_from(["endpoint", "flush", "length", "end"])
server_messages = st.one_of(
    st.builds(m.Ready, short, short, count, count, st.builds(m.Limits, count, count, count)),
    st.builds(m.Ack, count),
    st.builds(m.Configured, count),
    st.builds(m.Append, count, short, channels),
    st.builds(m.Error, short, short, st.booleans(), st.none() | ms, flags, flags),
    st.builds(m.GoAway, short, short, ms, st.booleans(), st.booleans(), st.none() | ms),
    st.builds(m.SpeechStart, ms, channels),
    st.builds(m.Partial, count, count, short, short, words, ms, ms, channels),
    st.builds(m.Final, count, short, words, ms, ms, confidence, reasons),
    st.builds(
        m.Final,
        count,
        short,
        words,
        ms,
        ms,
        confidence,
        reasons,
        alternatives=alternatives,
        channel=channels,
    ),
    st.builds(m.Flushed, short),
    st.builds(m.Gap, ms, ms, channels),
    st.builds(m.Keyword, short, ms, ms, confidence, channels),
    st.builds(m.Closed, count, count),
)


@given(client_messages)
def test_client_messages_survive_the_wire(message: m.ClientMessage) -> None:
    assert m.decode_client(m.encode(message)) == message


@given(server_messages)
def test_server_messages_survive_the_wire(message: m.ServerMessage) -> None:
    text = m.encode(message)
    assert "\n" not in text
    assert m.decode_server(text) == message


@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("depth", [*range(900, 1_000, 3), 16_000])
def test_what_is_nested_deeply_is_a_mistake_like_any_other(brackets: str, depth: int) -> None:
    deep = brackets[0] * depth + ("" if brackets == "[]" else "1") + brackets[1] * depth
    for text in (
        f'{{"type":"configure","hotwords":{deep}}}',
        f'{{"type":"flush","id":{deep}}}',
        f'{{"type":{deep}}}',
        deep,
    ):
        with pytest.raises(m.MessageError):
            m.decode_client(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | short,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short, inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(["start", "flush", "configure", "stop"]),
    st.dictionaries(
        st.sampled_from(["audio", "id", "words", "hotwords", "endpoint", "decoding"]), json_values
    ),
)
def test_any_values_give_a_message_or_a_message_error(kind: str, body: dict[str, object]) -> None:
    with contextlib.suppress(m.MessageError):
        m.decode_client(json.dumps({"type": kind, **body}))


@given(st.text())
def test_any_text_gives_a_message_or_a_message_error(text: str) -> None:
    for decode in (m.decode_client, m.decode_server):
        with pytest.raises(m.MessageError):
            decode(text)


def test_the_documented_start_is_understood() -> None:
    start = m.decode_client(
        '{"type":"start","audio":{"encoding":"mulaw","sample_rate":8000,"channels":2},'
        '"partials":false,"words":true,"hotwords":["ada"],"endpoint":{"silence_ms":600}}'
    )
    assert start == m.Start(
        audio=m.AudioFormat("mulaw", 8000, 2),
        partials=False,
        hotwords=("ada",),
        endpoint=m.EndpointPatch(silence_ms=600),
    )


def test_every_key_is_optional_unknown_ones_are_ignored_and_null_is_absent() -> None:
    assert m.decode_client('{"type":"start"}') == m.Start()
    assert m.decode_client('{"type":"start","audio":null,"colour":"red"}') == m.Start()
    assert m.decode_client('{"type":"start","audio":{"bitrate":9}}') == m.Start()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"type":"start","audio":{"encoding":"opus"}}', ["encoding", "pcm_s16le", "opus"]),
        ('{"type":"start","audio":{"sample_rate":0}}', ["sample_rate", "8000", "48000"]),
        ('{"type":"start","audio":{"sample_rate":192000}}', ["sample_rate", "192000"]),
        ('{"type":"start","audio":{"sample_rate":"16000"}}', ["sample_rate", '"16000"']),
        ('{"type":"start","audio":{"sample_rate":true}}', ["sample_rate", "true"]),
        ('{"type":"start","audio":{"channels":-1}}', ["channels", "-1"]),
        ('{"type":"start","audio":[]}', ["audio", "an object"]),
        ('{"type":"start","partials":1}', ["partials", "true or false"]),
        ('{"type":"start","hotwords":"ada"}', ["hotwords", "a list"]),
        ('{"type":"start","hotwords":[""]}', ["hotwords", "1 to 64"]),
        ('{"type":"start","hotwords":["' + "x" * 999 + '"]}', ["hotwords", "1 to 64"]),
        ('{"type":"start","hotwords":[{"text":"a","weight":101}]}', ["weight", "0 to 100"]),
        (r'{"type":"start","hotwords":["\ud800"]}', ["hotwords", "whole characters"]),
        (r'{"type":"start","hotwords":[{"text":"a\udfff"}]}', ["text", "whole characters"]),
        (r'{"type":"resume","session":"a","token":"\ud800"}', ["token", "whole characters"]),
        ('{"type":"start","hotwords":[{"weight":1}]}', ["text", "missing"]),
        (
            '{"type":"start","hotwords":' + json.dumps(["a"] * 101) + "}",
            ["at most 100"],
        ),
        ('{"type":"start","decoding":{"beam":0}}', ["beam", "1 to 100"]),
        ('{"type":"start","decoding":{"beam":2.5}}', ["beam", "a whole number"]),
        ('{"type":"start","decoding":{"lm_alpha":-1}}', ["lm_alpha", "0 to 10"]),
        ('{"type":"start","decoding":{"lm_beta":1e999}}', ["lm_beta", "-10 to 10"]),
        ('{"type":"start","decoding":{"lm_beta":1' + "0" * 400 + "}}", ["lm_beta", "a number"]),
        ('{"type":"start","decoding":{"n_best":21}}', ["n_best", "1 to 20"]),
        ('{"type":"start","decoding":{"stability":"rock"}}', ["stability", "low, medium, high"]),
        ('{"type":"start","endpoint":{"silence_ms":5}}', ["silence_ms", "100"]),
        ('{"type":"start","endpoint":{"silence_ms":1e400}}', ["silence_ms"]),
        ('{"type":"start","endpoint":{"blank_ms":5}}', ["blank_ms", "100"]),
        ('{"type":"start","endpoint":{"silence_ms":NaN}}', ["NaN"]),
        ('{"type":"start"', ["JSON object"]),
        ("[1]", ["JSON object"]),
        ("[" * 100_000, ["JSON object"]),
        ('{"type":"start","x":' + "9" * 5000 + "}", ["JSON object"]),
    ],
)
def test_a_bad_start_is_fatal_and_says_why(text: str, words: list[str]) -> None:
    with pytest.raises(m.MessageError) as caught:
        m.decode_client(text)
    assert caught.value.fatal
    is_form = '"audio":{' in text
    assert caught.value.code == ("unsupported_audio" if is_form else "bad_request")
    assert len(str(caught.value)) < 300
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type":"sing"}', "unknown_type"),
        ('{"type":["start"]}', "unknown_type"),
        ("{}", "unknown_type"),
        ('{"type":"flush","id":7}', "bad_request"),
        (r'{"type":"flush","id":"\ud83d"}', "bad_request"),
        ('{"type":"flush","id":"' + "x" * 129 + '"}', "bad_request"),
        ('{"type":"configure","hotwords":{}}', "bad_request"),
        ('{"type":"configure","decoding":{"beam":1000}}', "bad_request"),
    ],
)
def test_other_mistakes_leave_the_session_alive(text: str, code: str) -> None:
    with pytest.raises(m.MessageError) as caught:
        m.decode_client(text)
    assert not caught.value.fatal
    assert caught.value.code == code


def test_words_are_left_out_on_request() -> None:
    final = m.Final(0, "hi", (m.Word("hi", 0.1, 0.3, 0.9),), 0.1, 0.3, 0.9, "end")
    text = m.encode(final, words=False)
    assert "words" not in json.loads(text)
    assert m.decode_server(text) == m.Final(0, "hi", (), 0.1, 0.3, 0.9, "end")


def test_a_server_message_must_be_complete() -> None:
    with pytest.raises(m.MessageError, match="received"):
        m.decode_server('{"type":"ack"}')
    with pytest.raises(m.MessageError, match="confidence"):
        m.decode_server(
            '{"type":"partial","utterance":0,"revision":1,"committed":"","tail":"a","start":0,'
            '"end":1,"words":[{"word":"a","start":0,"end":1}]}'
        )


def test_what_is_not_json_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        m.encode(m.Gap(math.nan, 1.0))


@given(
    st.lists(st.lists(short.filter(str.split), min_size=1, max_size=4), max_size=4), st.randoms()
)
def test_growing_text_is_the_finals_with_spaces_between(finals: list[list[str]], draw) -> None:
    growing, whole = m.GrowingText(), ""
    for utterance, words in enumerate(finals):
        for count in sorted(draw.randrange(len(words) + 1) for _ in range(3)):
            committed = " ".join(words[:count])
            partial = m.Partial(utterance, 1, committed, "never seen", (), 0.0, 0.0)
            whole += growing.added(partial)
        whole += growing.added(m.SpeechStart(0.0))
        whole += growing.added(m.Final(utterance, " ".join(words), (), 0.0, 0.0, 1.0, "end"))
    assert whole == " ".join(" ".join(words) for words in finals)
