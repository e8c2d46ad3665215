"""`streamer evaluate`: its options, and how its parts are put together.

Owns the command's options, its progress bar and what is written where. It is a composition root
beside `streamer.cli` and `streamer.api`: it alone of this package knows how a model is built.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from streamer import __version__, config
from streamer.config import Config, ConfigError
from streamer.core.options import DecodingOptions, Hotword
from streamer.evaluation.conditions import DECODINGS, Asked, crossed, with_language_model
from streamer.evaluation.normalization import DESCRIPTIONS, NORMALIZATIONS, Normalize
from streamer.reporting import machine

if TYPE_CHECKING:
    from models.acoustic import AcousticModel
    from streamer.engine.runner import ModelRunner
    from streamer.evaluation.experiment import Item, Setting
    from streamer.evaluation.manifest import Recording
    from streamer.evaluation.results import Results

REPEATED = {"model.mode", "model.preset", "model.stability"}
RARE = "rare"
PACKAGES = ("jiwer", "matplotlib")


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `evaluate` to the commands; `command(name, run, text)` makes its parser."""
    text = "measure a model: error rates, latency, flicker; table, JSON, report"
    add_arguments(command("evaluate", run, text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser the options of `streamer evaluate`."""
    parser.epilog = "--mode, --preset, --decoding, --stability may be repeated: they are crossed."
    _add_recordings(parser)
    add = parser.add_argument
    add(
        "--normalize",
        choices=tuple(NORMALIZATIONS),
        default="basic",
        help=f"of texts before they are compared (default: basic: {DESCRIPTIONS['basic']})",
    )
    add(
        "--batch",
        type=_count,
        default=32,
        metavar="N",
        help="streams side by side (default: 32); changes the computing time only",
    )
    add(
        "--decoding",
        action="append",
        default=[],
        choices=DECODINGS,
        help="how frames are decoded, instead of what --lm and --beam say; may be repeated",
    )
    add(
        "--hotwords",
        metavar=f"FILE|{RARE}",
        help="words whose recall is counted, and which hotword decodings are told: a file, one a "
        f"line, or {RARE}: rare words of the texts and as many that nobody says",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures and texts")
    add("--html", type=Path, metavar="FILE", help="write a report with plots")
    add("--config", type=Path, metavar="FILE", help="settings, in TOML")
    config.add_flags(parser, "model", "endpoint", repeated=REPEATED)


def _add_recordings(parser: argparse.ArgumentParser) -> None:
    """What is listened to."""
    parser.add_argument(
        "manifests",
        nargs="*",
        type=Path,
        metavar="MANIFEST",
        help="TSV with a header (id, path, text; perhaps speaker, source), JSON lines with the "
        "same keys, or the table of a packed shard",
    )

    def add(option: str, metavar: str, text: str, kind: type = str) -> None:
        parser.add_argument(
            option, action="append", default=[], type=kind, metavar=metavar, help=text
        )

    add("--noise", "MANIFEST", "recordings without speech: spurious words are counted", Path)
    add("--only", "TEXT", "only recordings with TEXT in their path; may be repeated")
    add("--leave-out", "PREFIX", "no recordings whose id begins with PREFIX; may be repeated")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N recordings")


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write what was asked for; returns the exit status.

    Raises ConfigError or AudioFileError, in one sentence for the user.
    """
    _check_packages()
    _check_folders(arguments.json, arguments.html)
    settings, asked = _settings(arguments)
    recordings = _recordings(arguments)
    from streamer import api
    from streamer.evaluation import table
    from streamer.evaluation.experiment import Experiment
    from streamer.evaluation.results import Results, summarize
    from streamer.reporting.table import as_text

    normalize = NORMALIZATIONS[arguments.normalize]
    items = _expecting(_items(recordings, normalize), arguments, settings)
    acoustic = api.load_acoustic(settings.model)
    whole = api.build_runner(acoustic, asked[0][0].model)
    api.check_endpoint(whole, settings.endpoint)
    about = _about(arguments, settings, whole, recordings, items)
    with _progress((1 + len(asked)) * sum(item.duration_s for item in items)) as progress:
        experiment = Experiment(items, normalize, settings.endpoint, arguments.batch, progress)
        conditions = [experiment.offline(whole, " ".join(["offline", *arguments.decoding[:1]]))]
        for geometry in asked:
            conditions += experiment.streamed(
                [_setting(acoustic, each, items) for each in geometry]
            )
    figures = [summarize(each, experiment.items) for each in conditions]
    results = Results(about, experiment.items, conditions, figures)
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    rows = table.overview(results) if len(asked[0]) > 1 else table.rows(results)
    print(f"\n{as_text(rows)}", flush=True)
    _write(arguments, results, whole)
    return 0


def _setting(acoustic: "AcousticModel", asked: Asked, items: "Sequence[Item]") -> "Setting":
    """A condition made ready: how its model is built, and what its streams ask for."""
    from streamer import api
    from streamer.evaluation.experiment import Setting

    build = partial(api.build_runner, acoustic, asked.model)
    plain = api.decoding_options(build(), asked.model)
    told = {item.recording.id: item.hotwords for item in items if asked.is_biased}

    def options(recording: "Recording") -> DecodingOptions:
        words = sorted(told.get(recording.id, ()))
        return replace(plain, hotwords=tuple(Hotword(word) for word in words))

    return Setting(asked.name, partial(build), options)


def _check_packages() -> None:
    for name in PACKAGES:
        if find_spec(name) is None:
            raise ConfigError(f"evaluate needs the package {name}: pip install -e '.[evaluate]'")


def _check_folders(*paths: Path | None) -> None:
    """Before the work, not behind it."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"cannot write {path}: there is no folder {path.parent}")
        if path is not None and path.is_dir():
            raise ConfigError(f"cannot write {path}: it is a folder")


def _settings(arguments: argparse.Namespace) -> tuple[Config, list[list[Asked]]]:
    """The settings, and the conditions asked for, by geometry."""
    flags = {key: value for key, value in vars(arguments).items() if "." in key}
    modes, presets, stabilities = (
        flags.pop(f"model.{key}", []) for key in ("mode", "preset", "stability")
    )
    settings = config.load(arguments.config, flags)
    asked = crossed(settings.model, modes, presets, arguments.decoding, stabilities)
    if any(each.is_biased for each in asked[0]):
        if arguments.hotwords is None:
            raise ConfigError(f"a decoding with hotwords needs --hotwords FILE or {RARE}")
        if find_spec("pyctcdecode") is None:
            raise ConfigError("hotwords need the package pyctcdecode: pip install -e '.[lm]'")
    return settings, asked


def _expecting(
    items: "list[Item]", arguments: argparse.Namespace, settings: Config
) -> "list[Item]":
    """The items with the hotwords asked for."""
    from streamer.assembly import load_language_model
    from streamer.evaluation import hotwords

    if arguments.hotwords is None:
        return items
    if arguments.hotwords == RARE:
        ranked = load_language_model(with_language_model(settings.model)).ranked_words()
        if not ranked:
            raise ConfigError(f"--hotwords {RARE} needs an --lm whose words can be listed: ARPA")
        return hotwords.rare(items, ranked)
    return hotwords.from_file(items, Path(arguments.hotwords), NORMALIZATIONS[arguments.normalize])


def _recordings(arguments: argparse.Namespace) -> "list[Recording]":
    from streamer.evaluation import manifest

    if not (arguments.manifests or arguments.noise):
        raise ConfigError("evaluate needs a MANIFEST, or --noise MANIFEST")
    try:
        found = [each for path in arguments.manifests for each in manifest.read(path)]
        for path in arguments.noise:
            found += manifest.read(path, speech=False)
        return manifest.select(found, arguments.only, arguments.leave_out, arguments.limit)
    except manifest.ManifestError as error:
        raise ConfigError(str(error)) from error


def _items(recordings: "Sequence[Recording]", normalize: Normalize) -> "list[Item]":
    """The recordings with lengths and references, without those of which no text is left."""
    from streamer.evaluation.experiment import Item
    from streamer.evaluation.offline import LONGEST_RECORDING_S

    items = []
    for each in recordings:
        reference, duration_s = tuple(normalize(each.text).split()), each.duration_s()
        if duration_s > LONGEST_RECORDING_S:
            raise ConfigError(
                f"{each.id} has {duration_s:.0f} s; evaluate takes recordings up to "
                f"{LONGEST_RECORDING_S:.0f} s: cut it at pauses"
            )
        if reference or not each.text.strip():
            items.append(Item(each, duration_s, reference))
    if not items:
        raise ConfigError("nothing is left of any text behind --normalize")
    return items


def _about(
    arguments: argparse.Namespace,
    settings: Config,
    whole: "ModelRunner",
    recordings: "Sequence[Recording]",
    items: "Sequence[Item]",
) -> dict[str, str]:
    """What is measured, how and where."""
    from streamer.assembly import number_formats

    dtype = str(whole.dtype).removeprefix("torch.")
    minutes = sum(item.duration_s for item in items) / 60
    words = sum(len(item.reference) for item in items)
    skipped = len(recordings) - len(items)
    left_out = f"; {skipped} left out, since normalisation leaves no text" if skipped else ""
    return {
        "model": settings.model.name,
        "recordings": f"{len(items)}, {minutes:.1f} min, {words} words{left_out}",
        "normalisation": f"{arguments.normalize} ({DESCRIPTIONS[arguments.normalize]})",
        "computed": f"{whole.device}, {number_formats(settings.model, dtype)}, "
        f"{machine.processor()}, cores: {machine.cores()}",
        "date": f"{date.today().isoformat()}, streamer {__version__}",
    }


@contextmanager
def _progress(total_s: float) -> Iterator[Callable[[float], object]]:
    """A bar on stderr when that is a terminal; takes seconds of audio that are done."""
    from tqdm import tqdm

    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}]"
    with tqdm(total=total_s, bar_format=form, leave=False, disable=None) as bar:
        yield bar.update


def _write(arguments: argparse.Namespace, results: "Results", whole: "ModelRunner") -> None:
    if arguments.json is not None:
        text = json.dumps(results.to_json(), ensure_ascii=False, indent=1)
        _write_text(arguments.json, text + "\n")
    if arguments.html is not None:
        from streamer.evaluation import report

        _write_text(arguments.html, report.page(results, whole))


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
