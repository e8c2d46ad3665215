"""MQTT: what is published to a real broker, and what the settings may be."""

import itertools
import logging
from pathlib import Path

import pytest

from streamer import messages as m
from streamer.config import ConfigError, MqttConfig, Phrase
from streamer.core.text_rules import TextRules
from streamer.edges.mqtt import MqttEdge
from streamer.engine.engine import Engine
from streamer.text.written import written
from tests.brokers import mosquitto, subscriber
from tests.chaos import Wire
from tests.edges.over_mqtt import RULES, publishing, quick_retries, said, spoken, told, utterances
from tests.engine.harness import play
from tests.fakes import FakeModel, speak
from tests.serving import in_loop

__all__ = ["quick_retries"]  # a fixture


@in_loop
async def test_a_session_is_published_as_it_is(tmp_path: Path) -> None:
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/#") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        assert await heard.until("streamer/status") == {"status": "online"}
        events = await spoken(engine, "kitchen", "turn on", "the lamp")
        closed = await heard.until("streamer/out/kitchen/closed")
    finals = heard.bodies("streamer/out/kitchen/final")
    assert said(finals) == told(events)
    assert closed["utterances"] == 2
    assert {each["session"] for each in finals} == {closed["session"]}
    keys = [each["key"] for each in (*finals, closed)]
    assert keys == [f"{closed['session']}/{number}" for number in range(3)]
    assert m.decode_server(heard.messages[-1].payload.decode()) == events[-1]  # the same objects
    (start, *_) = heard.bodies("streamer/out/kitchen/speech_start")
    assert start["time"] == pytest.approx(events[0].time, abs=1e-3)
    partials = heard.bodies("streamer/out/kitchen/partial")
    assert all(a["revision"] < b["revision"] for a, b in itertools.pairwise(partials))
    assert all("words" not in each for each in partials)
    assert [word["word"] for word in finals[0]["words"]] == ["turn", "on"]
    qos = {str(each.topic).rpartition("/")[2]: each.qos for each in heard.messages}
    assert (qos["final"], qos["closed"], qos["status"]) == (1, 1, 1)
    assert qos.get("partial", 0) == qos["speech_start"] == 0


@in_loop
async def test_written_text_and_keywords_are_published(tmp_path: Path) -> None:
    text = TextRules(written=True, redact_numbers=True, writer=written)
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/#") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        session = engine.open_session(RULES, name="hall", text=text, keywords=[Phrase("lamp")])
        await play(session, utterances("my lamp is four two"))
        await heard.until("streamer/out/hall/closed")
    (final,) = heard.bodies("streamer/out/hall/final")
    assert (final["text"], final["display"]) == ("my lamp is [number]", "My lamp is [number]")
    (keyword,) = heard.bodies("streamer/out/hall/keyword")
    assert (keyword["keyword"], keyword["key"]) == ("lamp", f"{final['session']}/0")
    assert not any(b"four" in message.payload for message in heard.messages)


@in_loop
async def test_what_is_said_last_is_published_too(tmp_path: Path) -> None:
    """The server ends before anybody has looked at the session."""
    async with mosquitto() as server, subscriber(server.port, "streamer/#") as heard:
        async with publishing(server.port, tmp_path) as engine:
            await heard.until("streamer/status")
            session = engine.open_session(RULES, name="a")
            await session.send(speak("good night"))
            await session.finish()
        assert (await heard.until("streamer/out/a/final"))["text"] == "good night"
        assert (await heard.until("streamer/status"))["status"] == "offline"


@in_loop
async def test_the_status_tells_the_truth(tmp_path: Path) -> None:
    async with mosquitto() as server, Wire(server.port) as joined:
        async with subscriber(server.port, "streamer/status") as heard:
            async with publishing(joined.port, tmp_path):
                assert (await heard.until("streamer/status"))["status"] == "online"
                await joined.shut()  # nobody says goodbye: the will does
                assert (await heard.until("streamer/status"))["status"] == "offline"
                await joined.listen()
                assert (await heard.until("streamer/status"))["status"] == "online"
            assert (await heard.until("streamer/status"))["status"] == "offline"
        async with subscriber(server.port, "streamer/status") as late:
            assert (await late.until("streamer/status"))["status"] == "offline"
            assert late.messages[0].retain


@in_loop
async def test_the_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret").write_text("a long one\n")
    user = {"username": "ann", "password": "a long one"}
    async with mosquitto({"ann": "a long one"}) as server:
        url = f"mqtt://ann@127.0.0.1:{server.port}"
        store = str(tmp_path / "outbox.db")
        from_file = MqttConfig(url, outbox=store, password_file=str(tmp_path / "secret"))
        async with Engine(FakeModel(), max_sessions=1, max_batch=1) as engine:
            for config in (from_file, MqttConfig(url, outbox=store)):
                async with (
                    subscriber(server.port, "streamer/status", **user) as heard,
                    MqttEdge(engine, RULES, config),
                ):
                    while (await heard.until("streamer/status"))["status"] != "online":
                        pass
                monkeypatch.setenv("STREAMER_MQTT_PASSWORD", "a long one")
    assert "a long one" not in caplog.text


def test_settings_that_cannot_be() -> None:
    for url in ("mqtt://ann:secret@host", "http://host", "mqtt://", "mqtt://host:0", "host"):
        with pytest.raises(ValueError, match="expected url") as caught:
            MqttConfig(url)
        assert "secret" not in str(caught.value)
    for topic in ("", "a/+", "#", "$SYS", "/a"):
        with pytest.raises(ValueError, match="expected topic"):
            MqttConfig("mqtt://host", topic=topic)
    for site in ("", "a/b", "+"):
        with pytest.raises(ValueError, match="expected hermes_sites"):
            MqttConfig("mqtt://host", hermes_sites=(site,))
    with pytest.raises(ValueError, match="expected url"):
        MqttConfig(hermes_sites=("default",))


@in_loop
async def test_an_outbox_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database " * 99)
    (tmp_path / "folder").mkdir()
    async with Engine(FakeModel(), max_sessions=1, max_batch=1) as engine:
        for name in ("text", "folder", "text/below"):
            config = MqttConfig("mqtt://127.0.0.1:1", outbox=str(tmp_path / name))
            with pytest.raises(ConfigError, match="the MQTT outbox") as caught:
                async with MqttEdge(engine, RULES, config):
                    pass
            assert name in str(caught.value)
        missing = MqttConfig("mqtt://127.0.0.1:1", password_file=str(tmp_path / "none"))
        with pytest.raises(ConfigError, match="cannot read the password file"):
            MqttEdge(engine, RULES, missing)
