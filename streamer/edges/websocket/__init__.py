"""The websocket server of our own protocol, and its web pages.

`server` listens; `door` counts sockets and `wire` guards one; `admission` says which requests go
on, `gate` who may converse (`tokens`, `limits`), `web` answers what is no websocket (`pages` are
files). `connection` converses with a client; what outlives a lost connection is a `conversation`
with its `journal` of events, one of the server's `conversations`. `viewer` shows a session's
`broadcast` to one more, `peer` is the other end of either.
"""

from streamer.edges.websocket.admission import is_loopback
from streamer.edges.websocket.conversations import ServedModel
from streamer.edges.websocket.server import ListenError, WebSocketServer, asks_for_tokens

__all__ = ["ListenError", "ServedModel", "WebSocketServer", "asks_for_tokens", "is_loopback"]
