"""The report's pictures, as data URIs: SVG for charts, PNG for spectrograms.

Owns what is drawn, with matplotlib. Must not know: HTML.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streamer.audio import SAMPLE_RATE, Samples
from streamer.core.context import Grid
from streamer.core.ctc import CtcState, Token, fold, open_token
from streamer.core.frames import Labels
from streamer.evaluation.measures import Edits
from streamer.evaluation.offline import LogProbs, Times
from streamer.reporting import pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {"substitutions": "#d9a441", "deletions": "#c0504d", "insertions": "#6a8caf"}
MOST_GROUPS = 30
LINES = ("-", "--", ":")  # where there are more conditions than colours
FFT_SAMPLES = 512
FFT_HOP_SAMPLES = 160
DYNAMIC_RANGE_DB = 70
SHOWN_PROBABILITY = 0.2  # labels that never reach it are not drawn


def errors_by_condition(errors: Mapping[str, Edits]) -> str:
    """Word error rate of each condition, one bar of three kinds of errors."""
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        figure = pictures.figure(1.6 + 1.1 * len(errors), 3)
        axes = figure.add_subplot()
        names = [each.replace(" ", "\n").replace("+", "\n+") for each in errors]
        below = np.zeros(len(names))
        for kind, color in KINDS.items():
            rates = [100 * getattr(each, kind) / max(1, each.length) for each in errors.values()]
            axes.bar(names, rates, 0.6, below, color=color, label=kind)
            below += rates
        for place, total in enumerate(below):
            axes.annotate(f"{total:.1f}", (place, total), ha="center", va="bottom")
        axes.set_ylabel("WER %")
        axes.margins(y=0.15)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return pictures.uri(figure, "svg")


def errors_by_group(groups: Mapping[str, Mapping[str, Edits]]) -> str:
    """Word error rates of groups (the first conditions' worst first) under each condition."""
    from matplotlib import rc_context

    first = next(iter(groups.values()))
    names = sorted(first, key=lambda name: -(first[name].rate or 0))[:MOST_GROUPS]
    with rc_context(pictures.STYLE):
        figure = pictures.figure(8, 0.8 + (0.1 + 0.12 * len(groups)) * len(names))
        axes = figure.add_subplot()
        for index, (condition, edits) in enumerate(groups.items()):
            rates = [100 * (edits[name].rate or 0) for name in names]
            places = np.arange(len(names)) + 0.8 * (index + 0.5) / len(groups) - 0.4
            color = pictures.COLORS[index % len(pictures.COLORS)]
            axes.barh(places, rates, 0.8 / len(groups), color=color, label=condition)
        labels = [f"{name[:48]} ({first[name].length} words)" for name in names]
        axes.set_yticks(range(len(names)), labels)
        axes.invert_yaxis()
        axes.set_xlabel("WER %")
        figure.legend(loc="outside upper center", ncols=min(3, len(groups)), frameon=False)
        return pictures.uri(figure, "svg")


def distributions(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """For each latency (panel), the share of values below a time, a line for each condition."""
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        figure = pictures.figure(3.2 * len(panels), 3)
        for place, (title, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), place)
            for index, (name, values) in enumerate(lines.items()):
                if values:
                    ordered = 1000 * np.sort(values)
                    share = np.arange(1, len(ordered) + 1) / len(ordered)
                    color = pictures.COLORS[index % len(pictures.COLORS)]
                    line = LINES[index // len(pictures.COLORS) % len(LINES)]
                    axes.step(ordered, share, line, where="post", color=color, label=name)
            every = [1000 * value for values in lines.values() for value in values]
            low, high = np.percentile(every, (0.5, 99)) if every else (0, 0)
            if low < high:  # else a few words that are aligned badly would set the scale
                axes.set_xlim(low, high)
            axes.set_title(title)
            axes.set_xlabel("ms of audio")
            axes.set_ylim(0, 1)
        labels = axes.get_legend_handles_labels()
        figure.legend(*labels, loc="outside lower center", ncols=4, frameon=False)
        return pictures.uri(figure, "svg")


def reliability(conditions: Mapping[str, Sequence[tuple[float, float, int]]]) -> str:
    """How often words are right, by their confidence."""
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        figure = pictures.figure(4, 3.4)
        axes = figure.add_subplot()
        axes.plot((0, 1), (0, 1), color="#999999", linewidth=1, linestyle="--")
        for index, (name, bins) in enumerate(conditions.items()):
            if bins:
                said, was, _ = zip(*bins, strict=True)
                axes.plot(
                    said,
                    was,
                    marker="o",
                    color=pictures.COLORS[index % len(pictures.COLORS)],
                    label=name,
                )
        axes.set_xlabel("confidence")
        axes.set_ylabel("share of words that are right")
        axes.legend(frameon=False)
        return pictures.uri(figure, "svg")


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the picture of one recording shows."""

    samples: Samples  # (S,)
    log_probs: LogProbs  # (T, V), full context
    grid: Grid
    labels: Labels
    reference: Sequence[str]
    times: Sequence[Times | None]  # of the reference's words


def utterance(shown: Utterance) -> str:
    """A spectrogram, the posteriors of visible labels over it, the reference's words on top."""
    from matplotlib import rc_context

    duration_s = len(shown.samples) / SAMPLE_RATE
    with rc_context(pictures.STYLE | {"axes.grid": False, "font.size": 8}):
        figure = pictures.figure(min(26.0, max(11.0, 1.6 * duration_s)), 2.8)
        axes = figure.add_subplot()
        low, extent = -DYNAMIC_RANGE_DB, (0, duration_s, 0, SAMPLE_RATE / 2000)
        level = spectrogram(shown.samples)
        axes.imshow(level, "gray_r", aspect="auto", origin="lower", extent=extent, vmin=low, vmax=0)
        axes.set_xlabel("seconds")
        axes.set_ylabel("kHz")
        over = axes.twinx()
        over.set_xlim(0, duration_s)
        over.set_ylim(0, 1.25)
        over.set_yticks((0, 0.5, 1))
        over.set_ylabel("posterior")
        _draw_posteriors(over, shown)
        for word, span in zip(shown.reference, shown.times, strict=True):
            if span is not None:
                over.axvspan(*span, 0.92, 1, color="#1a7f5a", alpha=0.25)
                over.text(sum(span) / 2, 1.2, word, ha="center", va="center", color="#0b3d2b")
        return pictures.uri(figure, "png")


def _draw_posteriors(axes: "Axes", shown: Utterance) -> None:
    hop_s = Grid.seconds(shown.grid.samples(1))
    centers_s = (np.arange(len(shown.log_probs)) + 0.5) * hop_s
    posteriors = np.exp(shown.log_probs)
    hidden = {shown.labels.blank, *shown.labels.silent}
    for id_ in np.flatnonzero(posteriors.max(axis=0) >= SHOWN_PROBABILITY):
        if id_ not in hidden:
            color = (
                "#7f8c8d"
                if id_ == shown.labels.delimiter
                else pictures.COLORS[id_ % len(pictures.COLORS)]
            )
            axes.plot(centers_s, posteriors[:, id_], color=color, linewidth=1.2)
    for token in best_tokens(shown.log_probs, hidden):
        run = posteriors[token.start_frame : token.end_frame, token.id]
        at = token.start_frame + int(run.argmax())
        text = "|" if token.id == shown.labels.delimiter else shown.labels.tokens[token.id]
        color = pictures.COLORS[token.id % len(pictures.COLORS)]
        axes.text(centers_s[at], run.max() + 0.02, text, ha="center", color=color, weight="bold")


def best_tokens(log_probs: LogProbs, hidden: set[int]) -> list[Token]:
    """The tokens of the best path through (T, V)."""
    best = log_probs.argmax(axis=1), log_probs.max(axis=1)
    state, tokens = fold(CtcState(), *best, frozenset(hidden))
    last = open_token(state)
    return tokens if last is None else [*tokens, last]


def spectrogram(samples: Samples) -> npt.NDArray[np.float64]:
    """Level in dB below the loudest, (bins from 0 to 8 kHz, frames of 32 ms every 10 ms)."""
    padded = np.pad(samples.astype(np.float64), FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::FFT_HOP_SAMPLES]
    power = np.abs(np.fft.rfft(frames * np.hanning(FFT_SAMPLES), axis=1).T) ** 2
    loudest = max(float(power.max()), 1e-12)
    floor = 10 ** (-DYNAMIC_RANGE_DB / 10)
    level: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(power / loudest, floor))
    return level
