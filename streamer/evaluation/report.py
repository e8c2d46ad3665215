"""The HTML report: one file without any outside resource.

Owns the page, its words and which recordings are shown. Every text from outside is escaped.
"""

from collections.abc import Iterator, Sequence
from html import escape

from streamer.evaluation import plots, table
from streamer.evaluation.experiment import Condition, Item, Outcome
from streamer.evaluation.offline import OfflineModel, reference_times
from streamer.evaluation.results import Figures, Results

WORST = 8
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #e4e7eb }
td:first-child, th:first-child { text-align: left; white-space: pre }
dt { font-weight: 600; margin-top: .4rem } dd { margin-left: 1.2rem }
img { max-width: 100% } .wide { overflow-x: auto } .wide img { max-width: none }
.pair { display: inline-block; text-align: center; margin: 0 .25rem .4rem 0; padding: 0 .2rem;
  border-radius: .2rem; min-width: .8rem }
.pair span { display: block; min-height: 1.5em }
.substitute { background: #f8e3b8 } .delete { background: #f5c6c4 } .insert { background: #cfdcea }
small { color: #52606d }
"""
DEFINITIONS = {
    "Time": "Seconds of audio, never of a clock. An event's time is the audio that its stream had "
    "received when it came out; streams are fed in packets of 20 ms and followed by silence. "
    "Computing is not in it: it is the real-time factor and the step time.",
    "Reference word times": "Forced alignment (Viterbi) of the reference under this model's own "
    "CTC log-probs with full context. Only words that are right count for latency.",
    "WER, CER": "Substituted, deleted and inserted words (characters) per reference word "
    "(character), pooled; recordings without a reference are left out.",
    "Spurious words": "Words heard in recordings without a reference, per minute.",
    "First token": "The first partial with text, less the first reference word's start.",
    "Emission": "When a word is shown at its place and stays, less its end.",
    "Commit": "When a word is committed or final, less its end.",
    "Final": "The last final, less the last reference word's end; the endpoint rule's silence is "
    "in it. Finals that only the end of the audio made do not count.",
    "Unstable word ratio": "Words of a partial that the next one has not at the same place, per "
    "word of the finals.",
    "Normalised erasure": "Words of a partial from the first difference to the next one on, per "
    "word of the finals.",
    "Calibration error (ECE)": "Distance between mean confidence and share of right words in ten "
    "bins of confidence, weighted by words.",
    "Real-time factor": "Computing time per second of audio.",
}


def page(results: Results, model: OfflineModel) -> str:
    """The whole page; `model` gives the posteriors of the worst recordings."""
    title = f"{results.about.get('model', 'model')}: evaluation"
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<p>" + "<br>".join(f"{escape(k)}: {escape(v)}" for k, v in results.about.items()) + "</p>",
        _table(table.rows(results)),
        *_charts(results),
        *_worst(results, model),
        "<h2>What the figures mean</h2>",
        "<dl>" + "".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in DEFINITIONS.items()) + "</dl>",
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(rows: Sequence[table.Row]) -> str:
    lines = []
    for index, row in enumerate(rows):
        mark = "th" if index == 0 or not row.cells else "td"
        cells = "".join(f"<{mark}>{escape(text)}</{mark}>" for text in (row.label, *row.cells))
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _picture(uri: str, text: str) -> str:
    return f'<img alt="{escape(text)}" src="{uri}">'


def _charts(results: Results) -> Iterator[str]:
    figures = results.figures
    if any(each.errors.words.length for each in figures):
        yield "<h2>Word error rate</h2>"
        words = {each.name: each.errors.words for each in figures}
        yield _picture(plots.errors_by_condition(words), "word error rate by condition")
    live = [each for each in results.conditions if each.latency_s is not None]
    panels = {
        title: {each.name: _latencies(each, name) for each in live}
        for title, name in (
            ("first token", "first_token_s"),
            ("emission", "emission_s"),
            ("commit", "commit_s"),
            ("final", "final_s"),
        )
    }
    if any(values for lines in panels.values() for values in lines.values()):
        yield "<h2>Latency</h2>"
        yield _picture(plots.distributions(panels), "share of words below a latency")
    yield from _group_charts(figures)
    if any(each.calibration for each in figures):
        yield "<h2>Calibration</h2>"
        bins = {each.name: each.calibration for each in figures}
        yield _picture(plots.reliability(bins), "share of right words by confidence")


def _latencies(condition: Condition, name: str) -> list[float]:
    """All values of one latency, whether an outcome has one, none or one for each word."""
    found: list[float] = []
    for outcome in condition.outcomes:
        value: float | tuple[float, ...] | None = getattr(outcome, name)
        if value is not None:
            found += value if isinstance(value, tuple) else (value,)
    return found


def _group_charts(figures: Sequence[Figures]) -> Iterator[str]:
    for name in ("source", "speaker"):
        groups = {each.name: getattr(each, f"by_{name}") for each in figures}
        count = len(next(iter(groups.values())))
        if count:
            yield f"<h2>Word error rate by {name}</h2>"
            words = {
                condition: {key: errors.words for key, errors in each.items()}
                for condition, each in groups.items()
            }
            yield _picture(plots.errors_by_group(words), f"word error rate by {name}")
            if count > plots.MOST_GROUPS:
                yield f"<p><small>the worst {plots.MOST_GROUPS} of {count}</small></p>"


def _worst(results: Results, model: OfflineModel) -> Iterator[str]:
    """The recordings with most errors under the first streamed condition."""
    condition = results.conditions[min(1, len(results.conditions) - 1)]
    ranked = sorted(
        (pair for pair in zip(condition.outcomes, results.items, strict=True) if pair[1].reference),
        key=lambda pair: (-pair[0].word_edits.errors, pair[1].recording.id),
    )[:WORST]
    if not ranked:
        return
    yield f"<h2>Most errors, {escape(condition.name)}</h2>"
    yield (
        "<p>Reference above, hypothesis below. The picture has the spectrogram, the posteriors "
        "with full context over it, and the aligned reference on top.</p>"
    )
    for outcome, item in ranked:
        yield _one_of_worst(outcome, item, model)


def _one_of_worst(outcome: Outcome, item: Item, model: OfflineModel) -> str:
    samples = item.recording.samples()
    (log_probs,) = model.offline([samples])
    times = reference_times(model.grid, model.labels, log_probs, item.reference)
    shown = plots.Utterance(samples, log_probs, model.grid, model.labels, item.reference, times)
    count = f"{outcome.word_edits.errors} errors in {outcome.word_edits.length} words"
    about = (item.recording.source, item.recording.speaker, count)
    return (
        f"<h3>{escape(item.recording.id)} "
        f"<small>{escape(' · '.join(text for text in about if text))}</small></h3>"
        f"<div>{''.join(_pairs(outcome, item))}</div>"
        f'<div class="wide">{_picture(plots.utterance(shown), "spectrogram and posteriors")}</div>'
    )


def _pairs(outcome: Outcome, item: Item) -> Iterator[str]:
    """Each reference word over what was heard for it."""
    for chunk in outcome.chunks:
        said = item.reference[chunk.ref_start_idx : chunk.ref_end_idx]
        heard = outcome.words[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for index in range(max(len(said), len(heard))):
            above = said[index] if index < len(said) else ""
            below = heard[index] if index < len(heard) else ""
            yield (
                f'<span class="pair {chunk.type}"><span>{escape(above)}</span>'
                f"<span>{escape(below)}</span></span>"
            )
