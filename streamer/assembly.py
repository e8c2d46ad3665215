"""From settings to a model that runs and an engine around it.

Imports neither an edge nor any package beside torch, numpy and safetensors, so that an engine can
be built where nothing else is installed. Must not know: where audio comes from, the command line.
"""

import logging
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from models import checkpoint, voice_activity
from models.acoustic import AcousticModel
from streamer.config import (
    AUTO_LM,
    AUTO_WORKERS,
    DEFAULT_BEAM,
    MODEL_LM,
    NO_LM,
    ConfigError,
    EngineConfig,
    ModelConfig,
)
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch, supported
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.options import DEFAULT_OPTIONS, DecodingOptions
from streamer.core.recognizer import Model
from streamer.engine.cuda import CudaRecorder
from streamer.engine.detector import SpeechDetector
from streamer.engine.device import choose_device, eight_bit
from streamer.engine.engine import Engine
from streamer.engine.runner import ModelRunner
from streamer.language_model import LanguageModel, LanguageModelError, Scorers
from streamer.wording import PLAIN, Wording

CHUNK_S = {"low": 0.16, "default": 0.32, "accurate": 0.64}
LOOKAHEAD_S = {"low": 0.0, "default": 0.0, "accurate": 0.32}
SESSIONS_PER_WORKER = 256  # their beams take about a fifth of a processor
WINDOW_LOOKAHEAD_S = 0.64  # a full-attention checkpoint hears badly at its window's right edge

_log = logging.getLogger(__name__)


def build_engine(
    model: Model,
    config: EngineConfig,
    wording: Wording = PLAIN,
    options: DecodingOptions = DEFAULT_OPTIONS,
) -> Engine:
    """An engine, not yet entered, with as many sessions as asked for and the model has slots.

    Its sessions are decoded by `options` (see `decoding_options`) where they ask for nothing else.
    """
    if config.decode_workers > 0 and model.search is None:
        raise ConfigError("--decode-workers: greedy decoding needs none; add --lm or --beam")
    try:
        return Engine(
            model,
            max_sessions=min(config.max_sessions, model.slots),
            max_batch=config.max_batch,
            max_backlog_s=config.max_backlog_s,
            max_load=config.max_load,
            text=wording.text,
            keywords=wording.keywords,
            options=options,
            decode_workers=decode_workers(config),
        )
    except ValueError as error:
        raise ConfigError(f"engine: {error}") from error


