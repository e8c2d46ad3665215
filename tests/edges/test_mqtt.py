"""MQTT: a real broker that is killed, held and cut off, and every final all the same."""

import asyncio
import itertools
import logging
import random
import sqlite3
import stat
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer import messages as m
from streamer.config import ConfigError, EndpointRules, MqttConfig, Phrase
from streamer.core.text_rules import TextRules
from streamer.edges.mqtt import MqttEdge, broker, inlet
from streamer.edges.mqtt.inlet import Inlet
from streamer.engine.engine import Engine
from streamer.text.written import written
from tests.brokers import Heard, line, mosquitto, subscriber
from tests.engine.harness import GatedModel, play
from tests.fakes import FakeModel, silence, speak
from tests.serving import in_loop, pcm

RULES = EndpointRules(silence_s=0.3)
FINALS = "streamer/out/+/final"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(broker, "LAST_RETRY_S", 0.1)


@asynccontextmanager
async def publishing(
    port: int, folder: Path, *, slots: int = 4, model: FakeModel | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    config = MqttConfig(f"mqtt://127.0.0.1:{port}", outbox=str(folder / "outbox.db"), **settings)
    async with (
        Engine(model or FakeModel(slots=slots), max_sessions=slots, max_batch=4) as engine,
        MqttEdge(engine, RULES, config),
    ):
        yield engine


def utterances(*texts: str) -> list[np.ndarray]:
    return [np.concatenate([speak(text), silence(0.5)]) for text in texts]


async def spoken(engine: Engine, name: str, *texts: str) -> list[m.Event]:
    """A session that says the texts and ends; its events but the partials."""
    return await play(engine.open_session(RULES, name=name), utterances(*texts))


def told(events: list[m.Event]) -> list[Any]:
    """Finals as they must arrive, but for the session and the key."""
    finals = [each for each in events if isinstance(each, m.Final)]
    return [(each.utterance, each.text, each.reason) for each in finals]


def said(bodies: list[Any]) -> list[Any]:
    return [(each["utterance"], each["text"], each["reason"]) for each in bodies]


def once(bodies: list[Any]) -> list[Any]:
    """Without those that came again: in flight when the line broke, under the same key."""
    first: dict[str, Any] = {}
    for body in bodies:
        assert first.setdefault(body["key"], body) == body
    return list(first.values())


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
async def test_finals_of_an_outage_arrive_once_and_in_order(tmp_path: Path) -> None:
    """The line opens again when the subscriber is there: the broker itself keeps nothing."""
    async with (
        mosquitto() as server,
        line(server.port) as joined,
        publishing(joined.port, tmp_path) as engine,
    ):
        async with subscriber(server.port, FINALS) as heard:
            sessions = [await spoken(engine, "a", "before")]
            before = [await heard.until(FINALS)]
        await joined.cut()
        await server.kill()
        outage = (("while it", "is dead"), ("and", "still"))
        sessions += [await spoken(engine, "a", *texts) for texts in outage]
        await server.start()
        async with subscriber(server.port, FINALS) as heard:
            await joined.open()
            sessions.append(await spoken(engine, "a", "and after"))
            while len(once(before + heard.bodies(FINALS))) < 6:
                await heard.until(FINALS)
    of_session = defaultdict(list)  # each session's are in order; it has a task of its own
    for body in once(before + heard.bodies(FINALS)):
        of_session[body["session"]].append(body)
    assert sorted(map(said, of_session.values())) == sorted(map(told, sessions))


@in_loop
async def test_finals_outlive_the_process(tmp_path: Path) -> None:
    async with mosquitto() as server, line(server.port) as joined:
        await joined.cut()
        async with publishing(joined.port, tmp_path) as engine:
            events = await spoken(engine, "a", "nobody", "hears this")
        path = tmp_path / "outbox.db"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with subscriber(server.port, "streamer/out/+/+") as heard:
            await joined.open()
            async with publishing(joined.port, tmp_path):
                await heard.until("streamer/out/a/closed")
        with sqlite3.connect(path) as database:
            rows = database.execute("SELECT count(*) FROM message").fetchone()
        database.close()
    assert said(heard.bodies(FINALS)) == told(events)
    assert rows == (0,)


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
async def test_a_full_outbox_loses_the_oldest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with mosquitto() as server, line(server.port) as joined:
        await joined.cut()
        async with publishing(joined.port, tmp_path, max_outbox_messages=3) as engine:
            await spoken(engine, "a", *"abcdef")
            async with subscriber(server.port, "streamer/out/#") as heard:
                await joined.open()
                closed = await heard.until("streamer/out/a/closed")
    assert [each["text"] for each in heard.bodies(FINALS)] == ["e", "f"]
    assert closed["utterances"] == 6
    assert caplog.text.count("the outbox is full") == 1


@pytest.mark.parametrize("seed", range(3))
def test_cuts_at_any_moment_lose_nothing_and_change_no_order(tmp_path: Path, seed: int) -> None:
    """At least once: a message in flight at the cut may come again, under its own key."""
    rng = random.Random(seed)
    names = ["a", "b", "c"]
    texts = {name: [f"{name} {word}" for word in "abcdefghij"] for name in names}

    @in_loop
    async def scenario() -> None:
        async with mosquitto() as server, line(server.port) as joined:
            topics = ("streamer/out/+/final", "streamer/out/+/closed")
            async with (
                subscriber(server.port, *topics) as heard,
                publishing(joined.port, tmp_path) as engine,
                asyncio.TaskGroup() as tasks,
            ):
                speaking = {
                    name: tasks.create_task(spoken(engine, name, *texts[name]), name=name)
                    for name in names
                }
                for _ in range(6):
                    for _ in range(rng.randint(0, 4)):
                        await heard.until("streamer/out/+/final")
                    await joined.cut()
                    await joined.open()
                while len({b["session"] for b in heard.bodies("streamer/out/+/closed")}) < 3:
                    await heard.until("streamer/out/+/closed")
            for name in names:
                finals = once(heard.bodies(f"streamer/out/{name}/final"))
                assert said(finals) == told(speaking[name].result())

    scenario()


@in_loop
async def test_a_broker_that_hangs_delays_no_session(tmp_path: Path) -> None:
    async with mosquitto() as server, subscriber(server.port, "streamer/#") as heard:
        async with publishing(server.port, tmp_path) as engine:
            await heard.until("streamer/status")
            server.hold()
            try:
                events = await spoken(engine, "a", *(f"number {c}" for c in "abcdefgh"))
                assert len(told(events)) == 8
            finally:
                server.go_on()
            await heard.until("streamer/out/a/closed")
        assert said(heard.bodies(FINALS)) == told(events)


@in_loop
async def test_the_status_tells_the_truth(tmp_path: Path) -> None:
    async with mosquitto() as server, line(server.port) as joined:
        async with subscriber(server.port, "streamer/status") as heard:
            async with publishing(joined.port, tmp_path):
                assert (await heard.until("streamer/status"))["status"] == "online"
                await joined.cut()  # nobody says goodbye: the will does
                assert (await heard.until("streamer/status"))["status"] == "offline"
                await joined.open()
                assert (await heard.until("streamer/status"))["status"] == "online"
            assert (await heard.until("streamer/status"))["status"] == "offline"
        async with subscriber(server.port, "streamer/status") as late:
            assert (await late.until("streamer/status"))["status"] == "offline"
            assert late.messages[0].retain


@in_loop
async def test_no_broker_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with mosquitto() as server, line(server.port) as joined:
        await joined.cut()
        async with publishing(joined.port, tmp_path) as engine:
            await spoken(engine, "a", *(f"the canary {c}" for c in "abcdefgh"))
            async with subscriber(server.port, FINALS) as heard:
                await joined.open()
                await heard.until(FINALS)
    told_of = [each.getMessage() for each in caplog.records if "mqtt" in each.getMessage()]
    assert len(told_of) == 2
    assert f"mqtt://127.0.0.1:{joined.port}" in told_of[0]
    assert "connected" in told_of[1]
    assert "canary" not in caplog.text
    assert "Traceback" not in caplog.text


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


# --- audio in -------------------------------------------------------------------------------------


async def control(heard: Heard, source: str, message: m.ClientMessage | str) -> None:
    text = message if isinstance(message, str) else m.encode(message)
    await heard.client.publish(f"streamer/in/{source}/control", text, qos=1)


async def packets(heard: Heard, source: str, samples: np.ndarray, size: int = 1_001) -> None:
    data = pcm(samples)
    for at in range(0, len(data), size):
        await heard.client.publish(f"streamer/in/{source}/audio", data[at : at + size], qos=1)


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
        assert (await heard.until("streamer/out/hall/error"))["code"] == "bad_request"
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
