"""What can go wrong with a session, for whoever opens or uses it."""

from typing import Literal, TypeAlias

RETRY_AFTER_S = 2.0
"""When a refused client may try again: nobody knows when a session will end."""

ErrorCode: TypeAlias = Literal["engine", "too_slow", "closed"]


class CapacityError(Exception):
    """No session can be opened now; `retry_after_s` is when to try again."""

    def __init__(self, message: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(f"{message}; try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class SessionError(Exception):
    """A session ended before its `Closed` event.

    `code`: "engine" (the model failed on it, or the engine stopped), "too_slow" (nobody took its
    events), "closed" (it was left, or is used after its end).
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
