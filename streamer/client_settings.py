"""What a client asks of its session, in `start` and `configure`, made into what an engine takes.

Owns how what is asked adds up: nothing named keeps what is set. Must not know: sockets, brokers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

from streamer import messages
from streamer.config import DecodingOptions, EndpointRules, Phrase
from streamer.core.text_rules import TextRules
from streamer.engine.engine import Engine

Patch = TypeVar("Patch", bound=Any)


class Configurable(Protocol):
    """A session, or several as one."""

    @property
    def options(self) -> DecodingOptions:
        """What holds for the audio that is sent now."""

    def unsupported(self, options: DecodingOptions) -> list[str]:
        """The names of the options that would be ignored."""

    def configure(
        self,
        endpoint: EndpointRules,
        options: DecodingOptions | None,
        text: TextRules | None,
        keywords: Sequence[Phrase] | None,
    ) -> int:
        """Other settings from here on; returns the sample from which they hold."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What has become of a wish: from which sample it holds, and what of it cannot be had here."""

    sample: int
    refused: tuple[str, ...]  # sentences


class ClientSettings:
    """The settings of one client's sessions, as it has patched those of its server."""

    def __init__(self, engine: Engine, endpoint: EndpointRules, start: messages.Start) -> None:
        self._engine, self._start = engine, start
        self.endpoint = patched(endpoint, start.endpoint)
        self._text, self._keywords = start.text, _phrases(start.keywords)

    @property
    def text(self) -> TextRules:
        """The engine's own, with what is wished beside them."""
        wish = self._text
        return self._engine.text.wished(wish.written, wish.mask_profanity, wish.redact_numbers)

    @property
    def keywords(self) -> tuple[Phrase, ...] | None:
        """None: the engine's own."""
        return self._keywords

    def begin(self, session: Configurable) -> Applied:
        """How its audio is to be decoded, before there is any: for a session opened with these."""
        return self._apply(session, self._start, self.endpoint, self._text, self._keywords)

    def configure(self, session: Configurable, change: messages.Configure) -> Applied:
        """Change settings from here on; ValueError, and no effect, for what cannot be."""
        keywords = self._keywords if change.keywords is None else _phrases(change.keywords)
        endpoint, text = patched(self.endpoint, change.endpoint), merged(self._text, change.text)
        before, self._text = self._text, text
        try:
            applied = self._apply(session, change, endpoint, change.text, keywords)
        except ValueError:
            self._text = before
            raise
        self.endpoint, self._keywords = endpoint, keywords
        return applied

    def _apply(
        self,
        session: Configurable,
        asked: messages.Start | messages.Configure,
        endpoint: EndpointRules,
        wish: messages.TextWishes,
        keywords: tuple[Phrase, ...] | None,
    ) -> Applied:
        options = asked.decoding.patched(session.options)
        if asked.hotwords is not None:
            options = replace(options, hotwords=messages.expected_words(asked.hotwords))
        heard_for = self._engine.keywords_for(self.text, keywords)
        sample = session.configure(endpoint, options, self.text, heard_for)
        refused = []
        if names := session.unsupported(options):
            refused.append(f"{', '.join(names)}: ignored, the server runs without --lm or --beam")
        if asked.endpoint.vad and not self._engine.hears_speech:
            refused.append("vad: ignored, the server runs without silero-vad")
        if wish.written and self._engine.text.writer is None:
            refused.append("written text needs a server with text2num, and was not made")
        return Applied(sample, tuple(refused))


def patched(rules: EndpointRules, patch: messages.EndpointPatch) -> EndpointRules:
    """The rules with what a client wants different, milliseconds to seconds."""
    wanted_ms = {
        "silence_idle_s": patch.silence_idle_ms,
        "silence_s": patch.silence_ms,
        "blank_s": patch.blank_ms,
        "max_utterance_s": patch.max_utterance_ms,
    }
    wanted: dict[str, Any] = {k: ms / 1000 for k, ms in wanted_ms.items() if ms is not None}
    return replace(rules, **wanted, vad=rules.vad if patch.vad is None else patch.vad)


def merged(settings: Patch, change: Patch) -> Patch:
    """A dataclass of wishes with what another one of its kind names."""
    wanted = {each.name: getattr(change, each.name) for each in fields(change)}
    found: Patch = replace(settings, **{k: v for k, v in wanted.items() if v is not None})
    return found


def _phrases(wishes: Sequence[messages.KeywordWish] | None) -> tuple[Phrase, ...] | None:
    if wishes is None:
        return None
    return tuple(
        Phrase(w.phrase) if w.threshold is None else Phrase(w.phrase, w.threshold) for w in wishes
    )
