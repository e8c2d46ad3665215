"""PCM in any encoding and cut: always the same samples."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio import PcmDecoder, Resampler, bytes_per_sample
from streamer.messages import AudioFormat

rates = st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
encodings = st.sampled_from(["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, size).astype(np.float32)


def tone(rate: int, hertz: float = 440.0, seconds: float = 1.0) -> np.ndarray:
    phase = 2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(phase)).astype(np.float32)


@settings(max_examples=60)
@given(rates, st.lists(st.integers(0, 700), max_size=30), st.integers(0, 9_000))
def test_any_cut_resamples_to_the_same_samples(rate: int, cuts: list[int], size: int) -> None:
    samples = noise(size)
    whole = Resampler(rate)
    expected = np.concatenate([whole.accept(samples), whole.finish()])
    pieces = Resampler(rate)
    parts = [pieces.accept(part) for part in np.split(samples, np.minimum(np.cumsum(cuts), size))]
    np.testing.assert_array_equal(np.concatenate([*parts, pieces.finish()]), expected)
    assert len(expected) == -(-size * 16_000 // rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_pitch_level_and_time(rate: int) -> None:
    resampler = Resampler(rate)
    out = np.concatenate([resampler.accept(tone(rate)), resampler.finish()])
    middle = slice(2_000, 14_000)
    lags = range(-3, 4)  # the constant-delay form is off by a fraction of a sample
    errors = [np.abs(np.roll(out, -lag)[middle] - tone(16_000)[middle]).max() for lag in lags]
    assert min(errors) < 0.1
    assert np.abs(out[middle]).max() == pytest.approx(0.5, abs=0.01)


def test_what_16_khz_cannot_hold_is_removed() -> None:
    resampler = Resampler(48_000)
    out = np.concatenate([resampler.accept(tone(48_000, 10_000.0)), resampler.finish()])
    assert np.abs(out[1_000:-1_000]).max() < 1e-3


cut_audio = given(
    encodings,
    st.sampled_from([8_000, 16_000, 44_100]),
    st.integers(1, 3),
    st.binary(max_size=6_000),
    st.lists(st.integers(0, 99), max_size=60),
)


@settings(max_examples=60)
@cut_audio
def test_any_cut_of_the_bytes_decodes_to_the_same_samples(
    encoding: str, rate: int, channels: int, data: bytes, cuts: list[int]
) -> None:
    audio = AudioFormat(encoding, rate, channels)
    whole, pieces = PcmDecoder(audio), PcmDecoder(audio)
    expected = np.concatenate([whole.accept(data), whole.finish()])
    edges = [0, *np.minimum(np.cumsum(cuts, dtype=int), len(data)), len(data)]
    parts = [pieces.accept(data[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([*parts, pieces.finish()]), expected)
    assert pieces.leftover_bytes == len(data) % bytes_per_sample(audio)
    assert pieces.replaced == whole.replaced
    assert np.isfinite(expected).all()
    assert (np.abs(expected) <= 1).all()


def test_pcm_values() -> None:
    decoder = PcmDecoder(AudioFormat())
    samples = decoder.accept(np.array([0, 16384, -32768], "<i2").tobytes())
    np.testing.assert_array_equal(samples, np.array([0, 0.5, -1], np.float32))


def test_g711_values_of_the_standard() -> None:
    mulaw = PcmDecoder(AudioFormat("mulaw")).accept(bytes([0xFF, 0x7F, 0x80, 0x00, 0xF0]))
    np.testing.assert_array_equal(mulaw * 32768, [0, 0, 32124, -32124, 120])
    alaw = PcmDecoder(AudioFormat("alaw")).accept(bytes([0xD5, 0x55, 0xAA, 0x2A, 0x80]))
    np.testing.assert_array_equal(alaw * 32768, [8, -8, 32256, -32256, 5504])


def test_channels_are_averaged() -> None:
    stereo = np.array([[0.5, -0.5], [0.25, 0.75]], "<f4").tobytes()
    samples = PcmDecoder(AudioFormat("pcm_f32le", channels=2)).accept(stereo)
    np.testing.assert_array_equal(samples, np.array([0, 0.5], np.float32))


@settings(max_examples=60)
@cut_audio
def test_separate_channels_are_what_each_gives_alone(
    encoding: str, rate: int, channels: int, data: bytes, cuts: list[int]
) -> None:
    audio = AudioFormat(encoding, rate, channels, separate=True)
    decoder, size = PcmDecoder(audio), bytes_per_sample(audio) // channels
    edges = [0, *np.minimum(np.cumsum(cuts, dtype=int), len(data)), len(data)]
    parts = [decoder.accept(data[a:b]) for a, b in itertools.pairwise(edges)]
    heard = np.concatenate([*parts, decoder.finish()])
    assert decoder.leftover_bytes == len(data) % bytes_per_sample(audio)
    whole = len(data) - decoder.leftover_bytes
    frames = np.frombuffer(data[:whole], "u1").reshape(-1, channels, size)
    for channel in range(channels):
        alone = PcmDecoder(AudioFormat(encoding, rate))
        expected = [alone.accept(frames[:, channel].tobytes()), alone.finish()]
        np.testing.assert_array_equal(heard[:, channel], np.concatenate(expected))


def test_what_is_no_number_becomes_silence_and_the_rest_is_clipped() -> None:
    decoder = PcmDecoder(AudioFormat("pcm_f32le"))
    samples = decoder.accept(np.array([np.nan, np.inf, 7.0, -7.0, 0.25], "<f4").tobytes())
    np.testing.assert_array_equal(samples, np.array([0, 0, 1, -1, 0.25], np.float32))
    assert decoder.replaced == 2


def test_any_bits_are_samples_without_a_word() -> None:
    """Signalling NaNs and numbers whose sum is none: a warning would be an error here."""
    audio = AudioFormat("pcm_f32le", channels=2)
    huge = np.full(4, 3e38, "<f4").tobytes()
    np.testing.assert_array_equal(PcmDecoder(audio).accept(huge), np.ones(2, np.float32))
    decoder = PcmDecoder(audio)
    signalling = bytes.fromhex("0100807f") * 2
    np.testing.assert_array_equal(decoder.accept(signalling), np.zeros(1, np.float32))
    assert decoder.replaced == 2


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="got 0"):
        Resampler(0)
