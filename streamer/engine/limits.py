"""Whether an engine's limits fit its model. Must not know: sessions, tasks."""

from streamer.core.recognizer import Model


def check(model: Model, max_sessions: int, max_backlog_s: float) -> None:
    """Raise ValueError for limits that the model cannot keep."""
    if not 1 <= max_sessions <= model.slots:
        raise ValueError(
            f"expected max_sessions from 1 to the model's {model.slots} slots, got {max_sessions}"
        )
    latency_s = model.context.latency_s(model.grid)
    if max_backlog_s < latency_s:
        raise ValueError(
            f"expected max_backlog_s to hold a window ({latency_s} s), got {max_backlog_s}"
        )
