"""The HTML report: one file without any outside resource.

Owns the page, its words and which recordings are shown. Every text from outside is escaped.
"""

from collections.abc import Iterator, Sequence
from html import escape

from streamer.evaluation import plots, table
from streamer.evaluation.experiment import Condition, Item, Outcome
from streamer.evaluation.offline import OfflineModel, reference_times
from streamer.evaluation.results import Figures, Results
from streamer.reporting import page as pages
from streamer.reporting.pictures import COLORS

WORST = 8
STYLE = """
.pair { display: inline-block; text-align: center; margin: 0 .25rem .4rem 0; padding: 0 .2rem;
  border-radius: .2rem; min-width: .8rem }
.pair span { display: block; min-height: 1.5em }
.substitute { background: #f8e3b8 } .delete { background: #f5c6c4 } .insert { background: #cfdcea }
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
    "Hotwords": "Words to expect, whether the recogniser was told or not. Recall: of those said, "
    "the share that is right; precision: of those heard.",
    "Calibration error (ECE)": "Distance between mean confidence and share of right words in ten "
    "bins of confidence, weighted by words.",
    "Real-time factor": "Computing time per second of audio.",
}


def page(results: Results, model: OfflineModel) -> str:
    """The whole page; `model` gives the posteriors of the worst recordings."""
    parts = [
        pages.table(table.overview(results)),
        "<p></p>",
        pages.table(table.rows(results)),
        *_charts(results),
        *_worst(results, model),
        pages.definitions(DEFINITIONS),
    ]
    title = f"{results.about.get('model', 'model')}: evaluation"
    return pages.page(title, results.about, parts, STYLE)


def _charts(results: Results) -> Iterator[str]:
    figures = results.figures
    if any(each.errors.words.length for each in figures):
        yield "<h2>Word error rate</h2>"
        words = {each.name: each.errors.words for each in figures}
        yield pages.picture(plots.errors_by_condition(words), "word error rate by condition")
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
        yield pages.picture(plots.distributions(panels), "share of words below a latency")
    yield from _group_charts(figures)
    if any(each.calibration for each in figures):
        yield "<h2>Calibration</h2>"
        bins = {each.name: each.calibration for each in figures}
        yield pages.picture(plots.reliability(bins), "share of right words by confidence")


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
        shown = figures[: len(COLORS)]  # more bars nobody can tell apart
        groups = {each.name: getattr(each, f"by_{name}") for each in shown}
        count = len(next(iter(groups.values())))
        if count:
            yield f"<h2>Word error rate by {name}</h2>"
            words = {
                condition: {key: errors.words for key, errors in each.items()}
                for condition, each in groups.items()
            }
            yield pages.picture(plots.errors_by_group(words), f"word error rate by {name}")
            if count > plots.MOST_GROUPS:
                yield f"<p><small>the worst {plots.MOST_GROUPS} of {count}</small></p>"
            if len(shown) < len(figures):
                yield f"<p><small>the first {len(shown)} of {len(figures)} conditions</small></p>"


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
    picture = pages.picture(plots.utterance(shown), "spectrogram and posteriors")
    return (
        f"<h3>{escape(item.recording.id)} "
        f"<small>{escape(' · '.join(text for text in about if text))}</small></h3>"
        f"<div>{''.join(_pairs(outcome, item))}</div>"
        f'<div class="wide">{picture}</div>'
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
