"""The Python client of `streamer serve`: audio in, an async iterator of events out.

As a library it needs `websockets` and `streamer.messages` only:

    from clients.python import recognize

    async def show(blocks):  # any async iterable of bytes, by default 16 kHz mono s16le
        async for event in recognize("ws://127.0.0.1:8765/v1/stream", blocks):
            print(event)

As a program it streams a file, or standard input, and prints one event a line:

    python -m clients.python talk.flac --realtime

Owns the client's side of the protocol. Must not know: models, engines.
"""

import argparse
import asyncio
import ipaddress
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from streamer import messages
from streamer.messages import Closed, Configure, Error, Flush, ServerMessage, Start, Stop

DEFAULT_URL = "ws://127.0.0.1:8765/v1/stream"
MAX_MESSAGE_BYTES = 4 << 20  # a final of a very long utterance with all its words


class RecognizerError(Exception):
    """The server refused or failed; `code` as in its error message, or "connection"."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class Recognition:
    """One conversation: `async with Recognition(url) as stream:` send in one task, read in another.

    Reading must go on while audio is sent: the server drops a client that does not read. The
    iteration ends after `Closed`; it raises RecognizerError when the server reports a fatal error
    or the connection is lost. Errors that are not fatal come as `Error` messages.
    """

    def __init__(self, url: str = DEFAULT_URL, start: Start = Start()) -> None:  # noqa: B008
        self._url = url
        self._start = start

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                close_timeout=3,
                # Pings queue behind audio that the server does not read yet: a late pong says
                # nothing. A server that has gone is found by TCP.
                ping_timeout=None,
                proxy=None if _is_this_machine(self._url) else True,
            )
        except InvalidStatus as error:
            body = bytes(error.response.body or b"").decode(errors="replace").strip()
            status = error.response.status_code
            raise RecognizerError("connection", f"the server refused ({status}): {body}") from error
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            raise RecognizerError("connection", f"cannot reach {self._url}: {error}") from error
        await self._tell(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def send(self, audio: bytes) -> None:
        """Send audio in the encoding of `start`, any number of bytes; waits while TCP is full.

        After the connection's end it does nothing: reading says what happened.
        """
        try:
            await self._socket.send(audio)
        except ConnectionClosed:
            return

    async def flush(self, name: str = "") -> None:
        """Ask for a final of what was sent so far; `Flushed(name)` follows it."""
        await self._tell(Flush(name))

    async def configure(self, change: Configure) -> None:
        """Change endpoint rules in mid-stream."""
        await self._tell(change)

    async def stop(self) -> None:
        """No more audio: the last finals and `Closed` follow."""
        await self._tell(Stop())

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        while True:
            try:
                text = await self._socket.recv(decode=True)
            except ConnectionClosed as error:
                raise RecognizerError("connection", f"the connection was lost: {error}") from error
            message = messages.decode_server(text)
            if isinstance(message, Error) and message.fatal:
                raise RecognizerError(message.code, message.message, message.retry_after_s)
            yield message
            if isinstance(message, Closed):
                return

    async def _tell(self, message: messages.ClientMessage) -> None:
        try:
            await self._socket.send(messages.encode(message))
        except ConnectionClosed:
            return


def _is_this_machine(url: str) -> bool:
    """Whether the URL can only mean this machine, which no proxy of the environment can reach."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def recognize(
    url: str,
    audio: AsyncIterable[bytes],
    start: Start = Start(),  # noqa: B008 (frozen)
) -> AsyncGenerator[ServerMessage, None]:
    """Send all of `audio`, then stop; give every message of the server, the last one `Closed`.

    Raises RecognizerError as `Recognition` does, and whatever `audio` raises.
    """
    async with Recognition(url, start) as stream:
        sending = asyncio.create_task(_send_all(stream, audio), name="send")
        try:
            async for message in stream:
                yield message
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled() and (failure := sending.exception()):
                raise failure


async def _send_all(stream: Recognition, audio: AsyncIterable[bytes]) -> None:
    try:
        async for block in audio:
            await stream.send(block)
    except Exception:
        await stream.stop()  # the server then ends the stream, and with it the reader
        raise
    await stream.stop()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clients.python", description="Stream audio to a server and print events."
    )
    parser.add_argument("file", help="audio file, or - for standard input")
    parser.add_argument("--url", default=DEFAULT_URL, help="server (default: %(default)s)")
    parser.add_argument("--realtime", action="store_true", help="send at the pace of speech")
    parser.add_argument("--no-partials", action="store_true", help="ask for finals only")
    return parser.parse_args(argv)


async def _print_events(arguments: argparse.Namespace) -> None:
    # Only the program decodes files; the library does not depend on libsndfile.
    from streamer.edges import audio_file

    with audio_file.AudioFile(arguments.file) as file:

        async def pcm() -> AsyncIterator[bytes]:
            async for samples in audio_file.stream(file, realtime=arguments.realtime):
                yield (samples * 32768).round().clip(-32768, 32767).astype("<i2").tobytes()

        start = Start(partials=not arguments.no_partials)
        async with aclosing(recognize(arguments.url, pcm(), start)) as heard:
            async for message in heard:
                print(messages.encode(message), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    from streamer.edges.audio_file import AudioFileError

    try:
        asyncio.run(_print_events(_arguments(argv)))
    except (RecognizerError, AudioFileError) as error:
        print(f"client: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
