"""The command line, `streamer …`: it builds everything, knows everyone and is known by none.

Owns subcommands, what is printed where, signals and exit codes: 0 done, 1 a mistake that one line
on stderr names, 2 a wrong command line, 130 interrupted. Loads torch only behind parsing.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.training import commands as training
from streamer import __version__, config, messages, serving
from streamer.core.recognizer import Model
from streamer.edges import audio_file, captions, microphone, terminal, websocket
from streamer.evaluation import command as evaluation

LONG_FILE_S = 30.0  # from here on a progress bar is worth its line


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
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
        microphone.MicrophoneError,
        websocket.ListenError,
    )


def _complain(text: str) -> int:
    print(f"streamer: {' '.join(text.split())}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamer", description="Speech recognition while it is being spoken."
    )
    parser.add_argument("--version", action="version", version=f"streamer {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *sections: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=run)
        if sections:
            added.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML")
            config.add_flags(added, *sections)
        return added

    files = command("transcribe", _transcribe, "recognise audio files", "model", "endpoint")
    files.add_argument("files", nargs="+", metavar="FILE", help="audio file, - for standard input")
    files.add_argument("--realtime", action="store_true", help="read at the pace of speech")
    files.add_argument(
        "--format", choices=("text", "json", "srt", "vtt"), default="text", help="output"
    )
    listen = command("listen", _listen, "live captions of a microphone", "model", "endpoint")
    listen.add_argument("--input", metavar="DEVICE", help="number or name, see: streamer devices")
    sections = ("model", "endpoint", "engine", "server", "mqtt", "wyoming")
    command("serve", _serve, "serve websockets, MQTT and Wyoming", *sections)
    evaluation.add_command(command)
    training.add_commands(command)
    command("devices", _devices, "list the microphones")
    command("models", _models, "list the models that ship, and how to use others")
    return parser


def _settings(arguments: argparse.Namespace) -> config.Config:
    flags = {key: value for key, value in vars(arguments).items() if "." in key}
    return config.load(arguments.config, flags)


# --- transcribe -----------------------------------------------------------------------------------


def _transcribe(arguments: argparse.Namespace) -> int:
    """Every file in turn; a bad one is named and the others go on."""
    settings, paths, model, status = _settings(arguments), arguments.files, None, 0
    if arguments.format in ("srt", "vtt") and len(paths) > 1:
        return _complain(f"--format {arguments.format} takes one file, got {len(paths)}")
    for path in paths:
        try:
            with audio_file.AudioFile(path) as file:
                model = model or _built_model(settings)
                if arguments.format == "text" and len(paths) > 1:
                    print(f"==> {file.name} <==", flush=True)
                asyncio.run(_transcribe_file(model, settings, file, arguments))
        except audio_file.AudioFileError as error:
            status = _complain(str(error))
    return status


def _built_model(settings: config.Config) -> Model:
    from streamer import api

    return api.build_model(settings.model)


async def _transcribe_file(
    model: Model,
    settings: config.Config,
    file: audio_file.AudioFile,
    arguments: argparse.Namespace,
) -> None:
    from streamer import api

    show = _printer(arguments.format, live=arguments.realtime)
    with _progress(file, arguments.realtime) as progress:

        async def blocks() -> Any:
            async for block in audio_file.stream(file, realtime=arguments.realtime):
                progress(len(block) / config.SAMPLE_RATE)
                yield block

        async with (
            api.build_engine(model, settings.engine) as engine,
            aclosing(api.recognize(engine, blocks(), settings.endpoint)) as events,
        ):
            async for event in events:
                show(event)


@contextmanager
def _progress(file: audio_file.AudioFile, realtime: bool) -> Iterator[Callable[[float], object]]:
    """A bar on stderr for a long file when stderr is a terminal; takes seconds of audio read."""
    if realtime or (file.duration_s or 0.0) < LONG_FILE_S or not sys.stderr.isatty():
        yield lambda seconds: None
        return
    from tqdm import tqdm

    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    with tqdm(total=file.duration_s, bar_format=form, leave=False) as bar:
        yield bar.update


def _printer(kind: str, *, live: bool) -> Callable[[messages.Event], None]:
    """What to do with each event, by output format."""
    if kind == "json":
        return lambda event: print(messages.encode(event), flush=True)
    if kind == "text":
        return _text_printer(live=live)
    writer = captions.CaptionWriter("srt" if kind == "srt" else "vtt")
    print(writer.header(), end="")

    def add(event: messages.Event) -> None:
        if isinstance(event, messages.Final):
            print(writer.add(event), end="", flush=True)

    return add


def _text_printer(*, live: bool) -> Callable[[messages.Event], None]:
    caption = terminal.LiveCaption(sys.stdout)

    def show(event: messages.Event) -> None:
        match event:
            case messages.Partial() if live:
                caption.show(event)
            case messages.Final(text=text) if text:
                caption.show(event)
            case messages.Gap(duration=duration):
                caption.note(f"[{duration:.2f} s of audio were lost]")
            case messages.Closed():
                caption.close()

    return show


# --- listen, serve --------------------------------------------------------------------------------


def _listen(arguments: argparse.Namespace) -> int:
    return asyncio.run(_listen_until_interrupted(_settings(arguments), arguments.input))


async def _listen_until_interrupted(settings: config.Config, device: str | None) -> int:
    """Captions until Ctrl-C; then what was said last is finished and printed."""
    chosen = int(device) if device is not None and device.isdecimal() else device
    name = microphone.find(chosen).name  # first: it fails at once, a model loads for seconds
    from streamer import api

    model = await asyncio.to_thread(api.build_model, settings.model)
    show = _text_printer(live=True)
    async with (
        api.build_engine(model, settings.engine) as engine,
        microphone.Microphone(chosen) as heard,
    ):
        with _on_signals(heard.finish):
            print(f"listening to {name}; Ctrl-C ends it", file=sys.stderr, flush=True)
            async with aclosing(api.listen(engine, heard, settings.endpoint)) as events:
                async for event in events:
                    show(event)
    if heard.overruns:
        print(f"the sound system lost audio {heard.overruns} times", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return asyncio.run(_serve_until_told(_settings(arguments)))


async def _serve_until_told(settings: config.Config) -> int:
    """Serve until SIGTERM or Ctrl-C, then let the sessions finish."""
    from streamer import api

    told = asyncio.Event()
    serving.warn_of_open_hosts(settings)
    model = await asyncio.to_thread(api.build_model, settings.model, settings.engine.max_sessions)
    latency_ms = round(model.context.latency_s(model.grid) * 1000)
    about = websocket.ServedModel(Path(settings.model.name).name, latency_ms)
    with _on_signals(told.set):
        async with api.build_engine(model, settings.engine) as engine:
            await serving.serve(engine, settings, about, told)
    return 0


@contextmanager
def _on_signals(end: Callable[[], object]) -> Iterator[None]:
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
