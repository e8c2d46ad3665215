"""JSON texts to messages and back, by the annotations of their dataclasses.

Owns the form on the wire: times in seconds rounded to a millisecond, confidences to three
decimals; None and empty objects are left out. Must not know: what a message means.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from streamer.core.hypothesis import Final, Partial
from streamer.messages.checks import MessageError, check, shown
from streamer.messages.client import CLIENT, AudioFormat, ClientMessage
from streamer.messages.server import SERVER, ServerMessage

_EXPECTED = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}
_NAMES = {cls: name for name, cls in (*SERVER.items(), *CLIENT.items())}
_WORDS = ("words", "display_words")
_SCALARS = (str, int, NoneType)

_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(
    message: ClientMessage | ServerMessage, *, words: bool = True, seq: int | None = None
) -> str:
    """Write a message as one line of JSON; `words=False` leaves word details out of events.

    `seq` is an event's number, in sessions that can be resumed.
    """
    body = {"type": _NAMES[type(message)], **_plain(message, () if words else _WORDS)}
    if seq is not None:
        body["seq"] = seq
    return _write(body)


def decode_client(text: str) -> ClientMessage:
    """Read a client's text; raises MessageError saying what was expected and what came.

    Fatal: no JSON object, or a bad `start` or `resume`, with code "unsupported_audio" if it is the
    form of audio. Not fatal: an unknown type, another bad message. Unknown fields are ignored; null
    means absent.
    """
    return cast("ClientMessage", _message(_parsed(text), CLIENT))


def decode_server(text: str) -> ServerMessage:
    """Read a server's text; raises MessageError when it is no message of this protocol."""
    return decode_numbered(text)[0]


def decode_numbered(text: str) -> tuple[ServerMessage, int | None]:
    """The same, with the event's number in a session that can be resumed."""
    body = _parsed(text)
    seq = body.get("seq")
    number = None if seq is None else cast("int", _typed("seq", int, seq))
    return cast("ServerMessage", _message(body, SERVER)), number


def _plain(value: Any, without: Container[str] = ()) -> dict[str, Any]:
    """Fields of a dataclass as JSON values; None and empty objects are left out."""
    items, kind = {}, cast("type", type(value))
    for name in _field_names(kind):
        if name not in without:
            item = _json_value(getattr(value, name))
            if item is not None and item != {}:
                items[name] = item
    return items


@cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def _json_value(item: Any) -> Any:
    if isinstance(item, float):
        return round(item, 3)
    if isinstance(item, tuple):
        return [_json_value(each) for each in item]
    return item if isinstance(item, _SCALARS) or not is_dataclass(item) else _plain(item)


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"expected a JSON object, got text that is none ({error})") from error
    check(isinstance(body, dict), "message", "a JSON object", body)
    return cast("dict[str, Any]", body)


def _message(body: dict[str, Any], types: Mapping[str, type]) -> object:
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in types:
        message = f"unknown message type {shown(kind)}; known: {', '.join(types)}"
        raise MessageError(message, code="unknown_type", fatal=False)
    try:
        return _build(types[kind], body)
    except ValueError as error:
        code = error.code if isinstance(error, MessageError) else "bad_request"
        is_fatal = kind in ("start", "resume")
        raise MessageError(f"{kind}: {error}", code=code, fatal=is_fatal) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _build(cls: type, body: dict[str, Any]) -> object:
    """The dataclass `cls` from a JSON object, checked against its annotations."""
    values = {}
    for field in fields(cls):
        if body.get(field.name) is not None:
            values[field.name] = _typed(field.name, _hints(cls)[field.name], body[field.name])
        elif field.name == "words" and cls in (Partial, Final):
            values["words"] = ()  # a client may have asked for none
        elif field.default is MISSING:
            raise MessageError(f"{field.name}: missing")
    return cls(**values)


def _typed(name: str, hint: Any, value: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):  # of what may be a string or an object, and None was absent
        possible = [each for each in args if each is not NoneType]
        return _typed(name, possible[-1 if isinstance(value, dict) else 0], value)
    if origin is tuple:
        check(isinstance(value, list), name, "a list", value)
        return tuple(_typed(name, args[0], item) for item in value)
    if origin is Literal:
        check(value in args, name, f"one of {', '.join(args)}", value)
        return value
    if is_dataclass(hint):
        check(isinstance(value, dict), name, "an object", value)
        try:
            return _build(cast("type", hint), value)
        except MessageError as error:
            code = "unsupported_audio" if hint is AudioFormat else error.code
            raise MessageError(str(error), code=code) from error
    kinds = (int, float) if hint is float else hint
    wanted = isinstance(value, kinds) and (hint is bool) == isinstance(value, bool)
    check(wanted, name, _EXPECTED[hint], value)
    if hint is str:  # JSON can escape halves of a character, which no library takes
        check(_is_unicode(value), name, "whole characters", value)
    try:
        return hint(value)
    except OverflowError as error:
        raise MessageError(f"{name}: expected a number, got one without end") from error


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)
