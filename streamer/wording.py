"""From settings to how words are put and which keywords are listened for.

Owns the files that a user names: of keywords and of profane words. Must not know: engines, streams.
"""

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from streamer.config import ConfigError, KeywordConfig, TextConfig
from streamer.core.keywords import MAX_PHRASES, Phrase
from streamer.core.text_rules import SPOKEN, TextRules, Writer

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wording:
    """What every session begins with, unless it wishes otherwise."""

    text: TextRules = SPOKEN
    keywords: tuple[Phrase, ...] = ()


PLAIN = Wording()


def build_wording(text: TextConfig, keywords: KeywordConfig) -> Wording:
    """Raises ConfigError, in one sentence for the user."""
    writer = _writer()
    if text.written and writer is None:
        raise ConfigError("--written needs the package text2num: pip install -e '.[text]'")
    profanity = _profanity(text.profanity_file)
    rules = TextRules(text.written, text.mask_profanity, text.redact_numbers, writer, profanity)
    return Wording(rules, read_keywords(keywords) if keywords.file else ())


def _writer() -> Writer | None:
    if find_spec("text_to_num") is None:
        return None
    from streamer.text.written import written

    return written


def _profanity(path: str) -> frozenset[str]:
    own = files("streamer.text").joinpath("profanity.txt")
    text = _read(path) if path else own.read_text(encoding="utf-8")
    return frozenset(line.lower() for line in _lines(text))


def read_keywords(config: KeywordConfig) -> tuple[Phrase, ...]:
    """A file of keywords: a phrase a line, `phrase = threshold` where it has one of its own."""
    phrases = []
    for line in _lines(_read(config.file)):
        text, mark, number = line.partition("=")
        try:
            threshold = float(number) if mark else config.threshold
            phrases.append(Phrase(" ".join(text.split()), threshold))
        except ValueError as error:
            raise ConfigError(f"{config.file}: {line!r}: {error}") from error
    if not 1 <= len(phrases) <= MAX_PHRASES:
        raise ConfigError(
            f"{config.file}: expected 1 to {MAX_PHRASES} keywords, got {len(phrases)}"
        )
    return tuple(phrases)


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: expected at most {MAX_FILE_BYTES} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8") from error


def _lines(text: str) -> list[str]:
    """Without comments, empty lines and the spaces around."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
