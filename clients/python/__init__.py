"""The Python client of `streamer serve`: audio in, an async iterator of events out.

It needs `websockets` and nothing else that is not in its wheel:

    from clients.python import recognize  # installed alone: from streamer_client import recognize

    async def show(blocks):  # any async iterable of bytes, by default 16 kHz mono s16le
        async for event in recognize("ws://127.0.0.1:8765/v1/stream", blocks):
            print(event)

A lost connection is taken up again where it was lost, without a word lost or doubled. As a program
it streams a file, standard input or a microphone (`__main__`); docs/clients.md has more.
"""

from clients.python.link import RecognizerError
from clients.python.outgoing import Patience
from clients.python.recognition import DEFAULT_URL, Recognition
from clients.python.recognizing import recognize

__all__ = ["DEFAULT_URL", "Patience", "Recognition", "RecognizerError", "recognize"]
