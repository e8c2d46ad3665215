"""WAV files sent where PCM was announced: the audio in them, whatever the cuts."""

import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio import AudioError, PcmDecoder
from streamer.messages import AudioFormat
from streamer.wav import SniffingDecoder

FORMS = [
    ("PCM_16", 16_000, 1, "WAV"),
    ("PCM_16", 8_000, 2, "WAVEX"),
    ("FLOAT", 48_000, 1, "WAV"),
    ("ULAW", 8_000, 1, "WAV"),
    ("ALAW", 8_000, 2, "WAV"),
]
ENCODINGS = {"PCM_16": "pcm_s16le", "FLOAT": "pcm_f32le", "ULAW": "mulaw", "ALAW": "alaw"}


def wav(subtype: str, rate: int, channels: int, form: str) -> bytes:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2_000, channels))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, subtype=subtype, format=form)
    return file.getvalue()


def heard(decoder: SniffingDecoder | PcmDecoder, *parts: bytes) -> np.ndarray:
    return np.concatenate([*(decoder.accept(part) for part in parts), decoder.finish()])


@settings(max_examples=40)
@given(st.sampled_from(FORMS), st.lists(st.integers(0, 99), max_size=60), st.binary(max_size=9))
def test_any_cut_of_a_wav_file_gives_its_audio(form, cuts, trailer) -> None:
    subtype, rate, channels, _ = form
    data = wav(*form)
    at = data.index(b"data") + 8
    expected = heard(PcmDecoder(AudioFormat(ENCODINGS[subtype], rate, channels)), data[at:])
    data += b"LIST" + trailer  # tags behind the audio are no audio
    edges = [0, *np.minimum(np.cumsum(cuts, dtype=int), len(data)).tolist(), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(heard(SniffingDecoder(AudioFormat()), *parts), expected)
    assert len(expected) == -(-2_000 * 16_000 // rate)


@settings(max_examples=60)
@given(
    st.sampled_from([b"", b"RIF", b"RIFFxxxxWAV", b"RIFFxxxxAVI ", b"RI"]),
    st.binary(max_size=99),
    st.lists(st.integers(0, 20), max_size=20),
)
def test_pcm_is_decoded_as_announced(head: bytes, rest: bytes, cuts: list[int]) -> None:
    data = head + (b"." + rest if head else rest)
    edges = [0, *np.minimum(np.cumsum(cuts, dtype=int), len(data)).tolist(), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    for audio in (AudioFormat(), AudioFormat("mulaw", 8_000)):
        sniffing, plain = SniffingDecoder(audio), PcmDecoder(audio)
        np.testing.assert_array_equal(heard(sniffing, *parts), heard(plain, data))
        assert sniffing.leftover_bytes == plain.leftover_bytes


def test_a_recorder_that_does_not_know_the_length_yet() -> None:
    data = wav(*FORMS[0])
    at = data.index(b"data") + 4
    for size in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        streamed = data[:at] + size + data[at + 4 :]
        assert len(heard(SniffingDecoder(AudioFormat()), streamed)) == 2_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (wav("PCM_24", 16_000, 1, "WAV"), "got format 1, 24 bits"),
        (b"RIFF....WAVEdata....", "format comes before its data"),
        (b"RIFF....WAVEfmt \x02\0\0\0..data....", "16 bytes or more"),
        (b"RIFF....WAVEjunk\xff\xff\xff\x7f", "within 65536 bytes"),
        (wav("PCM_16", 96_000, 1, "WAV"), "sample_rate: expected"),
    ],
)
def test_what_cannot_be_decoded_is_said(data: bytes, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        SniffingDecoder(AudioFormat()).accept(data)


def test_a_header_without_audio_is_no_audio() -> None:
    assert len(heard(SniffingDecoder(AudioFormat()), wav(*FORMS[0])[:40])) == 0
