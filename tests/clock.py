"""An event loop whose time stands still until a test lets it pass: no verdict by a busy machine."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from tests.serving import DEADLINE_S

TURNS = 50  # of the loop, in which what is sent on loopback is taken and answered


class Clock(asyncio.SelectorEventLoop):
    """Timers are due by `now`; sockets, threads and processes work as ever."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._runs_since: float | None = None  # it hangs, and must come to an end by itself
        super().__init__()

    def time(self) -> float:
        """Seconds; stands still."""
        if self._runs_since is None:
            return self.now
        return self.now + super().time() - self._runs_since

    def run_on(self) -> None:
        """From now on time passes as it does, so that what waits for it can end."""
        self._runs_since = super().time()

    async def wait(self, seconds: float) -> None:
        """Let time pass, at once, when all that is under way has come to rest."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.now += seconds
        for _ in range(TURNS):
            await asyncio.sleep(0)


def in_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test, whose first argument is the clock, in a loop that is it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        clock = Clock()
        with asyncio.Runner(loop_factory=lambda: clock) as runner:
            runner.run(_within_deadline(test(clock, *args, **kwargs), clock))

    _, *others = inspect.signature(test).parameters.values()  # pytest fills them, not the clock
    run.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return run


async def _within_deadline(test: Coroutine[Any, Any, None], clock: Clock) -> None:
    running = asyncio.ensure_future(test)

    def end() -> None:
        clock.run_on()
        running.cancel()

    guard = threading.Timer(DEADLINE_S, clock.call_soon_threadsafe, [end])
    guard.start()
    try:
        await running
    except asyncio.CancelledError as hung:
        raise TimeoutError(f"over {DEADLINE_S} s") from hung
    finally:
        guard.cancel()
