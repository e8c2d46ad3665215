"""JSON objects to frozen dataclasses: a value of the wrong type is a ValueError that names it."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_json(kind: type[T], values: Mapping[str, Any]) -> T:
    """The fields of dataclass ``kind`` that ``values`` has; other keys are ignored.

    Raises:
        ValueError: a value does not fit its field.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _fit(name, hints[name], values[name]) for name in hints if name in values})


def _fit(name: str, hint: Any, value: Any) -> Any:
    """``value`` as the field has it: lists become tuples, whole numbers fit where floats do."""
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_fit(name, get_args(hint)[0], item) for item in value)
    if not _fits(hint, value):
        expected = getattr(hint, "__name__", str(hint).replace("typing.", ""))
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(choice, value) for choice in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is NoneType:
        return value is None
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint
