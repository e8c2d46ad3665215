"""Stream a file, standard input or a microphone to a server, and print one event a line.

python -m clients.python talk.wav --realtime
python -m clients.python --microphone --text
"""

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from clients.python.link import RecognizerError
from clients.python.outgoing import Patience
from clients.python.recognition import DEFAULT_URL
from clients.python.recognizing import recognize
from clients.python.sources import File, Microphone, SourceError
from streamer import messages
from streamer.messages import AudioFormat, Final, Start


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    is_module = Path(sys.argv[0]).name == "__main__.py"
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}" if is_module else None,
        usage="%(prog)s [OPTION ...] FILE | --microphone",
        description="Stream audio to a server and print events.",
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="audio file, or - for standard input"
    )
    parser.add_argument("--microphone", action="store_true", help="instead of a file")
    parser.add_argument("--input", metavar="DEVICE", help="which one, by number or name")
    parser.add_argument("--url", default=DEFAULT_URL, help="server (default: %(default)s)")
    parser.add_argument(
        "--token-file", metavar="FILE", help="the server's token, else STREAMER_TOKEN has it"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="authority of a wss server, in PEM")
    parser.add_argument("--separate", action="store_true", help="hear each channel by itself")
    parser.add_argument("--realtime", action="store_true", help="send at the pace of speech")
    parser.add_argument("--no-partials", action="store_true", help="ask for finals only")
    parser.add_argument("--text", action="store_true", help="print the text of finals only")
    parser.add_argument(
        "--append-only", action="store_true", help="print text as soon as it stands, on one line"
    )
    parser.add_argument(
        "--patience-s",
        type=float,
        default=Patience().total_s,
        metavar="SECONDS",
        help="seconds to look for a lost server (default: %(default)s; 0: not at all)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="go on with a new session when one is lost"
    )
    arguments = parser.parse_args(argv)
    if (arguments.file is None) == (not arguments.microphone):
        parser.error("expected either a file or --microphone")
    return arguments


@asynccontextmanager
async def _source(
    arguments: argparse.Namespace,
) -> AsyncIterator[tuple[AudioFormat, AsyncIterator[bytes]]]:
    if not arguments.microphone:
        with File(arguments.file) as file:
            yield file.audio, file.blocks(realtime=arguments.realtime)
        return
    name = arguments.input
    async with Microphone(int(name) if name and name.isdecimal() else name) as microphone:
        print("listening; Ctrl-C ends it", file=sys.stderr, flush=True)
        yield microphone.audio, microphone.blocks()


def _token(path: str | None) -> str:
    """Never from an option: others can read a command line."""
    if path is None:
        return os.environ.get("STREAMER_TOKEN", "").strip()
    try:
        words = Path(path).read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read the token in {path}: {error}") from error
    return words[0] if words else ""


def _authority(path: str | None) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SourceError(f"cannot use the certificates in {path}: {error}") from error


async def _print_events(arguments: argparse.Namespace) -> None:
    async with _source(arguments) as (audio, blocks):
        audio = replace(audio, separate=arguments.separate)
        partials = not (arguments.no_partials or arguments.text)
        start = Start(audio, partials=partials, append_only=arguments.append_only)
        patience = Patience(total_s=arguments.patience_s)
        heard = recognize(
            arguments.url,
            blocks,
            start,
            patience=patience,
            restart=arguments.restart,
            token=_token(arguments.token_file),
            ssl=_authority(arguments.ca_file),
        )
        async with aclosing(heard):
            async for message in heard:
                if arguments.append_only:
                    print(_added(message), end="", flush=True)
                elif not arguments.text:
                    print(messages.encode(message), flush=True)
                elif isinstance(message, Final):
                    print(_speaker(message) + message.shown, flush=True)


def _speaker(final: Final) -> str:
    return "" if final.channel is None else f"Channel {final.channel + 1}: "


def _added(message: messages.ServerMessage) -> str:
    if isinstance(message, messages.Append):
        return message.text
    return "\n" if isinstance(message, messages.Closed) else ""


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    try:
        asyncio.run(_print_events(_arguments(argv)))
    except (RecognizerError, SourceError, messages.MessageError) as error:
        print(f"client: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # of our output: what it still holds must not fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # its reader has left, as `| head` does
            print(f"client: {error.strerror or error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