def decode_workers(config: EngineConfig) -> int:
    """The processes that `config` asks for; by itself it leaves one processor to the model."""
    if config.decode_workers != AUTO_WORKERS:
        return config.decode_workers
    return min(config.max_sessions // SESSIONS_PER_WORKER, (os.cpu_count() or 1) - 1)


def build_model(config: ModelConfig, slots: int = 1, max_batch: int = 1) -> ModelRunner:
    """Load a model and make it ready for streams in `slots` slots; may take seconds.

    On a CUDA device also for batches of up to `max_batch`, so that none of them waits for it later.
    Raises ConfigError, in one sentence for the user.
    """
    made = build_runner(load_acoustic(config), config, slots)
    made.prepare(max_batch)
    return made


def load_acoustic(config: ModelConfig) -> AcousticModel:
    """The network alone, which several runners may share; ConfigError where there is none."""
    try:
        return checkpoint.load(config.name)
    except checkpoint.CheckpointError as error:
        raise ConfigError(str(error)) from error


def build_runner(
    acoustic: AcousticModel, config: ModelConfig, slots: int = 1, context: Context | None = None
) -> ModelRunner:
    """A loaded model made ready for streams under `context`, or else the preset's geometry.

    Raises ConfigError, in one sentence for the user.
    """
    context = context or geometry(config, Grid(acoustic.hop_samples, acoustic.tail_samples))
    try:
        device = choose_device(config.device)
        records = device.startswith("cuda") and config.cuda_graphs == "auto"
        return ModelRunner(
            acoustic,
            mode=config.mode,
            context=context,
            slots=slots,
            device=device,
            dtype=config.dtype,
            kv_dtype=config.kv_dtype,
            threads=config.threads,
            search=build_search(acoustic, config),
            detector=_build_detector(slots, device),
            recorder=CudaRecorder(device) if records else None,
        )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def number_formats(config: ModelConfig, dtype: str) -> str:
    """Of products, `dtype` unless they have 8 bits; and of kept keys and values with their own."""
    products = dtype if eight_bit(config.dtype) is None else config.dtype
    kept = config.kv_dtype if config.mode == "cache" else "auto"
    return products if kept == "auto" else f"{products}, {kept} keys and values"


def _build_detector(slots: int, device: str) -> SpeechDetector | None:
    """What hears speech where rules ask for `vad`; None where silero-vad 6 is not installed."""
    path = voice_activity.weights()
    if path is None:
        return None
    try:
        network = voice_activity.load(path)
    except ValueError as error:  # another release, perhaps of another program's
        _log.warning("no voice detector: %s", error)
        return None
    return SpeechDetector(
        network.to(device),
        frame_samples=voice_activity.FRAME_SAMPLES,
        context_samples=voice_activity.CONTEXT_SAMPLES,
        channels=voice_activity.CHANNELS,
        slots=slots,
        device=device,
    )


def build_search(acoustic: AcousticModel, config: ModelConfig) -> BeamSearch | None:
    """How the frames of a model are decoded by `config`, None for greedily; raises ConfigError."""
    has_words = acoustic.vocabulary.delimiter is not None
    if config.lm == AUTO_LM:
        is_named = acoustic.name == Path(config.name).name  # not a network made for a benchmark
        has_own = has_words and is_named and _has_own_lm(config)
        config = replace(config, lm=MODEL_LM if has_own else NO_LM)
    if not config.beam and config.lm == NO_LM:
        return None
    if not has_words:
        raise ConfigError(f"--lm and --beam: {config.name} has no delimiter between words")
    scorers = _scorers(config)
    has_lm = scorers.language_model is not None
    takes_hotwords = find_spec("pyctcdecode") is not None
    return BeamSearch(config.beam or DEFAULT_BEAM, scorers, takes_hotwords, has_lm)


def _own_lm(config: ModelConfig) -> Path:
    return checkpoint.find(config.name) / checkpoint.LANGUAGE_MODEL


def _has_own_lm(config: ModelConfig) -> bool:
    """Whether a language model lies beside the checkpoint, and can be read here."""
    if not _own_lm(config).is_file():
        return False
    missing = [name for name in ("kenlm", "pyctcdecode") if find_spec(name) is None]
    if missing:
        _log.info("no language model: %s needs pip install -e '.[lm]'", config.name)
    return not missing


def load_language_model(config: ModelConfig) -> LanguageModel:
    """The one that `config` names; ConfigError where it cannot be had."""
    found = _scorers(config).language_model
    assert found is not None, config.lm
    return found


def _scorers(config: ModelConfig) -> Scorers:
    try:
        path = None if config.lm == NO_LM else Path(config.lm)
        if config.lm == MODEL_LM:
            path = _own_lm(config)
        return Scorers(path, config.lm_alpha, config.lm_beta, config.hotword_letter_weight)
    except (checkpoint.CheckpointError, LanguageModelError) as error:
        raise ConfigError(f"--lm {config.lm}: {error}") from error


def check_endpoint(model: Model, endpoint: EndpointRules) -> None:
    """Raise ConfigError for rules that cannot be had."""
    if endpoint.vad and model.detector is None:
        raise ConfigError("--vad needs the package silero-vad: pip install -e '.[vad]'")


def decoding_options(
    model: Model, config: ModelConfig, endpoint: EndpointRules = DEFAULT_RULES
) -> DecodingOptions:
    """What `config` asks of the decoding of every stream.

    ConfigError for what cannot be had, also by the endpoint rules.
    """
    check_endpoint(model, endpoint)
    options = DecodingOptions(n_best=config.n_best, stability=config.stability)
    if supported(model.search, options)[1]:
        raise ConfigError("--n-best: greedy decoding has one hypothesis; add --lm or --beam")
    return options


def geometry(config: ModelConfig, grid: Grid) -> Context:
    """The window of a preset, in the model's frames."""

    def frames(seconds: float) -> int:
        return grid.covering_frames(Grid.samples_in(seconds))

    lookahead_s = LOOKAHEAD_S[config.preset]
    if config.mode == "window":
        lookahead_s = max(lookahead_s, WINDOW_LOOKAHEAD_S)
    return Context(
        left=frames(config.left_context_s),
        chunk=frames(CHUNK_S[config.preset]),
        right=frames(lookahead_s),
    )
