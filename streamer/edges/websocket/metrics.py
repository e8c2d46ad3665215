"""What is measured, in Prometheus' text format: the engine's totals and the server's connections.

Owns names and labels. No label holds anything that a peer has chosen: statuses and close codes are
ours, every other code is "other". Must not know: HTTP, sessions.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamer.config import SAMPLE_RATE
from streamer.edges.websocket.peer import ENDINGS
from streamer.engine.engine import Engine
from streamer.engine.meter import Histogram

__all__ = ["CONTENT_TYPE", "Metrics"]

OWN_CODES = {1000, 1001, 1006, 1009, *(each.close_code for each in ENDINGS.values())}


class Metrics:
    """The measures of one server, in a registry of their own."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine))
        self._open = Gauge(
            "streamer_connections", "Open websockets.", ["kind"], registry=self._registry
        )
        self._closed = Counter(
            "streamer_connections_closed",
            "Websockets that have ended, by close code; 1006 ended without one.",
            ["kind", "code"],
            registry=self._registry,
        )
        self._answers = Counter(
            "streamer_http_answers",
            "Answers over HTTP, refused websockets among them.",
            ["status"],
            registry=self._registry,
        )

    def opened(self, kind: str) -> None:
        """A websocket is open."""
        self._open.labels(kind).inc()

    def closed(self, kind: str, code: int | None) -> None:
        """It has ended."""
        self._open.labels(kind).dec()
        self._closed.labels(kind, str(code) if code in OWN_CODES else "other").inc()

    def answered(self, status: int) -> None:
        """A request was answered over HTTP."""
        self._answers.labels(str(status)).inc()

    def text(self) -> bytes:
        """All of it, as a scrape gets it."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        now = self._engine.measured()
        meter = now.meter
        yield _gauge("sessions", "Open sessions, of every edge.", now.sessions)
        yield _gauge("session_slots", "Sessions that can be open at once.", now.slots)
        yield _gauge("sessions_waiting", "Sessions whose next window waits.", now.waiting)
        yield _counter("sessions_opened", "Sessions opened.", meter.sessions_opened)
        yield _counter("sessions_refused", "Sessions refused.", meter.sessions_refused)
        for what, samples in (
            ("received", now.received_samples),
            ("decoded", now.decoded_samples),
            ("lost", now.lost_samples),
        ):
            text = f"Audio that was {what}."
            yield _counter(f"audio_{what}_seconds", text, samples / SAMPLE_RATE)
        yield _gauge("decoders", "Decoding processes that are ready.", now.decoders)
        yield _counter("decoder_deaths", "Decoding processes that have died.", now.decoder_deaths)
        yield _histogram("step_seconds", "One trip of a batch to the device.", meter.step_s)
        yield _histogram("batch_size", "Windows of a batch.", meter.batch)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"streamer_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"streamer_{name}", text, value=value)


def _histogram(name: str, text: str, measured: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    bounds: Sequence[float] = (*measured.bounds, float("inf"))
    for bound, count in zip(bounds, measured.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), total))
    return HistogramMetricFamily(f"streamer_{name}", text, buckets=buckets, sum_value=measured.sum)
