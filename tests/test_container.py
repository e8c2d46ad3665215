"""Opus in Ogg and WebM: the same samples for any cut, one sentence for anything broken."""

import asyncio
import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest

from streamer import container
from streamer.audio import AudioError
from streamer.container import ContainerDecoder
from streamer.messages import Encoding
from tests.opus import recorded
from tests.serving import in_loop

BOTH = pytest.mark.parametrize("encoding", ["ogg_opus", "webm_opus"])
MUTATIONS = 15  # a process each


def tone(seconds: float = 2.0) -> np.ndarray:
    times = np.arange(round(16_000 * seconds)) / 16_000
    return (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


async def decoded(encoding: Encoding, parts: Sequence[bytes]) -> np.ndarray:
    decoder = ContainerDecoder(encoding)
    try:
        samples = [each for part in parts async for each in decoder.accept(part)]
        samples += [each async for each in decoder.finish()]
    finally:
        await decoder.close()
    return np.concatenate([np.zeros(0, np.float32), *samples])


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    edges = [0, *np.minimum(np.cumsum(sizes), len(data)).tolist(), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@BOTH
@in_loop
async def test_any_cut_gives_the_same_samples(encoding: Encoding) -> None:
    chance = random.Random(1)
    data = recorded(tone(), encoding)
    whole = await decoded(encoding, [data])
    assert abs(len(whole) - 32_000) < 1_000
    spectrum = np.abs(np.fft.rfft(whole[8_000:24_000]))
    assert np.argmax(spectrum) == 440
    for largest in (3, 700, 5_000):
        parts = cut(data, [chance.randint(0, largest) for _ in range(2 * len(data) // largest)])
        np.testing.assert_array_equal(await decoded(encoding, parts), whole)


@BOTH
@in_loop
async def test_words_do_not_wait_for_the_end(encoding: Encoding) -> None:
    data, given = recorded(tone(4.0), encoding), 0
    decoder = ContainerDecoder(encoding)
    async for samples in decoder.accept(data[: len(data) // 2]):
        given += len(samples)
    await decoder.close()
    assert given > 16_000


@BOTH
@in_loop
async def test_mutations_and_truncations_are_audio_or_one_error(encoding: Encoding) -> None:
    """Whatever comes: samples, or AudioError, and the process is gone afterwards."""
    chance, data = random.Random(2), recorded(tone(1.0), encoding)
    outcomes = set()
    for number in range(MUTATIONS):
        broken = bytearray(data[: chance.randrange(len(data))] if number % 3 == 0 else data)
        for _ in range(chance.choice([0, 1, 10, 200]) if broken else 0):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        if number % 5 == 0:
            broken[: chance.randrange(9)] = b"\xff" * 4
        try:
            samples = await decoded(encoding, cut(bytes(broken), [chance.randint(1, 4_000)] * 9))
        except AudioError as error:
            outcomes.add(str(error))
        else:
            assert np.isfinite(samples).all()
            assert np.abs(samples).max(initial=0.0) <= 1.0
            outcomes.add("audio")
    assert outcomes == {"audio", f"the audio is no {encoding} that can be decoded"}


@in_loop
async def test_other_formats_and_codecs_are_refused() -> None:
    for encoding, data in (
        ("ogg_opus", recorded(tone(), "webm_opus")),
        ("webm_opus", recorded(tone(), "ogg_opus")),
        ("ogg_opus", b"RIFF" + bytes(9_000)),
        ("webm_opus", b"#EXTM3U\nfile:///etc/passwd\n" * 99),
    ):
        with pytest.raises(AudioError, match=f"is no {encoding} that can be decoded"):
            await decoded(encoding, [data])


@in_loop
async def test_nothing_is_no_audio_and_no_process() -> None:
    decoder = ContainerDecoder("ogg_opus")
    assert [each async for each in decoder.accept(b"")] == []
    assert [each async for each in decoder.finish()] == []
    await decoder.close()
    assert decoder._process is None


@in_loop
async def test_a_decoder_that_is_stuck_or_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, data = ContainerDecoder("ogg_opus"), recorded(tone(), "ogg_opus")
    assert [each async for each in decoder.accept(data[:100])] == []
    assert decoder._process is not None
    decoder._process.send_signal(19)  # SIGSTOP
    monkeypatch.setattr(container, "ANSWER_S", 0.2)
    with pytest.raises(AudioError):
        async for _ in decoder.accept(data[100:]):
            pass
    process = decoder._process
    await decoder.close()
    assert process.returncode is not None
    await decoder.close()


@in_loop
async def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "find_spec", lambda name: None)
    with pytest.raises(AudioError, match="ogg_opus needs PyAV on the server: pip install"):
        await decoded("ogg_opus", [b"OggS"])


@in_loop
async def test_streams_are_decoded_side_by_side() -> None:
    datas = [recorded(tone(1.0 + number), "webm_opus") for number in range(3)]
    together = await asyncio.gather(*(decoded("webm_opus", [data]) for data in datas))
    for data, samples in zip(datas, together, strict=True):
        np.testing.assert_array_equal(samples, await decoded("webm_opus", [data]))
