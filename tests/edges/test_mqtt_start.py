"""What a source asks for in its `start` over a real broker: as over the websocket."""

from pathlib import Path
from typing import Any

import numpy as np

from streamer import messages as m
from streamer.core.decoder import BeamSearch
from streamer.core.options import DecodingOptions
from streamer.core.scoring import NoScorer
from tests.brokers import mosquitto, subscriber
from tests.edges.over_mqtt import control, packets, publishing
from tests.fakes import FakeModel, SearchedModel, silence, speak
from tests.serving import in_loop

OUT = "streamer/out/hall"


class Liking(NoScorer):
    """Hotwords score high, whole or begun."""

    def __init__(self, options: DecodingOptions):
        self.words = [each.text for each in options.hotwords]

    def word(self, state, word):
        return 9.0 * (word in self.words), None

    def part(self, part):
        return 9.0 * any(word.startswith(part) for word in self.words)


def searched() -> SearchedModel:
    """Each letter is nearly the next one too."""
    return SearchedModel(slots=4, doubt=0.45, search=BeamSearch(25, Liking, takes_hotwords=True))


async def told(
    folder: Path, start: m.Start | str, samples: np.ndarray, model: FakeModel | None = None
) -> dict[str, list[Any]]:
    """All that is published of a source, by kind."""
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, folder, model=model),
    ):
        await heard.until("streamer/status")
        await control(heard, "hall", start)
        await packets(heard, "hall", samples)
        await control(heard, "hall", m.Stop())
        await heard.until(f"{OUT}/closed")
        kinds = ("final", "keyword", "error", "speech_start")
        return {kind: heard.bodies(f"{OUT}/{kind}") for kind in kinds}


@in_loop
async def test_hotwords_and_decoding_are_heeded(tmp_path: Path) -> None:
    start = m.Start(hotwords=("zft",), decoding=m.DecodingPatch(n_best=3))
    events = await told(tmp_path, start, speak("yes"), searched())
    (final,) = events["final"]
    assert final["text"] == "zft"
    assert len(final["alternatives"]) == 3
    assert events["error"] == []


@in_loop
async def test_endpoint_rules_and_keywords_are_heeded(tmp_path: Path) -> None:
    said = np.concatenate([speak("turn on"), silence(0.5), speak("the lamp")])
    start = m.Start(
        endpoint=m.EndpointPatch(silence_ms=2_000), keywords=(m.KeywordWish("lamp", 0.9),)
    )
    events = await told(tmp_path, start, said)
    assert [each["text"] for each in events["final"]] == ["turn on the lamp"]
    assert [each["keyword"] for each in events["keyword"]] == ["lamp"]
    events = await told(tmp_path, m.Start(), said)  # the server's own: 300 ms, no keywords
    assert [each["text"] for each in events["final"]] == ["turn on", "the lamp"]
    assert events["keyword"] == []


@in_loop
async def test_what_cannot_be_had_is_said_and_the_rest_heeded(tmp_path: Path) -> None:
    start = m.Start(
        hotwords=("lamp",),
        endpoint=m.EndpointPatch(silence_ms=2_000, vad=True),
        text=m.TextWishes(written=True, redact_numbers=True),
    )
    events = await told(tmp_path, start, speak("room five"))
    assert [each["code"] for each in events["error"]] == ["unsupported"] * 3
    assert [each["text"] for each in events["final"]] == ["room [number]"]


@in_loop
async def test_a_start_that_cannot_be_is_answered_and_its_audio_not_heard(tmp_path: Path) -> None:
    """Whoever asks for masks must not be heard without, whatever else was wrong."""
    async with (
        mosquitto() as server,
        subscriber(server.port, "streamer/out/#", "streamer/status") as heard,
        publishing(server.port, tmp_path) as engine,
    ):
        await heard.until("streamer/status")
        masks = '"text":{"redact_numbers":true}'
        for wrong in (
            f'{{"type":"start",{masks},"keywords":[{{"phrase":"route five"}}]}}',
            f'{{"type":"start",{masks},"keywords":[{{"phrase":"café"}}]}}',
            f'{{"type":"start",{masks},"hotwords":["{"x" * 65}"]}}',
            f'{{"type":"start",{masks},"decoding":{{"beam":0}}}}',
            f'{{"type":"start",{masks},"endpoint":{{"silence_ms":1}}}}',
            f'{{"type":"start",{masks},"audio":{{"encoding":"ogg_opus"}}}}',
        ):
            await control(heard, "hall", wrong)
            error = await heard.until(f"{OUT}/error")
            assert error["code"] in ("bad_request", "unsupported")
            await packets(heard, "hall", speak("room five"))
        await control(heard, "hall", m.Flush("x"))  # behind all that audio
        assert (await heard.until(f"{OUT}/error"))["message"] == "there is no audio to flush"
        assert engine.open_sessions == 0
        await control(heard, "hall", m.Start())
        await packets(heard, "hall", speak("room six"))
        await control(heard, "hall", m.Stop())
        assert (await heard.until(f"{OUT}/final"))["text"] == "room six"
