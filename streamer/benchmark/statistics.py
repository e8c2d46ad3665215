"""Figures of many values: percentiles of latencies, the slope of a backlog.

Pure. Must not know: what the values are of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

NORMAL_95 = 1.96  # standard deviations of a two-sided 95 % interval


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of `count` values, each one of them (none is interpolated)."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


def spread(values: Sequence[float]) -> Spread | None:
    """Percentiles by rank; None of nothing."""
    if not len(values):
        return None
    p50, p95, p99 = np.percentile(values, (50, 95, 99), method="inverted_cdf")
    return Spread(len(values), float(p50), float(p95), float(p99), float(np.max(values)))


@dataclass(frozen=True, slots=True)
class Slope:
    """A trend with its 95 % interval, in units of the values per unit of the times."""

    estimate: float
    low: float
    high: float


def slope(times: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The median of the slopes of all pairs (Theil–Sen), with Sen's interval.

    A few wild values do not move it. The interval is by rank: Kendall's score is normal without
    trend. None where there are not two different times; the cost grows with the square of their
    number.
    """
    x, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    first, second = np.triu_indices(len(x), 1)
    apart = x[first] != x[second]
    first, second = first[apart], second[apart]
    if not len(first):
        return None
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    score = NORMAL_95 * sqrt(len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18)
    below = max(int((len(slopes) - score) / 2), 0)
    above = min(int((len(slopes) + score) / 2), len(slopes) - 1)
    return Slope(float(np.median(slopes)), float(slopes[below]), float(slopes[above]))


def medians(
    times: Sequence[float], values: Sequence[float], width: float
) -> tuple[list[float], list[float]]:
    """The values of each interval of `width` as one: middles of the intervals, and medians."""
    x, y = np.asarray(times), np.asarray(values)
    places = np.floor(x / width).astype(int)
    found = np.unique(places)
    return (
        [float((place + 0.5) * width) for place in found],
        [float(np.median(y[places == place])) for place in found],
    )
