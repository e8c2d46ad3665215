"""Who we are at a broker: TLS, passwords, what Home Assistant is told; and brokers that refuse."""

import json
import logging
import ssl
from pathlib import Path
from typing import Any

import jinja2.sandbox
import pytest
import trustme

from streamer.config import ConfigError, MqttConfig
from streamer.edges.mqtt import MqttEdge
from streamer.edges.mqtt.discovery import announcement
from streamer.edges.mqtt.edge import address
from streamer.engine.engine import Engine
from tests.brokers import Heard, mosquitto, subscriber
from tests.chaos import Wire
from tests.edges.over_mqtt import RULES, publishing, quick_retries, spoken
from tests.fakes import FakeModel
from tests.serving import in_loop

__all__ = ["quick_retries"]  # a fixture
CONFIG = "homeassistant/device/+/config"


async def until_logged(caplog: pytest.LogCaptureFixture, text: str, heard: Heard) -> None:
    """Wait until the server has said so; `heard` is the clock: it hears its own ticks."""
    while text not in caplog.text:
        await heard.client.publish("tick", b"{}")
        await heard.until("tick")


# The library leaves a socket whose handshake failed to the collector of garbage.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@in_loop
async def test_tls_with_a_private_authority(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    authority, certificate = trustme.CA(), tmp_path / "broker.pem"
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    async with (
        mosquitto(certificate=certificate) as server,
        mosquitto() as clock,
        subscriber(clock.port, "tick") as heard,
        Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
    ):
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        url, outbox = f"mqtts://127.0.0.1:{server.port}", str(tmp_path / "outbox.db")
        async with MqttEdge(engine, RULES, MqttConfig(url, outbox=outbox)):
            await until_logged(caplog, "is not trusted", heard)
        assert "unable to get local issuer certificate" in caplog.text
        assert "--mqtt-ca-file" in caplog.text
        trusting = MqttConfig(url, outbox=outbox, ca_file=str(tmp_path / "authority.pem"))
        async with MqttEdge(engine, RULES, trusting):
            await until_logged(caplog, "connected to mqtts://", heard)
            await spoken(engine, "a", "in secret")
            async with subscriber(server.port, "#", tls_context=trusted) as inside:
                await inside.until("streamer/status")
    assert "Traceback" not in caplog.text


@in_loop
async def test_a_broker_that_refuses_us_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMER_MQTT_PASSWORD", "the wrong one")
    user = {"username": "ann@home", "password": "a long one"}
    async with (
        mosquitto({"ann@home": "a long one"}) as server,
        subscriber(server.port, "tick", "streamer/status", **user) as heard,
        Engine(FakeModel(), max_sessions=1, max_batch=1) as engine,
    ):
        url = f"mqtt://ann%40home@127.0.0.1:{server.port}"
        config = MqttConfig(url, outbox=str(tmp_path / "outbox.db"))
        async with MqttEdge(engine, RULES, config):
            await until_logged(caplog, "the broker refuses this user name and password", heard)
            await spoken(engine, "a", "all the same")
        assert caplog.text.count("trying on") == 1
        assert "the wrong one" not in caplog.text
        monkeypatch.setenv("STREAMER_MQTT_PASSWORD", "a long one")
        async with MqttEdge(engine, RULES, config):
            assert (await heard.until("streamer/status"))["status"] == "online"


@in_loop
async def test_a_message_that_the_broker_refuses_is_told_and_stops_none_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rights = ("write streamer/status", "write streamer/out/open/#", "read #")
    async with (
        mosquitto(rights="".join(f"topic {right}\n" for right in rights)) as server,
        subscriber(server.port, "streamer/#") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        await spoken(engine, "closed", "the canary")
        await spoken(engine, "open", "hello")
        await heard.until("streamer/out/open/closed")
    assert heard.bodies("streamer/out/closed/+") == []
    assert caplog.text.count("refuses a message, which is lost") == 1
    assert "Not authorized" in caplog.text
    assert "canary" not in caplog.text


@in_loop
async def test_a_name_that_is_no_level_of_a_topic_harms_nobody(tmp_path: Path) -> None:
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/#") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        for name in ("a/b", "+", "#", "\0", "x" * 99_999):
            await spoken(engine, name, "hello")
            closed = await heard.until("streamer/out/+/closed")
            assert heard.messages[-1].topic.value == f"streamer/out/{closed['session']}/closed"


def test_certificates_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name, words in (("none.pem", "cannot read"), ("empty.pem", "has no certificates")):
        config = MqttConfig("mqtts://host", ca_file=str(tmp_path / name))
        with pytest.raises(ConfigError, match=words):
            address(config)
    assert address(MqttConfig("mqtts://host")).tls is not None
    assert address(MqttConfig("mqtt://host", ca_file="unused")).tls is None


# --- Home Assistant -------------------------------------------------------------------------------


@in_loop
async def test_home_assistant_is_told_and_told_again(tmp_path: Path) -> None:
    """The message is there for who comes later, and when the broker has forgotten it."""
    async with (
        mosquitto() as server,
        Wire(server.port) as joined,
        publishing(joined.port, tmp_path, discovery_topic="homeassistant"),
    ):
        for _ in range(2):
            async with subscriber(server.port, CONFIG) as heard:
                config = await heard.until(CONFIG)
            assert config["origin"] == {"name": "streamer"}
            async with subscriber(server.port) as forgetful:
                await forgetful.client.publish("homeassistant/device/streamer/config", "", 1, True)
            await joined.shut()
            await joined.listen()
    async with (
        mosquitto() as server,
        publishing(server.port, tmp_path),
        subscriber(server.port, "#") as heard,
    ):
        await heard.until("streamer/status")
    assert heard.bodies(CONFIG) == []  # nobody asked for it


@pytest.mark.parametrize("withdraws", [False, True])
@in_loop
async def test_home_assistant_keeps_us_unless_told(tmp_path: Path, withdraws: bool) -> None:
    settings = {"discovery_topic": "homeassistant", "withdraws_discovery": withdraws}
    async with mosquitto() as server:
        async with (
            subscriber(server.port, CONFIG) as heard,
            publishing(server.port, tmp_path, **settings),
        ):
            await heard.until(CONFIG)
        async with subscriber(server.port, CONFIG, "streamer/status") as late:
            assert (await late.until("streamer/status"))["status"] == "offline"
            await late.client.publish("homeassistant/device/end/config", "{}")
            while late.messages[-1].payload != b"{}":
                await late.until(CONFIG)
    kept = [each for each in late.messages if each.retain and each.topic.matches(CONFIG)]
    assert len(kept) == (0 if withdraws else 1)


def test_the_announcement_is_what_home_assistant_reads() -> None:
    """Required keys and their kinds, as its schema of a device and its components has them."""
    ((topic, payload),) = announcement("homeassistant", "streamer").items()
    assert topic == "homeassistant/device/streamer/config"
    body = json.loads(payload)
    assert body["device"]["identifiers"] == ["streamer"]
    assert set(body) == {"device", "origin", "availability", "components"}
    ids = [each["unique_id"] for each in body["components"].values()]
    assert len(set(ids)) == 2
    kinds = {each["platform"]: each for each in body["components"].values()}
    assert kinds.keys() == {"sensor", "event"}
    assert all(each["state_topic"] == "streamer/out/+/final" for each in kinds.values())
    assert kinds["event"]["event_types"] == ["final"]
    topics = {
        topic for each in ("a/b", "a_b", "a b", "streamer") for topic in announcement("h", each)
    }
    assert len(topics) == 4
    assert all(set(each) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-/") for each in topics)


@in_loop
async def test_its_templates_read_what_is_published(tmp_path: Path) -> None:
    """As Home Assistant does: Jinja with `value_json`, from the real messages."""
    async with (
        mosquitto() as server,
        subscriber(server.port, CONFIG, "streamer/#") as heard,
        publishing(server.port, tmp_path, discovery_topic="homeassistant") as engine,
    ):
        config = await heard.until(CONFIG)
        status = await heard.until("streamer/status")
        await spoken(engine, "a", "it's", " ".join(["lamp"] * 60))
        await heard.until("streamer/out/a/closed")
    (available,) = config["availability"]
    assert available["topic"] == "streamer/status"
    assert rendered(available["value_template"], status) == "online"
    sensor, event = config["components"]["last_final"], config["components"]["said"]
    for final in heard.bodies(sensor["state_topic"]):
        assert rendered(sensor["value_template"], final) == final["text"][:255]
        attributes = json.loads(rendered(sensor["json_attributes_template"], final))
        assert attributes == {name: final[name] for name in attributes}
        assert "words" not in attributes
        assert json.loads(rendered(event["value_template"], final)) == {
            "event_type": "final",
            **attributes,
        }
        assert rendered(event["value_template"], {**final, "text": ""}) == ""
    assert len(heard.bodies(sensor["state_topic"])) == 2


def rendered(template: str, value_json: Any) -> str:
    return jinja2.sandbox.SandboxedEnvironment().from_string(template).render(value_json=value_json)


def test_settings_of_discovery_that_cannot_be() -> None:
    for topic in ("#", "/home", "$SYS"):
        with pytest.raises(ValueError, match="expected discovery_topic"):
            MqttConfig("mqtt://host", discovery_topic=topic)
    with pytest.raises(ValueError, match="expected discovery_topic"):
        MqttConfig("mqtt://host", withdraws_discovery=True)
