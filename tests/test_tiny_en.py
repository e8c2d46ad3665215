"""The model that ships: it is complete, small, loads elsewhere, and hears the demo clip."""

import asyncio
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForCTC, Wav2Vec2BertProcessor

from clients.demo import CLIP, SPOKEN
from models import checkpoint
from streamer.api import build_model
from streamer.config import ModelConfig, Preset
from streamer.config.recognizer import Dtype, KvDtype
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Event, Final, Partial
from streamer.core.recognizer import Recognizer
from streamer.engine.engine import Engine
from streamer.engine.runner import ModelRunner

FOLDER = checkpoint.PRETRAINED / "tiny-en"


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    assert rate == 16_000
    return np.concatenate([samples, np.zeros(32_000, np.float32)])


@pytest.fixture(scope="module")
def model() -> ModelRunner:
    return build_model(ModelConfig(dtype="float32"), slots=4)


def text_of(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Final))


def test_the_directory_is_complete_and_within_32_mib() -> None:
    assert (FOLDER / "MODEL_CARD.md").is_file()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 32 << 20


def test_transformers_loads_the_directory_and_gives_the_same_logits(clip: np.ndarray) -> None:
    reference = AutoModelForCTC.from_pretrained(FOLDER, dtype=torch.float32).eval()
    processor = Wav2Vec2BertProcessor.from_pretrained(FOLDER)
    own = checkpoint.load("tiny-en")
    inputs = processor(clip, sampling_rate=16_000, return_tensors="pt")
    frames = int(inputs.attention_mask.sum())
    with torch.inference_mode():
        expected = reference(**inputs).logits[:, :frames]
        got, _ = own.model(inputs.input_features, torch.tensor([frames]))
    assert (got[:, :frames] - expected).abs().max() <= 1e-4
    said = processor.batch_decode(expected.argmax(-1))[0]
    assert jiwer.cer(SPOKEN, said) <= 0.15


@pytest.mark.parametrize("preset", ["low", "default", "accurate"])
@pytest.mark.parametrize("mode", ["cache", "window"])
def test_the_demo_clip_is_heard(clip: np.ndarray, mode: str, preset: Preset) -> None:
    runner = build_model(ModelConfig(mode=mode, preset=preset))  # type: ignore[arg-type]
    events = Recognizer(runner).transcribe(clip)
    assert jiwer.cer(SPOKEN, text_of(events)) <= 0.15
    assert sum(isinstance(event, Partial) for event in events) >= 4


def test_packet_sizes_change_nothing(clip: np.ndarray, model: ModelRunner) -> None:
    recognizer = Recognizer(model)
    whole = [event for event in recognizer.transcribe(clip) if isinstance(event, Final)]
    rng = np.random.default_rng(5)
    for _ in range(3):
        recognizer.reset()
        pieces: list[Event] = []
        for piece in np.split(clip, np.sort(rng.integers(0, len(clip), 40))):
            recognizer.stream.accept_waveform(piece)
            pieces += recognizer.decode()
        recognizer.stream.input_finished()
        pieces += recognizer.decode()
        assert [event for event in pieces if isinstance(event, Final)] == whole


@pytest.mark.parametrize(
    ("dtype", "kv_dtype"),
    [("float32", "auto"), ("bfloat16", "auto"), ("bfloat16", "int8"), ("float8", "float8")],
)
def test_neighbours_in_the_batch_change_no_word(
    clip: np.ndarray, dtype: Dtype, kv_dtype: KvDtype
) -> None:
    model = build_model(ModelConfig(lm="none", dtype=dtype, kv_dtype=kv_dtype), slots=4)
    alone = text_of(Recognizer(model).transcribe(clip))

    async def together() -> list[str]:
        async with Engine(model, max_sessions=4, max_batch=4) as engine:

            async def one(packet: int) -> str:
                async with engine.open_session() as session:
                    for start in range(0, len(clip), packet):
                        await session.send(clip[start : start + packet])
                    await session.finish()
                    return text_of([event async for event in session])

            return await asyncio.gather(*(one(packet) for packet in (320, 1601, 7000, 50_000)))

    texts = asyncio.run(together())
    assert texts == [alone] * 4
    assert jiwer.cer(SPOKEN, alone) <= 0.15


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_and_faint_noise_say_nothing(level: float, model: ModelRunner) -> None:
    samples = np.random.default_rng(1).standard_normal(10 * 16_000).astype(np.float32) * level
    events = Recognizer(model, EndpointRules()).transcribe(samples)
    assert text_of(events) == ""


def test_the_weights_are_safetensors_alone() -> None:
    kinds = {Path(path).suffix for path in FOLDER.iterdir()}
    assert kinds == {".json", ".md", ".safetensors", ".gz"}  # the last: the language model, text
