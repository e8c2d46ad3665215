r"""The recognizer as a library: everything is put together here and in `streamer.cli`.

A file, in three lines (`import streamer` loads these names lazily):

    import streamer
    for final in streamer.transcribe("talk.wav"):
        print(f"{final.start:7.2f} {final.text}")

A microphone, or any async source of float32 16 kHz samples, in ten:

    import asyncio, streamer

    async def main():
        async with streamer.open_engine() as engine, streamer.Microphone() as microphone:
            async for event in streamer.listen(engine, microphone):
                match event:
                    case streamer.Partial(committed=committed, tail=tail):
                        print(committed, tail, end="\r")
                    case streamer.Final(text=text):
                        print(text)

    asyncio.run(main())

A file in async code: `with streamer.AudioFile("talk.wav") as file:` its blocks are the source
`streamer.stream(file)`.

An engine with many sessions: `recognize(engine, source)` once for each source, in as many tasks as
you like, or `engine.open_session()` to send, flush and read by yourself.

Owns the way from settings to a running engine. Must not know: the command line.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from models import checkpoint
from models.acoustic import AcousticModel
from streamer.audio import Samples
from streamer.config import (
    MODEL_LM,
    NO_LM,
    Config,
    ConfigError,
    EndpointRules,
    EngineConfig,
    ModelConfig,
)
from streamer.core.context import Context, Grid
from streamer.core.decoder import BeamSearch
from streamer.core.hypothesis import Event, Final
from streamer.core.recognizer import Model
from streamer.core.scoring import NoScorer, Scorer
from streamer.edges import audio_file
from streamer.edges.microphone import Microphone
from streamer.engine.engine import Engine
from streamer.engine.runner import ModelRunner
from streamer.engine.session import Session, SessionError
from streamer.language_model import Hotwords, LanguageModel, LanguageModelError, load_ngrams

CHUNK_S = {"low": 0.16, "default": 0.32, "accurate": 0.64}
LOOKAHEAD_S = {"low": 0.0, "default": 0.0, "accurate": 0.32}
DEFAULT_BEAM = 25
WINDOW_LOOKAHEAD_S = 0.64  # a full-attention checkpoint hears badly at its window's right edge


def transcribe(path: str | Path, config: Config = Config()) -> list[Final]:  # noqa: B008 (frozen)
    """Recognise a file (WAV, FLAC, OGG, MP3; "-" is standard input); returns its finals.

    Blocks until done, so it is not for async code: there use `recognize`. Raises AudioFileError
    for what is no audio, ConfigError for a model or setting that cannot be had, RuntimeError in a
    running event loop.
    """
    _check_no_loop()
    with audio_file.AudioFile(path) as file:
        model = build_model(config.model)
        return asyncio.run(_finals(model, config, file))


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("transcribe blocks and an event loop is running here: use recognize")


async def _finals(model: Model, config: Config, file: audio_file.AudioFile) -> list[Final]:
    async with build_engine(model, config.engine) as engine:
        events = recognize(engine, audio_file.stream(file), config.endpoint)
        return [event async for event in events if isinstance(event, Final)]


@asynccontextmanager
async def open_engine(config: Config = Config()) -> AsyncIterator[Engine]:  # noqa: B008 (frozen)
    """Load the model of `config` and run an engine for the length of the block.

    Raises ConfigError for a model or setting that cannot be had.
    """
    model = await asyncio.to_thread(build_model, config.model, config.engine.max_sessions)
    async with build_engine(model, config.engine) as engine:
        yield engine


def recognize(
    engine: Engine, source: AsyncIterable[Samples], endpoint: EndpointRules | None = None
) -> AsyncGenerator[Event, None]:
    """Recognise one source of float32 (S,) samples in [-1, 1] at 16 kHz; give events as they come.

    The last one is `Closed`. Raises CapacityError when the engine is full, SessionError when the
    engine fails, and whatever the source raises, behind all events of what it gave before.
    """

    async def feed(session: Session) -> None:
        async for samples in source:
            await session.send(samples)

    return _conversation(engine, endpoint, feed)


def listen(
    engine: Engine, microphone: Microphone, endpoint: EndpointRules | None = None
) -> AsyncGenerator[Event, None]:
    """Recognise an open microphone until `microphone.finish()`; lost audio comes as `Gap`.

    Raises as `recognize`, and MicrophoneError when the device goes away.
    """

    async def feed(session: Session) -> None:
        async for block in microphone.blocks():
            if block.lost_samples:
                session.report_gap(block.lost_samples)
            await session.send(block.samples)

    return _conversation(engine, endpoint, feed)


async def _conversation(
    engine: Engine, endpoint: EndpointRules | None, feed: Callable[[Session], Awaitable[None]]
) -> AsyncGenerator[Event, None]:
    """One session: `feed` fills it in a task of its own, its events are given meanwhile."""

    async def fill(session: Session) -> None:
        try:
            await feed(session)
        except Exception:
            await session.finish()  # what was heard before is told, and then the failure
            raise
        await session.finish()

    async with engine.open_session(endpoint) as session:
        filling = asyncio.create_task(fill(session), name=f"feed slot {session.slot}")
        try:
            async for event in session:
                yield event
        finally:
            filling.cancel()
            await asyncio.wait([filling])
            failure = None if filling.cancelled() else filling.exception()
            if failure is not None and not isinstance(failure, SessionError):
                raise failure  # the source's own fault, not the reader's view of it


def build_engine(model: Model, config: EngineConfig) -> Engine:
    """An engine, not yet entered, with as many sessions as asked for and the model has slots."""
    try:
        return Engine(
            model,
            max_sessions=min(config.max_sessions, model.slots),
            max_batch=config.max_batch,
            max_backlog_s=config.max_backlog_s,
        )
    except ValueError as error:
        raise ConfigError(f"engine: {error}") from error


def build_model(config: ModelConfig, slots: int = 1) -> ModelRunner:
    """Load a model and make it ready for streams in `slots` slots; may take seconds.

    Raises ConfigError, in one sentence for the user.
    """
    return build_runner(load_acoustic(config), config, slots)


def load_acoustic(config: ModelConfig) -> AcousticModel:
    """The network alone, which several runners may share; ConfigError where there is none."""
    try:
        return checkpoint.load(config.name)
    except checkpoint.CheckpointError as error:
        raise ConfigError(str(error)) from error


def build_runner(acoustic: AcousticModel, config: ModelConfig, slots: int = 1) -> ModelRunner:
    """A loaded model made ready for streams under the geometry of `config`; raises ConfigError."""
    context = geometry(config, Grid(acoustic.hop_samples, acoustic.tail_samples))
    try:
        return ModelRunner(
            acoustic,
            mode=config.mode,
            context=context,
            slots=slots,
            device=config.device,
            dtype=config.dtype,
            search=build_search(acoustic, config),
        )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def build_search(acoustic: AcousticModel, config: ModelConfig) -> BeamSearch | None:
    """How the frames of a model are decoded by `config`, None for greedily; raises ConfigError."""
    if not config.beam and config.lm == NO_LM:
        return None
    if acoustic.vocabulary.delimiter is None:
        raise ConfigError(f"--lm and --beam: {config.name} has no delimiter between words")
    scorer: Scorer = NoScorer()
    try:
        if config.lm != NO_LM:
            own = config.lm == MODEL_LM
            path = checkpoint.find(config.name) / checkpoint.LANGUAGE_MODEL if own else config.lm
            scorer = _language_model(Path(path), config.lm_alpha, config.lm_beta)
    except (checkpoint.CheckpointError, LanguageModelError) as error:
        raise ConfigError(f"--lm {config.lm}: {error}") from error

    def biased(hotwords: Sequence[str]) -> Scorer:
        return Hotwords(scorer, hotwords, config.hotword_weight) if hotwords else scorer

    takes_hotwords = find_spec("pyctcdecode") is not None
    return BeamSearch(config.beam or DEFAULT_BEAM, biased, takes_hotwords)


@lru_cache(1)
def _language_model(path: Path, alpha: float, beta: float) -> LanguageModel:
    """Loaded once for all runners of a command."""
    return LanguageModel(load_ngrams(path), alpha=alpha, beta=beta)


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
