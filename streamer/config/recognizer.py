"""The settings of what recognises: the model, its engine, and how text is put."""

from dataclasses import dataclass
from typing import Literal

from streamer.core.keywords import DEFAULT_THRESHOLD
from streamer.core.options import MAX_N_BEST, Stability
from streamer.schema import check_range, setting

AUTO_LM, NO_LM, MODEL_LM = "auto", "none", "model"
AUTO_WORKERS = -1
DEFAULT_BEAM = 25  # beams of a search that is asked for without a number

Mode = Literal["cache", "window"]
Preset = Literal["low", "default", "accurate"]
Device = Literal["auto", "cpu", "cuda"]
Switch = Literal["auto", "off"]
Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8", "float8"]
KvDtype = Literal["auto", "int8", "float8"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model listens, and how its windows are cut."""

    name: str = setting("tiny-en", "shipped model, directory or hub id", "--model")
    mode: Mode = setting("cache", "cache: state between chunks; window: any checkpoint, re-encoded")
    preset: Preset = setting(
        "default", "latency: low 160 ms, default 320 ms, accurate 640 + 320 ms"
    )
    left_context_s: float = setting(3.2, "seconds before the chunk that the encoder sees")
    device: Device = setting("auto", "where the model runs")
    dtype: Dtype = setting(
        "auto", "number format of the model; int8: faster on CPUs, float8: on GPUs"
    )
    kv_dtype: KvDtype = setting(
        "auto",
        "keys and values kept in cache mode: auto: as dtype; int8, float8: in half the memory",
    )
    threads: int = setting(0, "threads of the model on a CPU; 0: as many as measure best")
    cuda_graphs: Switch = setting("auto", "auto: record the steps of a CUDA device; off: do not")
    lm: str = setting(
        AUTO_LM,
        "language model: model (the checkpoint's own), none, a file; auto: its own if it has one",
    )
    lm_alpha: float = setting(0.5, "weight of the language model")
    lm_beta: float = setting(1.0, "what every word scores beside it")
    beam: int = setting(0, "beams of the search; 0: 25 with a language model, greedy without")
    hotword_letter_weight: float = setting(
        1.0, "what each letter of a word scores that a client expects and gives no weight"
    )
    n_best: int = setting(1, "hypotheses that a final tells, with beams")
    stability: Stability = setting("low", "low: partials show all; high: nothing that may change")

    def __post_init__(self) -> None:
        check_range("threads", self.threads, 0, 1_024)
        check_range("left_context_s", self.left_context_s, 0.0, 60.0)
        check_range("lm_alpha", self.lm_alpha, 0.0, 10.0)
        check_range("lm_beta", self.lm_beta, -10.0, 10.0)
        check_range("beam", self.beam, 0, 500)
        check_range("hotword_letter_weight", self.hotword_letter_weight, 0.0, 10.0)
        check_range("n_best", self.n_best, 1, MAX_N_BEST)


@dataclass(frozen=True, slots=True)
class TextConfig:
    """How words are put; docs/text.md."""

    written: bool = setting(False, "finals carry numbers, times and money as one writes them too")
    mask_profanity: bool = setting(False, "show only the first letter of profane words")
    redact_numbers: bool = setting(False, "put [number] for every number, in all text")
    profanity_file: str = setting("", "file of profane words, one a line; without: a list of ours")


@dataclass(frozen=True, slots=True)
class KeywordConfig:
    """Which phrases are listened for; docs/keywords.md."""

    file: str = setting("", "file of phrases to listen for, one a line", "--keywords")
    threshold: float = setting(
        DEFAULT_THRESHOLD, "score from which one is heard", "--keyword-threshold"
    )

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0.001, 1.0)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much work one engine takes on."""

    max_sessions: int = setting(32, "sessions open at once; more are refused")
    max_batch: int = setting(32, "windows of one batch")
    max_backlog_s: float = setting(10.0, "undecoded audio of one session; more makes it wait")
    max_load: float = setting(
        0.9, "share of the device's time, and decoders', for sessions; 0: any"
    )
    decode_workers: int = setting(
        AUTO_WORKERS, "processes that search beams; 0: the model's thread; -1: by max_sessions"
    )

    def __post_init__(self) -> None:
        check_range("max_sessions", self.max_sessions, 1, 100_000)
        check_range("max_batch", self.max_batch, 1, 4_096)
        check_range("max_load", self.max_load, 0.0, 1.0)
        check_range("max_backlog_s", self.max_backlog_s, 1.0, 600.0)
        check_range("decode_workers", self.decode_workers, AUTO_WORKERS, 256)
