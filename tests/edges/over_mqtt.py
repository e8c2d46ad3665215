"""Sessions over a real broker: how they are published and spoken, and what was told of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer import messages as m
from streamer.config import EndpointRules, MqttConfig
from streamer.edges.mqtt import MqttEdge, broker
from streamer.engine.engine import Engine
from tests.brokers import Heard
from tests.engine.harness import play
from tests.fakes import FakeModel, silence, speak
from tests.serving import pcm

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


async def control(heard: Heard, source: str, message: m.ClientMessage | str) -> None:
    text = message if isinstance(message, str) else m.encode(message)
    await heard.client.publish(f"streamer/in/{source}/control", text, qos=1)


async def packets(heard: Heard, source: str, samples: np.ndarray, size: int = 1_001) -> None:
    data = pcm(samples)
    for at in range(0, len(data), size):
        await heard.client.publish(f"streamer/in/{source}/audio", data[at : at + size], qos=1)
