"""The library around the fake model: sources that end, and sources that fail."""

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import streamer
from clients.demo import CLIP
from models import checkpoint, voice_activity
from streamer import api, cli
from streamer.assembly import decode_workers
from streamer.audio import Samples
from streamer.config import Config, ConfigError, EndpointRules, EngineConfig, ModelConfig
from streamer.core.hypothesis import Closed, Event, Final
from tests.fakes import FakeModel, SearchedModel, silence, speak
from tests.serving import in_loop


@in_loop
async def test_a_source_that_fails_loses_nothing_that_was_heard_before() -> None:
    async def torn() -> AsyncIterator[Samples]:
        yield speak("one")
        yield silence(2.0)
        yield speak("two")
        raise RuntimeError("the tape has torn")

    heard: list[Event] = []
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with pytest.raises(RuntimeError, match="the tape has torn"):
            async for event in api.recognize(engine, torn()):
                heard.append(event)  # noqa: PERF401 (what came before the failure counts)
        assert engine.open_sessions == 0
    assert [event.text for event in heard if isinstance(event, Final)] == ["one", "two"]
    assert isinstance(heard[-1], Closed)


def sides(*texts: str) -> list[Samples]:
    """Blocks (S, C) of speakers who speak at once, each with a text."""
    spoken = [np.concatenate([speak(text), silence(2.0)]) for text in texts]
    length = max(map(len, spoken))
    columns = [np.pad(each, (0, length - len(each))) for each in spoken]
    whole = np.stack(columns, axis=1).astype(np.float32)
    return [whole[at : at + 1_777] for at in range(0, length, 1_777)]


async def blocks_of(*texts: str) -> AsyncIterator[Samples]:
    for block in sides(*texts):
        yield block


@in_loop
async def test_channels_are_heard_apart() -> None:
    texts = ("turn on the lamp", "so", "which one")
    async with api.build_engine(FakeModel(slots=3), EngineConfig()) as engine:
        heard = [event async for event in api.recognize_channels(engine, blocks_of(*texts), 3)]
        assert engine.open_sessions == 0
    finals = {each.channel: each.text for each in heard if isinstance(each, Final)}
    assert finals == dict(enumerate(texts))
    assert [each for each in heard if isinstance(each, Closed)] == [heard[-1]]
    assert heard[-1] == Closed(sum(map(len, sides(*texts))), 3)


@in_loop
async def test_channels_need_a_session_each_and_give_it_back() -> None:
    async with api.build_engine(FakeModel(slots=2), EngineConfig()) as engine:
        with pytest.raises(ValueError, match="3"):
            await anext(api.recognize_channels(engine, blocks_of("a", "b", "c"), 3))
        events = api.recognize_channels(engine, blocks_of("turn on", "the lamp"), 2)
        await anext(events)
        await events.aclose()
        await engine.drain()  # would wait for sessions that are left open


@in_loop
async def test_a_file_is_a_source(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", speak("one"), 16_000, subtype="FLOAT")
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with streamer.AudioFile(tmp_path / "talk.wav") as file:
            events = [event async for event in streamer.recognize(engine, streamer.stream(file))]
    assert [event.text for event in events if isinstance(event, Final)] == ["one"]
    broken = np.full(1_600, np.nan)
    soundfile.write(tmp_path / "broken.wav", broken, 16_000, subtype="FLOAT")
    async with api.build_engine(FakeModel(), EngineConfig()) as engine:
        with (
            streamer.AudioFile(tmp_path / "broken.wav") as file,
            pytest.raises(streamer.AudioFileError, match="not numbers"),
        ):
            events = [event async for event in streamer.recognize(engine, streamer.stream(file))]


@in_loop
async def test_transcribe_names_its_async_sister_in_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="use recognize"):
        streamer.transcribe("there-is-no-such-file.wav")


def test_a_language_model_mends_what_greedy_decoding_hears() -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("pyctcdecode")
    clip = Path(__file__).parent.parent / "clients" / "demo.flac"
    (final,) = streamer.transcribe(clip, Config(model=ModelConfig(lm="model", dtype="float32")))
    assert final.text.endswith("in the kitchen and tell me when the train to the city will leave")


@pytest.mark.parametrize("name", ["nowhere.arpa", "model"])
def test_a_language_model_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    for file in (checkpoint.PRETRAINED / "tiny-en").glob("*[!z]"):  # but for lm.arpa.gz
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ConfigError, match=rf"--lm {name}: there is no file"):
        api.build_model(ModelConfig(name=str(tmp_path), lm=name))


def test_beams_need_no_language_model() -> None:
    search = api.build_model(ModelConfig(lm="none", beam=7)).search
    assert search is not None
    assert (search.width, search.has_lm) == (7, False)
    assert api.build_model(ModelConfig(lm="none")).search is None


def test_a_model_brings_its_language_model_where_it_has_one_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (checkpoint.PRETRAINED / "tiny-en").glob("*[!z]"):  # but for lm.arpa.gz
        (tmp_path / file.name).symlink_to(file)
    without = api.load_acoustic(ModelConfig(name=str(tmp_path)))
    assert api.build_search(without, ModelConfig(name=str(tmp_path))) is None
    acoustic = api.load_acoustic(ModelConfig())
    found = api.build_search(acoustic, ModelConfig())
    assert found is not None
    assert found.has_lm
    acoustic.name = "another"  # whose labels may be others
    assert api.build_search(acoustic, ModelConfig()) is None
    acoustic.name = "tiny-en"
    monkeypatch.setitem(sys.modules, "kenlm", None)
    assert api.build_search(acoustic, ModelConfig()) is None


@pytest.mark.parametrize(
    ("asked", "sessions", "processors", "found"),
    [
        (-1, 32, 8, 0),
        (-1, 1000, 8, 3),
        (-1, 1000, 2, 1),
        (-1, 1000, 1, 0),
        (0, 1000, 8, 0),
        (5, 1, 1, 5),
    ],
)
def test_processes_decode_where_there_are_many_sessions(
    monkeypatch: pytest.MonkeyPatch, asked: int, sessions: int, processors: int, found: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert decode_workers(EngineConfig(max_sessions=sessions, decode_workers=asked)) == found


def test_processes_for_decoding_that_are_not_needed_are_one_sentence() -> None:
    asked = EngineConfig(decode_workers=2)
    with pytest.raises(ConfigError, match="--decode-workers: greedy decoding needs none"):
        api.build_engine(FakeModel(), asked)
    api.build_engine(SearchedModel(), asked)


def test_the_n_best_of_greedy_decoding_are_one_sentence() -> None:
    asked = ModelConfig(n_best=3, stability="high")
    options = api.decoding_options(SearchedModel(), asked)
    assert (options.n_best, options.stability) == (3, "high")
    with pytest.raises(ConfigError, match="--n-best: greedy decoding has one hypothesis"):
        api.decoding_options(FakeModel(), asked)


def test_a_voice_detector_that_is_not_there_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(voice_activity, "weights", lambda: None)
    sentence = "--vad needs the package silero-vad: pip install -e '.[vad]'"
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        streamer.transcribe(CLIP, Config(endpoint=EndpointRules(vad=True)))
    manifest = tmp_path / "set.tsv"
    manifest.write_text(f"id\tpath\ttext\nclip\t{CLIP}\tplease\n")
    for command in (["transcribe", str(CLIP)], ["evaluate", str(manifest)]):
        assert cli.main([*command, "--vad"]) != 0
        assert capsys.readouterr().err.strip().endswith(sentence)
