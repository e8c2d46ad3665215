"""Signals that end a command politely, the first is heard, a second interrupts; and SIGHUP."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_signals(end: Callable[[], object]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the block politely; a second Ctrl-C interrupts."""
    loop = asyncio.get_running_loop()

    def told(received: signal.Signals) -> None:
        loop.remove_signal_handler(received)
        end()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told, each)
    try:
        yield
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)


@contextmanager
def on_hangup(heard: Callable[[], object]) -> Iterator[None]:
    """Let SIGHUP be heard in the block, and end nothing; where there is none, nothing is heard."""
    hangup: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(hangup, heard)
    try:
        yield
    finally:
        loop.remove_signal_handler(hangup)
