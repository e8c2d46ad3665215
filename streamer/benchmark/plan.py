"""What is to be measured: one model under one geometry, and how.

Owns the values; must not know how they come to be or what is made of them.
"""

from dataclasses import dataclass

from streamer.config import Config, Dtype


@dataclass(frozen=True, slots=True)
class Plan:
    """One condition of a benchmark."""

    name: str
    settings: Config
    random: bool = False  # full size, random weights, instead of the model that is named
    chunk_s: float | None = None  # instead of the preset's
    lookahead_s: float | None = None
    side_by_side: bool = False
    formats: tuple[Dtype, ...] = ()  # in which our own model is timed beside it, too
    window_lookahead_s: float | None = None  # of the windows beside it; None: as in cache mode
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    step_seconds: float = 1.0  # of timing for each batch size
    search: bool = True
    fixed_streams: tuple[int, ...] = ()  # runs asked for, instead of a search
    most_streams: int = 256
    seconds: float = 10.0
    warm_up_s: float = 3.0
    packet_ms: int = 80
    confirmations: int = 1
    websocket: bool = False
    url: str | None = None
