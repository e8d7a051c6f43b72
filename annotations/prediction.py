"""How well a feature row's activation in a window tells whether the window holds a motif.

Activations are sparse: a row is silent in most windows, and those all share one rank. So ranks are
needed of the active windows only, and of these only the ones with the motif enter the sums.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from annotations.window_activity import WindowActivity, parts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Prediction(NamedTuple):
    """Of each pair; NaN where it is not defined."""

    auroc: Floats
    """NaN where all windows hold the motif, or none."""
    p: Floats
    """One-sided Mann-Whitney test of auroc > 1/2, normal, corrected for ties; NaN as well where
    the row is equally active in all windows."""
    auprc: Floats
    prevalence: Floats
    """Share of the windows with the motif."""


def predict(
    activity: WindowActivity | sparse.sparray | sparse.spmatrix,
    held: sparse.csr_array,
    row: Ints,
    motif: Ints,
) -> Prediction:
    """AUROC and AUPRC of activations against the presence of motifs, for pairs of both.

    Equal to `annotations.evaluation.auroc` and `auprc` of the dense columns.

    Parameters
    ----------
    activity : WindowActivity or sparse array of float32, shape (windows, rows)
        Largest activation in each window, 0 or absent where silent; never negative.
    held : sparse array, shape (windows, motifs)
        Not zero where a window holds a motif.
    row, motif : ndarray of int64, shape (n,)
        Columns of both to compare.

    Returns
    -------
    prediction : Prediction
        Each of shape (n,).

    Notes
    -----
    With N windows, z of them silent, n1 with the motif and n0 without: AUROC is
    (R - n1 (n1 + 1) / 2) / (n1 n0), R the sum of the ranks of the windows with the motif, where a
    silent window has rank (z + 1) / 2 (Hanley and McNeil 1982). AUPRC is the average precision,
    equal activations taken as one step.
    """
    activity = WindowActivity.of(activity)
    windows = activity.shape[0]
    positives = np.asarray((held != 0).sum(axis=0)).ravel().astype(np.float64)
    rank_sum, precision_sum = np.zeros(len(row)), np.zeros(len(row))
    found, ties = np.zeros(len(row)), np.zeros(len(row))
    rows, of = np.unique(row, return_inverse=True)
    order = np.argsort(of, kind="stable")
    firsts = np.searchsorted(of[order], np.arange(len(rows) + 1))
    holds = np.zeros((held.shape[1], windows), dtype=bool)
    holds[held.indices, np.repeat(np.arange(windows), np.diff(held.indptr))] = held.data != 0
    for block in parts(activity.counts[rows]):
        ranked = _Ranked.of(activity.columns(rows[block]), windows)
        chosen = order[firsts[block.start] : firsts[block.stop]]
        local = of[chosen] - block.start
        ties[chosen] = ranked.ties[local]
        for part in parts(ranked.counts[local]):
            pair, entry = _positive_entries(ranked, local[part], motif[chosen[part]], holds)
            size = len(chosen[part])
            found[chosen[part]] = np.bincount(pair, minlength=size)
            rank_sum[chosen[part]] = np.bincount(pair, ranked.rank[entry], minlength=size)
            precision = _precision(pair, ranked.end[entry])
            precision_sum[chosen[part]] = np.bincount(pair, precision, minlength=size)
    n1 = positives[motif]
    n0 = windows - n1
    silent = windows - activity.counts[row]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = rank_sum + (n1 - found) * (silent + 1) / 2 - n1 * (n1 + 1) / 2
        auroc = u / (n1 * n0)
        # All that is not active is one last step, at which every window is called.
        auprc = (precision_sum + (n1 - found) * n1 / windows) / n1
        variance = n1 * n0 / 12 * (windows + 1 - ties / (windows * (windows - 1.0)))
        # A row that is nowhere active has one tie of all windows: no variance but rounding.
        spread = np.where(variance > 1e-9 * n1 * n0, np.sqrt(variance), np.nan)
        p = ndtr((n1 * n0 / 2 - u) / spread)
        return Prediction(auroc, p, auprc, n1 / windows)


class _Ranked(NamedTuple):
    """The active windows of some rows, most active first within each row."""

    first: Ints
    """Entry at which each row begins; shape (rows,)."""
    counts: Ints
    """Active windows of each row."""
    window: Ints
    rank: Floats
    """Mean rank among all windows, 1 the least active."""
    end: Ints
    """Windows at least as active."""
    ties: Floats
    """Sum of t**3 - t over groups of t equal windows, the silent ones too; shape (rows,)."""

    @classmethod
    def of(cls, columns: sparse.csc_array, windows: int) -> "_Ranked":
        counts = np.diff(columns.indptr).astype(np.int64)
        row = np.repeat(np.arange(len(counts)), counts)
        # The bits of floats that are not negative are in their order: one key is sorted faster.
        falling = np.uint64(2**32 - 1) - columns.data.view(np.uint32)
        order = np.argsort(row.astype(np.uint64) << np.uint64(32) | falling)
        value = columns.data[order]
        first = np.cumsum(counts) - counts
        starts = np.ones(len(value), dtype=bool)
        starts[1:] = (np.diff(row) != 0) | (np.diff(value) != 0)
        group = np.cumsum(starts) - 1
        begin = np.flatnonzero(starts)
        size = np.diff(np.append(begin, len(value)))
        end = (begin + size - first[row[begin]])[group]
        silent = (windows - counts).astype(np.float64)
        ties = np.bincount(row[begin], size.astype(np.float64) ** 3 - size, minlength=len(counts))
        return cls(
            first=first,
            counts=counts,
            window=columns.indices[order].astype(np.int64),
            rank=windows - end + (size[group] + 1) / 2,
            end=end,
            ties=ties + silent**3 - silent,
        )


def _positive_entries(
    ranked: _Ranked, local: Ints, motif: Ints, holds: NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """Pairs and entries of the active windows that hold the pair's motif, pair by pair."""
    counts = ranked.counts[local]
    pair = np.repeat(np.arange(len(local)), counts)
    entry = np.arange(len(pair)) + np.repeat(
        ranked.first[local] - np.cumsum(counts) + counts, counts
    )
    positive = holds[motif[pair], ranked.window[entry]]
    return pair[positive], entry[positive]


def _precision(pair: Ints, end: Ints) -> Floats:
    """Precision at the step of each positive: positives so far over windows so far."""
    if not len(pair):
        return np.empty(0)
    first = np.searchsorted(pair, pair)
    last_of_step = np.append((np.diff(pair) != 0) | (np.diff(end) != 0), True)
    stops = np.flatnonzero(last_of_step) + 1
    step = np.cumsum(last_of_step) - last_of_step
    precision: Floats = (stops[step] - first) / end
    return precision
