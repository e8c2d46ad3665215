"""How settings are declared, read and typed: frozen dataclasses, TOML values, command-line flags.

Owns the sentences that say what is wrong with a value. Must not know: which settings there are.
"""

import argparse
import difflib
from collections.abc import Collection, Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}


class ConfigError(ValueError):
    """A setting that does not exist or has a wrong value, in one sentence for the user."""


def setting(default: Any, text: str, flag: str | None = None) -> Any:
    """A field with its help text; `flag` where the option has another name than the field."""
    return field(default=default, metadata={"help": text, "flag": flag})


def check_range(name: str, value: float, low: float, high: float) -> None:
    """ValueError with the value seen unless it is from `low` to `high`."""
    if not low <= value <= high:  # NaN is outside of every range
        raise ValueError(f"expected {name} from {low} to {high}, got {value}")


def from_mapping(cls: type[T], tree: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `cls`; `where` is the dotted place for messages."""
    known = {each.name: each for each in fields(cast("Any", cls))}
    hints = get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise ConfigError(f"unknown setting {where}{key}{_nearest(key, known)}")
        values[key] = _typed(f"{where}{key}", hints[key], value)
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.')}: {error}") from error


def _nearest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _typed(name: str, hint: Any, value: Any) -> Any:
    """The value as its annotation wants it; integers pass for floats, nothing else converts."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: expected a table of settings, got {value!r}")
        return from_mapping(cast("type", hint), value, f"{name}.")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{name}: expected one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{name}: expected a list of strings, got {value!r}")
        return tuple(value)
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or isinstance(value, bool) != (hint is bool):
        raise ConfigError(f"{name}: expected {_KINDS[hint]}, got {value!r}")
    try:
        return hint(value)
    except OverflowError as error:  # an integer that no float can hold
        raise ConfigError(f"{name}: expected a smaller number") from error


def add_flags(
    parser: argparse.ArgumentParser, tree: type, *sections: str, repeated: Collection[str] = ()
) -> None:
    """Give the parser one option for each setting of the tree's sections, absent unless typed.

    The parsed name is "section.key", as `config.load` takes it; those in `repeated` may be typed
    several times and give a list, which `load` does not take.
    """
    for section in sections:
        cls = get_type_hints(tree)[section]
        group = parser.add_argument_group(section)
        for each in fields(cls):
            dest = f"{section}.{each.name}"
            group.add_argument(
                each.metadata.get("flag") or f"--{each.name.replace('_', '-')}",
                dest=dest,
                default=argparse.SUPPRESS,
                help=_help(each),
                **_kind(get_type_hints(cls)[each.name], each.name, dest in repeated),
            )


def _kind(hint: Any, name: str, is_repeated: bool) -> dict[str, Any]:
    """What argparse must know to read a value of this annotation."""
    if hint is bool:
        return {"action": "store_true"}
    many, chosen = get_origin(hint) is tuple, get_origin(hint) is Literal
    return {
        "action": "append" if is_repeated else "store",
        "type": str if many or chosen else hint,
        "choices": get_args(hint) if chosen else None,
        "nargs": "*" if many else None,
        "metavar": None if chosen else _metavar(hint, name),
    }


def _metavar(hint: Any, name: str) -> str:
    """How a value is named in a help text: a number by its unit."""
    if hint not in (int, float):
        return name.upper()
    if "_per_" in name:
        return "N"
    return {"s": "SECONDS", "bytes": "BYTES", "port": "PORT"}.get(name.rpartition("_")[2], "N")


def _help(each: "Field[Any]") -> str:
    default = ", ".join(each.default) if isinstance(each.default, tuple) else each.default
    text = each.metadata.get("help", "").replace("%", "%%")
    return text if default in ("", None) or default is False else f"{text} (default: {default})"
