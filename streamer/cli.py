"""The command line, `streamer …`: it builds everything, knows everyone and is known by none.

Owns subcommands, what is printed where, signals and exit codes: 0 done, 1 a mistake that one line
on stderr names, 2 a wrong command line, 130 interrupted. Loads torch only behind parsing.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

from models.training import commands as training
from streamer import __version__, config, listening, logs, serving, transcribing
from streamer.benchmark import command as benchmark
from streamer.collector import collect_rarely
from streamer.command_line import Parser
from streamer.core.recognizer import Model
from streamer.edges import audio_file, caption_files, microphone, websocket, youtube
from streamer.edges.caption_files import CaptionFile
from streamer.evaluation import command as evaluation
from streamer.signals import on_hangup, on_signals
from streamer.wording import build_wording


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    # OpenMP's threads wait for each other by spinning, which is ruinous where others want the
    # processor too; it reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    collect_rarely()
    if sys.stdout is None:
        return _complain("standard output is closed")
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
    except _mistakes() as mistake:
        return _complain(str(mistake))
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # of our output: what it still holds must not fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        left = isinstance(error, BrokenPipeError)  # its reader has, as `| head` does
        return 0 if left else _complain(error.strerror or str(error))
    return status


def _mistakes() -> tuple[type[Exception], ...]:
    """What a user can do wrong; anything else is our own mistake and keeps its traceback."""
    return (
        config.ConfigError,
        audio_file.AudioFileError,
        caption_files.CaptionFileError,
        microphone.MicrophoneError,
        youtube.YouTubeError,
        websocket.ListenError,
    )


def _complain(text: str) -> int:
    print(f"streamer: {' '.join(text.split())}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="streamer",
        description="Speech recognition while it is being spoken.",
        epilog="Each command tells its options: streamer COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"streamer {__version__}")
    commands = parser.add_subparsers(
        prog=parser.prog, title="commands", required=True, metavar="COMMAND"
    )

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *sections: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=run)
        if sections:
            added.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML")
            config.add_flags(added, *sections)
        return added

    heard = ("model", "endpoint", "text", "keywords")
    _add_audio_files(command("transcribe", _transcribe, "recognise audio files", *heard))
    listen = command("listen", _listen, "live captions of a microphone", *heard)
    listen.add_argument("--input", metavar="DEVICE", help="number or name, see: streamer devices")
    _add_caption_files(listen)
    address = "file with the captions address of a stream"
    listen.add_argument("--youtube", type=Path, metavar="FILE", help=address)
    sections = (*heard, "engine", "server", "mqtt", "wyoming", "captions", "log")
    command("serve", _serve, "serve websockets, MQTT and Wyoming", *sections)
    evaluation.add_command(command)
    benchmark.add_command(command)
    training.add_commands(command)
    command("devices", _devices, "list the microphones")
    command("models", _models, "list the models that ship, and how to use others")
    return parser


def _add_audio_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file, - for standard input")
    channels = parser.add_mutually_exclusive_group()
    channels.add_argument(
        "--channel",
        type=int,
        metavar="NUMBER",
        help="the channel to hear, from 1 (default: the mean)",
    )
    channels.add_argument(
        "--separate", action="store_true", help="hear each channel by itself, and say which"
    )
    parser.add_argument("--realtime", action="store_true", help="read at the pace of speech")
    parser.add_argument(
        "--format", choices=("text", "json", "srt", "vtt"), default="text", help="output"
    )
    _add_caption_files(parser)


def _add_caption_files(parser: argparse.ArgumentParser) -> None:
    kinds = ", ".join(f".{kind}" for kind in caption_files.KINDS)
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"caption file that grows while people speak ({kinds}); may be given again",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an --out that exists")


def _settings(arguments: argparse.Namespace) -> config.Config:
    flags = {key: value for key, value in vars(arguments).items() if "." in key}
    return config.load(arguments.config, flags)


# --- transcribe -----------------------------------------------------------------------------------


def _transcribe(arguments: argparse.Namespace) -> int:
    """Every file in turn; a bad one is named and the others go on."""
    settings, paths, model, status = _settings(arguments), arguments.files, None, 0
    form, realtime = arguments.format, arguments.realtime
    if len(paths) > 1 and (form in ("srt", "vtt") or arguments.out):
        option = "--out" if arguments.out else f"--format {form}"
        return _complain(f"{option} takes one file, got {len(paths)}")
    for path in paths:
        try:
            with _audio(path, arguments) as file, _opened(arguments) as out:
                if model is None or model.slots < (file.columns or 1):
                    model = _built_model(settings, file.columns or 1)
                if form == "text" and len(paths) > 1:
                    print(f"==> {file.name} <==", flush=True)
                for fault in asyncio.run(
                    transcribing.transcribe(model, settings, file, form, out, realtime)
                ):
                    status = _complain(fault)
        except audio_file.AudioFileError as error:
            status = _complain(str(error))
    return status


def _audio(path: str, arguments: argparse.Namespace) -> audio_file.AudioFile:
    return audio_file.AudioFile(path, channel=arguments.channel, separate=arguments.separate)


def _opened(arguments: argparse.Namespace) -> AbstractContextManager[list[CaptionFile]]:
    return caption_files.opened(arguments.out, overwrite=arguments.overwrite)


def _built_model(settings: config.Config, slots: int) -> Model:
    from streamer import api

    return api.build_model(settings.model, slots)


# --- listen, serve --------------------------------------------------------------------------------


def _listen(arguments: argparse.Namespace) -> int:
    """Until Ctrl-C; what cannot be heard, written or posted is said before the model loads."""
    settings = _settings(arguments)
    address = youtube.read_address(arguments.youtube) if arguments.youtube else None
    with _opened(arguments) as files:
        return asyncio.run(listening.listen(settings, arguments.input, files, address))


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    logs.configure(settings.log)
    return asyncio.run(_serve_until_told(settings))


def _short(model: str) -> str:
    return Path(model).absolute().name  # a folder's own name, also of "."


async def _serve_until_told(settings: config.Config) -> int:
    """Serve until SIGTERM or Ctrl-C, then let the sessions finish; SIGHUP renews secrets."""
    from streamer import api

    serving.check(settings)
    told, renew = asyncio.Event(), asyncio.Event()
    wording = build_wording(settings.text, settings.keywords)
    secrets = settings.server.token_file or settings.server.tls_cert
    with on_hangup(renew.set) if secrets else nullcontext():
        room = settings.engine.max_sessions, settings.engine.max_batch
        model = await asyncio.to_thread(api.build_model, settings.model, *room)
        options = api.decoding_options(model, settings.model, settings.endpoint)
        latency_ms = round(model.context.latency_s(model.grid) * 1000)
        about = websocket.ServedModel(_short(settings.model.name), latency_ms)
        with on_signals(told.set):
            async with api.build_engine(model, settings.engine, wording, options) as engine:
                await serving.serve(engine, settings, about, told, renew)
    return 0


# --- devices, models ------------------------------------------------------------------------------


def _devices(_: argparse.Namespace) -> int:
    found = microphone.devices()
    if not found:
        return _complain("no microphone: the system has no audio input device")
    for each in found:
        mark = "*" if each.default else " "
        print(f"{mark} {each.index:3} {each.name} ({each.channels} ch, {each.sample_rate} Hz)")
    print("* is the default; choose with: streamer listen --input NUMBER")
    return 0


def _models(_: argparse.Namespace) -> int:
    spec = find_spec("models")
    assert spec is not None, "the package models is installed with streamer"
    for root in spec.submodule_search_locations or ():
        for weights in sorted(Path(root).glob("pretrained/*/model.safetensors")):
            print(
                f"{weights.parent.name}  {weights.stat().st_size / 2**20:.0f} MiB  {weights.parent}"
            )
    print(
        "Others: --model DIRECTORY, or a hub id of a Wav2Vec2BertForCTC checkpoint with "
        "safetensors, as in: streamer transcribe talk.wav --mode window --model OWNER/NAME"
    )
    return 0
