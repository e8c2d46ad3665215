"""The websocket server of our own protocol: `server` listens and admits, `connection` converses."""

from streamer.edges.websocket.connection import ServedModel
from streamer.edges.websocket.server import ListenError, WebSocketServer, is_loopback

__all__ = ["ListenError", "ServedModel", "WebSocketServer", "is_loopback"]
