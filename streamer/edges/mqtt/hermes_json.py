"""What Hermes messages look like: two spellings of JSON, and audio as little WAV files.

Owns both formats. Must not know: topics, dialogs, sessions.
"""

import io
import json
import re
import wave
from collections.abc import Sequence
from typing import Any

from streamer.messages import AudioFormat, MessageError, Word


class FrameError(Exception):
    """An audio frame that is none, in one sentence for its sender."""


def read_request(payload: bytes) -> tuple[dict[str, Any], bool] | None:
    """A request with its keys in snake_case, and whether it came so; None for no object.

    The keys of Hermes are camelCase; Rhasspy's own command line writes snake_case. Lists and
    objects come emptied: no request has any, and to write deep ones again may break Python.
    """
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    is_snake = any("_" in key for key in body)
    emptied = {
        key: type(value)() if isinstance(value, dict | list) else value
        for key, value in body.items()
    }
    return {re.sub("([A-Z])", r"_\1", key).lower(): emptied[key] for key in body}, is_snake


def written(body: dict[str, Any], is_snake: bool) -> str:
    """A message, given in snake_case, as JSON in either spelling."""
    return json.dumps(body if is_snake else _camel(body))


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub("_([a-z])", lambda m: m[1].upper(), key): _camel(each)
            for key, each in value.items()
        }
    return [_camel(each) for each in value] if isinstance(value, list) else value


def frame(payload: bytes) -> tuple[AudioFormat, bytes]:
    """The format and samples of a little WAV file; raises FrameError."""
    try:
        with wave.open(io.BytesIO(payload)) as file:
            if file.getsampwidth() != 2:
                raise FrameError(f"expected WAV of 16 bits, got {8 * file.getsampwidth()}")
            audio = AudioFormat("pcm_s16le", file.getframerate(), file.getnchannels())
            return audio, file.readframes(file.getnframes())
    except (EOFError, RuntimeError, wave.Error) as error:  # all are `wave`'s, for broken headers
        raise FrameError(f"expected WAV {error}".rstrip()) from error
    except MessageError as error:
        raise FrameError(str(error)) from error


def tokens(words: Sequence[Word]) -> list[dict[str, Any]]:
    """Words with their places in the text and in time."""
    tokens, at = [], 0
    for word in words:
        tokens.append(
            {
                "value": word.word,
                "confidence": round(word.confidence, 3),
                "range_start": at,
                "range_end": at + len(word.word),
                "time": {"start": round(word.start, 3), "end": round(word.end, 3)},
            }
        )
        at += len(word.word) + 1
    return tokens
