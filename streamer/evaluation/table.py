"""The figures as one table of text: a line for each figure, a column for each condition.

Owns labels and units of the terminal's table, which the report shows as well.
"""

from collections.abc import Callable, Iterator, Sequence

from streamer.evaluation.measures import Edits, Hits, Spread
from streamer.evaluation.results import Errors, Figures, Results
from streamer.reporting.table import NOTHING, Row, number, shortened

LABEL_WIDTH = 50


def rows(results: Results) -> list[Row]:
    """All lines of the table."""
    figures = results.figures
    found = [Row("", tuple(each.name for each in figures))]

    def add(label: str, cell: Callable[[Figures], str]) -> None:
        cells = tuple(cell(each) for each in figures)
        if set(cells) != {NOTHING}:
            found.append(Row(label, cells))

    if any(each.errors.words.length for each in figures):
        add("WER %", lambda each: percent(each.errors.words.rate))
        add("  substituted / deleted / inserted", lambda each: edits(each.errors.words))
        add("CER %", lambda each: percent(each.errors.characters.rate))
        add("  substituted / deleted / inserted", lambda each: edits(each.errors.characters))
    add("spurious words per minute", lambda each: number(each.spurious_words_per_min, 2))
    add("calibration error (ECE)", lambda each: number(each.calibration_error, 3))
    add("  power that would calibrate", lambda each: number(each.calibrating_exponent, 2))
    _add_live_rows(add)
    add(
        "real-time factor, one stream",
        lambda each: number(each.computing.alone_real_time_factor, 3),
    )
    add("  step p50 / p95 ms", lambda each: milliseconds(each.computing.alone_step_s))
    streams = {each.computing.streams for each in figures}
    add(
        f"real-time factor, {'/'.join(map(str, sorted(streams)))} side by side",
        lambda each: number(each.computing.real_time_factor, 3),
    )
    if any(each.hotwords.said or each.hotwords.heard for each in figures):
        add("hotwords recall %", lambda each: percent(each.hotwords.recall))
        add("  precision %", lambda each: percent(each.hotwords.precision))
        add("  said / heard / right", lambda each: hits(each.hotwords))
    return found + list(_group_rows("source", [each.by_source for each in figures]))


def overview(results: Results) -> list[Row]:
    """The few figures by which many conditions are compared: here a line for each condition."""
    figures = results.figures
    columns: dict[str, list[str]] = {}

    def add(heading: str, cell: Callable[[Figures], str]) -> None:
        cells = [cell(each) for each in figures]
        if set(cells) != {NOTHING}:
            columns[heading] = cells

    add("WER %", lambda each: percent(each.errors.words.rate))
    add("CER %", lambda each: percent(each.errors.characters.rate))
    add("unstable", lambda each: _flicker(each, "unstable_word_ratio"))
    add("erasure", lambda each: _flicker(each, "normalized_erasure"))
    for name in ("emission", "commit", "final"):
        add(f"{name} ms", lambda each, name=name: _latency(each, f"{name}_s"))  # type: ignore[misc]
    add("RTF", lambda each: number(each.computing.alone_real_time_factor, 3))
    add("recall %", lambda each: percent(each.hotwords.recall))
    add("precision %", lambda each: percent(each.hotwords.precision))
    lines = zip(*columns.values(), strict=True)
    return [
        Row("", tuple(columns)),
        *(Row(each.name, cells) for each, cells in zip(figures, lines, strict=True)),
    ]


def _add_live_rows(add: Callable[[str, Callable[[Figures], str]], None]) -> None:
    """What only live streams have."""
    add(
        "latency of the algorithm ms",
        lambda each: number(1000 * each.latency.algorithm_s if each.latency else None, 0),
    )
    add("first token p50 / p95 ms", lambda each: _latency(each, "first_token_s"))
    add("emission p50 / p95 ms", lambda each: _latency(each, "emission_s"))
    add("commit p50 / p95 ms", lambda each: _latency(each, "commit_s"))
    add("final p50 / p95 ms", lambda each: _latency(each, "final_s"))
    add("unstable word ratio", lambda each: _flicker(each, "unstable_word_ratio"))
    add("normalised erasure", lambda each: _flicker(each, "normalized_erasure"))


def _latency(each: Figures, name: str) -> str:
    return milliseconds(getattr(each.latency, name, None))


def _flicker(each: Figures, name: str) -> str:
    return number(getattr(each.flicker, name, None), 3)


def _group_rows(name: str, groups: Sequence[dict[str, Errors]]) -> Iterator[Row]:
    if not groups or not groups[0]:
        return
    yield Row(f"WER / CER % by {name} (words)")
    for each, errors in groups[0].items():
        label = f"{shortened(each, LABEL_WIDTH - 10)} ({errors.words.length})"
        cells = [
            f"{percent(group[each].words.rate)} / {percent(group[each].characters.rate)}"
            for group in groups
        ]
        yield Row(f"  {label}", tuple(cells))


def percent(rate: float | None) -> str:
    """One digit behind the point."""
    return NOTHING if rate is None else f"{100 * rate:.1f}"


def milliseconds(spread: Spread | None) -> str:
    """Median and 95th percentile."""
    if spread is None:
        return NOTHING
    return f"{1000 * spread.p50:.0f} / {1000 * spread.p95:.0f}"


def edits(counts: Edits) -> str:
    """Substitutions, deletions, insertions."""
    return f"{counts.substitutions} / {counts.deletions} / {counts.insertions}"


def hits(counts: Hits) -> str:
    """Said, heard, and heard where they were said."""
    return f"{counts.said} / {counts.heard} / {counts.right}"
