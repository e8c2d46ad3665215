"""Hermes over a real broker: the documented JSON of Snips and of Rhasspy, in both spellings."""

import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import EndpointRules, MqttConfig
from streamer.edges.mqtt import MqttEdge
from streamer.edges.mqtt.hermes_json import FrameError, frame, read_request, written
from streamer.engine.engine import Engine
from tests.brokers import Heard, mosquitto, subscriber
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop, pcm

TEXT, DONE, ERROR = "hermes/asr/textCaptured", "rhasspy/asr/recordingFinished", "hermes/error/asr"


@asynccontextmanager
async def house(folder: Path, slots: int = 4, **settings: Any) -> AsyncIterator[Heard]:
    """A recognizer for the sites default and attic, and a client of it."""
    async with mosquitto() as server:
        url, outbox = f"mqtt://127.0.0.1:{server.port}", str(folder / "outbox.db")
        config = MqttConfig(url, outbox=outbox, hermes_sites=("default", "attic"), **settings)
        topics = (
            "hermes/asr/textCaptured",
            DONE,
            ERROR,
            "hermes/asr/partialTextCaptured",
            "+/asr/#",
        )
        async with (
            subscriber(server.port, *topics, "streamer/status") as heard,
            Engine(FakeModel(slots=slots), max_sessions=slots, max_batch=4) as engine,
            MqttEdge(engine, EndpointRules(silence_s=0.3), config),
        ):
            await heard.until("streamer/status")
            yield heard


def wav(samples: np.ndarray, rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as written_file:
            written_file.setparams((channels, width, rate, 0, "NONE", ""))
            written_file.writeframes(pcm(samples))
        return file.getvalue()


async def ask(heard: Heard, name: str, **body: Any) -> None:
    await heard.client.publish(f"hermes/asr/{name}", json.dumps(body))


async def speak_at(
    heard: Heard, text: str, place: str = "default/audioFrame", pause_s: float = 0.0
) -> None:
    samples = np.concatenate([speak(text), silence(pause_s)])
    for at in range(0, len(samples), 1_024):
        part = wav(samples[at : at + 1_024])
        await heard.client.publish(f"hermes/audioServer/{place}", part)


@in_loop
async def test_a_command_until_silence(tmp_path: Path) -> None:
    async with house(tmp_path) as heard:
        await ask(heard, "startListening", siteId="default", sessionId="s1", lang="en")
        await speak_at(heard, "turn on", pause_s=0.5)
        captured = await heard.until(DONE, TEXT)
        await ask(heard, "stopListening", siteId="default", sessionId="s1")
        await ask(heard, "startListening", siteId="default", sessionId="s2")
        await ask(heard, "stopListening", siteId="default", sessionId="s2")
        empty = await heard.until(TEXT)
    assert captured["text"] == "turn on"
    assert (captured["siteId"], captured["sessionId"], captured["lang"]) == ("default", "s1", "en")
    assert 0 < captured["likelihood"] <= 1
    assert captured["seconds"] >= 0
    ((on, _),) = captured["asrTokens"]
    assert (on["value"], on["rangeStart"], on["rangeEnd"]) == ("turn", 0, 4)
    assert 0 <= on["time"]["start"] < on["time"]["end"]
    assert [each["sessionId"] for each in heard.bodies(TEXT)] == ["s1", "s2"]  # s1 only once
    assert (empty["text"], empty["likelihood"], empty["asrTokens"]) == ("", 0, [[]])
    partials = heard.bodies("hermes/asr/partialTextCaptured")
    assert all("turn on".startswith(each["text"]) for each in partials)


@in_loop
async def test_the_ear_opens_again_after_each_silence(tmp_path: Path) -> None:
    async with house(tmp_path) as heard:
        await ask(heard, "startListening", siteId="default", sessionId="s")
        for text in ("one", "two", "three"):
            await speak_at(heard, text, pause_s=0.6)
            assert (await heard.until(TEXT))["text"] == text


@in_loop
async def test_a_burst_in_snake_case_is_answered_in_kind(tmp_path: Path) -> None:
    """As `python -m rhasspyhermes transcribe-wav` does it; it refuses keys it does not know."""
    async with house(tmp_path) as heard:
        start = {"site_id": "default", "session_id": "cli", "stop_on_silence": False}
        more = {
            "lang": None,
            "send_audio_captured": True,
            "wakeword_id": "w",
            "intent_filter": None,
        }
        await ask(heard, "startListening", **start, **more)
        await speak_at(heard, "the lamp", pause_s=0.6)
        await speak_at(heard, "in the hall")
        await ask(heard, "stopListening", site_id="default", session_id="cli")
        captured = await heard.until(TEXT)
    known = {"text", "likelihood", "seconds", "site_id", "session_id", "wakeword_id"}
    assert captured["text"] == "the lamp in the hall"
    assert set(captured) == known | {"asr_tokens"}
    assert set(captured["asr_tokens"][0][0]) == {
        *("value", "confidence", "range_start", "range_end", "time")
    }
    assert len(heard.bodies(TEXT)) == 1


@in_loop
async def test_sites_and_sessions_hear_their_own_frames(tmp_path: Path) -> None:
    async with house(tmp_path) as heard:
        for site, session in (("default", "a"), ("attic", "b"), ("attic", "c"), ("cellar", "d")):
            settings = {"siteId": site, "sessionId": session, "stopOnSilence": False}
            await ask(heard, "startListening", **settings)
        await speak_at(heard, "below")
        await speak_at(heard, "above", "attic/audioFrame")
        await speak_at(heard, " alone", "attic/c/audioSessionFrame")
        await speak_at(heard, "nobody", "cellar/audioFrame")
        for site, session in (("cellar", "d"), ("default", "a"), ("attic", "b"), ("attic", "c")):
            await ask(heard, "stopListening", siteId=site, sessionId=session)
        while len(heard.bodies(TEXT)) < 3:
            await heard.until(TEXT)
    texts = {each["sessionId"]: each["text"] for each in heard.bodies(TEXT)}
    assert texts == {"a": "below", "b": "above", "c": "above alone"}


@in_loop
async def test_toggles(tmp_path: Path) -> None:
    async with house(tmp_path) as heard:
        await ask(heard, "startListening", siteId="default", sessionId="s", stopOnSilence=False)
        await ask(heard, "toggleOff", siteId="default", reason="ttsSay")
        await ask(heard, "toggleOff", siteId="default", reason="playAudio")
        await speak_at(heard, "not heard")
        await ask(heard, "toggleOn", siteId="default", reason="ttsSay")
        await speak_at(heard, "nor this")
        await ask(heard, "toggleOn", siteId="default", reason="playAudio")
        await speak_at(heard, "heard ")
        await ask(heard, "toggleOff", siteId="default")
        await speak_at(heard, "not this")
        await ask(heard, "toggleOn", siteId="default", reason="")
        await speak_at(heard, "again")
        await ask(heard, "stopListening", siteId="default", sessionId="s")
        assert (await heard.until(TEXT))["text"] == "heard again"


@in_loop
async def test_faults_are_answered(tmp_path: Path) -> None:
    async with house(tmp_path, slots=1) as heard:
        await ask(heard, "startListening", siteId="default", sessionId="s")
        for _ in range(2):
            await heard.client.publish("hermes/audioServer/default/audioFrame", b"no audio")
        error = await heard.until(ERROR)
        assert (error["siteId"], error["sessionId"]) == ("default", "s")
        assert "WAV" in error["error"]
        await ask(heard, "startListening", site_id="attic", session_id="t")
        error = await heard.until(ERROR)
        assert (error["site_id"], error["session_id"]) == ("attic", "t")
        assert "all 1 sessions are taken" in error["error"]
        for payload in (b"\xff", b"[]", b'{"siteId":[]}', b'{"siteId":"default","sessionId":7}'):
            for name in ("startListening", "stopListening", "toggleOff", "toggleOn"):
                await heard.client.publish(f"hermes/asr/{name}", payload)
        await ask(heard, "startListening", siteId="default", sessionId="s")  # anew: one answer
        await heard.client.publish("rhasspy/asr/default/train", json.dumps({"id": "t1"}))
        assert await heard.until("rhasspy/asr/default/trainSuccess") == {"id": "t1"}
    assert len(heard.bodies(ERROR)) in (2, 3)  # the slot of the first one may be taken still


@in_loop
async def test_who_falls_silent_is_answered(tmp_path: Path) -> None:
    async with house(tmp_path, idle_timeout_s=0.2) as heard:
        await ask(heard, "startListening", siteId="default", sessionId="s")
        await speak_at(heard, "and then")
        assert (await heard.until(TEXT))["text"] == "and then"


# --- formats --------------------------------------------------------------------------------------

KEYS = ["site_id", "session_id", "stop_on_silence", "asr_tokens", "text", "range_start"]


@given(st.dictionaries(st.sampled_from(KEYS), st.none() | st.text() | st.integers()), st.booleans())
def test_both_spellings_are_read_alike(body: dict[str, Any], is_snake: bool) -> None:
    request = read_request(written(body, is_snake).encode())
    assert request is not None
    read, was_snake = request
    assert read == body
    assert was_snake == (is_snake and any("_" in key for key in body))


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_frame_is_audio_or_refused(data: bytes, kept: int) -> None:
    try:
        audio, samples = frame(wav(silence(0.01))[:kept] + data)
    except FrameError:
        return
    assert audio.encoding == "pcm_s16le"
    assert len(samples) <= len(data) + 60


def test_what_is_nested_is_taken_out_of_a_request() -> None:
    for depth in range(900, 1_000):
        body = f'{{"siteId":"attic","lang":{"[" * depth}{"]" * depth}}}'
        found, _ = read_request(body.encode()) or ({}, False)  # None: too deep to be read
        assert found in ({"site_id": "attic", "lang": []}, {})
    assert read_request(b'{"siteId":"attic","lang":[["en"]]}') == (
        {"site_id": "attic", "lang": []},
        False,
    )


def test_frames_say_their_own_format() -> None:
    audio, data = frame(wav(speak("a"), rate=44_100))
    assert (audio.sample_rate, data) == (44_100, pcm(speak("a")))
    for bad in (wav(silence(0.1), width=4), wav(silence(0.1), rate=4_000)):
        with pytest.raises(FrameError, match="expected"):
            frame(bad)
