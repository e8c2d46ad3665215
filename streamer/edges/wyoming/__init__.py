"""The Wyoming protocol of Home Assistant: `server` listens, `connection` converses."""

from streamer.edges.wyoming.connection import Program
from streamer.edges.wyoming.server import WyomingServer

__all__ = ["Program", "WyomingServer"]
