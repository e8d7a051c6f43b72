"""A signal as stretches of one value, and as few of them as a figure has room for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Runs(NamedTuple):
    """A signal as stretches of one value; 0 between them."""

    start: NDArray[np.int64]
    """0-based, ascending."""
    end: NDArray[np.int64]
    value: NDArray[np.float32]


def peak_value(runs: Runs, start: int, end: int) -> float:
    """The largest value of a signal in a region; 0 where it is silent."""
    inside = (runs.end > start) & (runs.start < end)
    return float(runs.value[inside].max()) if inside.any() else 0.0


def binned(runs: Runs, start: int, end: int, bins: int) -> Runs:
    """The largest value in each of some bins of equal width, as runs; fewer runs as they are.

    Parameters
    ----------
    runs : Runs
        In any number.
    start, end : int
        The region; what is outside is left out.
    bins : int
        Most runs that are wanted.
    """
    inside = (runs.end > start) & (runs.start < end)
    low, high = np.maximum(runs.start[inside], start), np.minimum(runs.end[inside], end)
    value = runs.value[inside]
    if len(value) <= bins:
        return Runs(low, high, value)
    # edges are whole bases: a bin holds at least one where there are more runs than bins
    edges = start + np.arange(bins + 1, dtype=np.int64) * (end - start) // bins
    first = np.searchsorted(edges, low, side="right") - 1
    last = np.searchsorted(edges, high, side="left") - 1
    spans = last - first + 1
    of = np.repeat(np.arange(len(value)), spans)
    within = np.arange(len(of)) - np.repeat(np.cumsum(spans) - spans, spans)
    tops = np.zeros(bins, dtype=np.float32)
    np.maximum.at(tops, first[of] + within, value[of])
    active = np.flatnonzero(tops)
    return Runs(edges[active], edges[active + 1], tops[active])
