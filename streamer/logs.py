"""The program's log: where it goes, in which form, and how much of it.

Lines hold ids, addresses, codes and counts; never a transcript, a hotword, a token or audio. Only
this program's own loggers follow the level: what libraries say in detail may hold anything.
"""

import logging

from streamer.config import LogConfig

FIELDS = (
    "connection",
    "kind",
    "client",
    "address",
    "code",
    "status",
    "seconds",
    "received_samples",
)


class _TextFormatter(logging.Formatter):
    """A line for people: what happened, then the fields it has."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = [f"{each}={getattr(record, each)}" for each in FIELDS if hasattr(record, each)]
        return " ".join([line, *fields])


def configure(config: LogConfig) -> None:
    """Log to stderr from now on, in place of what was set up before."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(config))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("streamer").setLevel(config.level.upper())


def _formatter(config: LogConfig) -> logging.Formatter:
    if config.format == "text":
        return _TextFormatter("%(asctime)s %(levelname)s %(message)s")
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger", "message": "event"},
        timestamp="time",
    )
