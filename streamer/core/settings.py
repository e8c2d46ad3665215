"""All that may be asked of a stream, at its start and in mid-stream.

Must not know: what any of it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.keywords import Phrase
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.text_rules import SPOKEN, TextRules


@dataclass(frozen=True, slots=True)
class Settings:
    """When utterances end, how they are decoded and put, and what is listened for beside that."""

    endpoint: EndpointRules = DEFAULT_RULES
    options: DecodingOptions = DEFAULT_OPTIONS
    text: TextRules = SPOKEN
    keywords: tuple[Phrase, ...] = ()

    def changed(
        self,
        endpoint: EndpointRules | None = None,
        options: DecodingOptions | None = None,
        text: TextRules | None = None,
        keywords: Sequence[Phrase] | None = None,
    ) -> "Settings":
        """These, but for what is not None."""
        return Settings(
            endpoint or self.endpoint,
            options or self.options,
            text or self.text,
            self.keywords if keywords is None else tuple(keywords),
        )
