"""The HTML report: the tables, and charts of the same figures."""

from collections.abc import Iterator
from html import escape

from streamer.benchmark import plots, table
from streamer.benchmark.results import Condition, Results
from streamer.reporting import page as pages

STYLE = "td:last-child { min-width: 14rem }"  # why a run does not hold
DEFINITIONS = {
    "Load": "An open loop: each packet of each stream has its time before the run begins, streams "
    "begin at different moments, and each says something of its own. What is late is sent at once, "
    "and its latency still counts from when it was due.",
    "Step": "From the moment at which a chunk's last sample is due to the model's answer.",
    "Partial": "From the same moment to the first partial with words of that chunk.",
    "Final": "From a last word's end to its final; the silence that the endpoint rule wants is in "
    "it.",
    "Wait": "Mean of the time between a chunk's last sample and the begin of its step; a packet's "
    "length is part of it.",
    "Slope": "How much later chunks are done with every second (Theil–Sen over medians of half a "
    "second); a run holds if its 95 % interval reaches 0 or below.",
    "Holds": "99th percentile of partials (of steps where no words were heard) at most a chunk and "
    "500 ms, no growing backlog, no failed stream.",
    "Device": "Share of the time in which a step ran.",
    "Host": "Processor time of the thread with the event loop, in % of a core; in-process runs "
    "have the load generator's in it.",
    "Late": "How late the load generator sent, 99th percentile.",
    "Streams it could just carry": "Audio per second of computing, in a closed loop of full "
    "batches: an upper bound that leaves no time for anything else.",
}


def page(results: Results) -> str:
    """The whole page."""
    parts = [part for each in results.conditions for part in _condition(each)]
    parts.append(pages.definitions(DEFINITIONS))
    return pages.page("benchmark", results.about, parts, STYLE)


def _condition(condition: Condition) -> Iterator[str]:
    yield f"<h2>{escape(condition.name)}</h2>"
    for sentence in table.verdict(condition):
        yield f"<p>{escape(sentence)}</p>"
    if condition.contenders:
        yield pages.table(table.steps(condition))
        yield pages.picture(plots.throughput(condition), "throughput against batch size")
    if condition.runs:
        yield pages.table(table.runs(condition))
    if any(run.partial or run.step for run in condition.runs):
        yield pages.picture(plots.latencies(condition), "latency against streams")
    if any(run.device_busy is not None for run in condition.runs):
        yield pages.picture(plots.shares(condition), "where the time goes")
