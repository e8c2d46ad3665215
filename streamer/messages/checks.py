"""What is wrong with a message, and how that is said to the peer that sent it.

Owns the error and the checks that every message makes at birth, of what a peer sends and of what a
caller builds. Must not know: the messages.
"""

import json


class MessageError(ValueError):
    """A text that is not a valid message; `code` and `fatal` go into the error sent back."""

    def __init__(self, message: str, *, code: str = "bad_request", fatal: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal


def check(valid: bool, name: str, expected: str, got: object) -> None:
    """Raise MessageError unless `valid`."""
    if not valid:
        raise MessageError(f"{name}: expected {expected}, got {shown(got)}")


def check_range(name: str, value: int | None, low: int, high: int) -> None:
    """Raise MessageError unless `value` is None or within [low, high]."""
    valid = value is None or low <= value <= high
    check(valid, name, f"a whole number from {low} to {high}", value)


def shown(value: object) -> str:
    """Show a peer's value in an error message, cut short."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "what is nested too deeply"
    return text if len(text) <= 60 else text[:57] + "..."
