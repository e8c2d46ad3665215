"""MQTT: audio that comes in over the broker."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from streamer import messages as m
from streamer.edges.mqtt import inlet
from streamer.edges.mqtt.inlet import Inlet
from streamer.engine.engine import Engine
from tests.brokers import mosquitto, subscriber
from tests.edges.over_mqtt import control, packets, publishing, quick_retries
from tests.engine.harness import GatedModel
from tests.fakes import silence, speak
from tests.serving import in_loop, pcm

__all__ = ["quick_retries"]  # a fixture


@in_loop
async def test_audio_comes_in_over_the_broker(tmp_path: Path) -> None:
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        for source, text in (("hall", "turn on"), ("attic", "the lamp"), ("hall", "again")):
            await packets(heard, source, speak(text))
            await control(heard, source, m.Flush("now"))
            await heard.until(f"streamer/out/{source}/flushed")
            await packets(heard, source, speak("and more"))
            await control(heard, source, m.Stop())
        await heard.until("streamer/out/hall/closed")
        await engine.drain()
        assert engine.open_sessions == 0
    texts = {
        source: [each["text"] for each in heard.bodies(f"streamer/out/{source}/final")]
        for source in ("hall", "attic")
    }
    assert texts["hall"] == ["turn on", "and more", "again", "and more"]
    assert texts["attic"] == ["the lamp", "and more"]


@in_loop
async def test_a_source_may_name_its_format_and_go_silent(tmp_path: Path) -> None:
    audio = m.AudioFormat("pcm_f32le", 16_000, 2)
    stereo = np.repeat(speak("both ears"), 2).astype("<f4").tobytes()
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, tmp_path, idle_timeout_s=0.2),
    ):
        await heard.until("streamer/status")
        await control(heard, "hall", m.Start(audio=audio))
        await heard.client.publish("streamer/in/hall/audio", stereo, qos=1)
        final = await heard.until("streamer/out/hall/final")
        closed = await heard.until("streamer/out/hall/closed")
    assert (final["text"], closed["received"]) == ("both ears", len(speak("both ears")))


@in_loop
async def test_a_source_may_ask_for_masks(tmp_path: Path) -> None:
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, tmp_path),
    ):
        await heard.until("streamer/status")
        await control(heard, "hall", m.Start(text=m.TextWishes(redact_numbers=True)))
        await packets(heard, "hall", speak("room four one one"))
        await control(heard, "hall", m.Stop())
        assert (await heard.until("streamer/out/hall/final"))["text"] == "room [number]"


@in_loop
async def test_mistakes_of_a_source_are_answered(tmp_path: Path) -> None:
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, tmp_path, slots=1) as engine,
    ):
        await heard.until("streamer/status")
        for text, code in [
            ("{", "bad_request"),
            ('{"type":"dance"}', "bad_request"),
            ('{"type":"start","audio":{"sample_rate":1}}', "bad_request"),
            (m.encode(m.Flush("x")), "bad_request"),
            (m.encode(m.Configure()), "unsupported"),
        ]:
            await control(heard, "hall", text)
            assert (await heard.until("streamer/out/hall/error"))["code"] == code
        await heard.client.publish("streamer/in/hall/control", b"\xff\xfe", qos=1)
        error = await heard.until("streamer/out/hall/error")
        assert (error["code"], "UTF-8" in error["message"]) == ("bad_request", True)
        await packets(heard, "h&ll", speak("ignored"))
        await control(heard, "hall", m.Start())
        await packets(heard, "hall", speak("first come"))
        await packets(heard, "attic", speak("first served"))
        error = await heard.until("streamer/out/attic/error")
        assert (error["code"], engine.open_sessions) == ("capacity", 1)
        await control(heard, "hall", m.Stop())
        assert (await heard.until("streamer/out/hall/final"))["text"] == "first come"


@in_loop
async def test_audio_that_does_not_fit_is_a_gap_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inlet, "MAX_WAITING_BYTES", 32_000)
    model, audio = GatedModel(slots=1), m.AudioFormat()
    async with Engine(model, max_sessions=1, max_batch=1, max_backlog_s=1.0) as engine:
        entrance = Inlet()
        async with engine.open_session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(3):
                entrance.put_audio(audio, pcm(silence(0.5)))
            entrance.put_audio(audio, pcm(silence(0.25)))
            entrance.close()
            entrance.put_audio(audio, pcm(silence(9.0)))
            tasks.create_task(entrance.feed(session, 60.0), name="feed")
            model.open_for_good()
            events = [event async for event in session]
    assert [each for each in events if isinstance(each, m.Gap)] == [m.Gap(1.0, 0.75)]
    assert events[-1] == m.Closed(received=16_000, utterances=0)
