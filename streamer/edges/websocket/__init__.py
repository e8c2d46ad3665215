"""The websocket server of our own protocol, and its web pages.

`server` listens, `admission` says who may connect, `connection` converses with a client; what
outlives a lost connection is a `conversation` with its `journal` of events, one of the server's
`conversations`. `viewer` shows a session's `broadcast` to one more, `peer` is the other end of
either, `pages` are files.
"""

from streamer.edges.websocket.admission import is_loopback
from streamer.edges.websocket.conversations import ServedModel
from streamer.edges.websocket.server import ListenError, WebSocketServer

__all__ = ["ListenError", "ServedModel", "WebSocketServer", "is_loopback"]
