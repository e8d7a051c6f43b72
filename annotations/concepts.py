"""In which concepts a feature's top peaks lie more often than chance puts them there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotations.enrichment import MIN_LOCI_PER_FEATURE
from annotations.significance import benjamini_hochberg, binomial_tail

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PeakTest:
    """What the top peaks say of each feature row and label; NaN where a row was not tested."""

    peaks: NDArray[np.int64]
    """Peaks of each row, shape (rows,)."""
    share: Floats
    """Share of them with the label, shape (rows, labels), as the next three."""
    log2_enrichment: Floats
    """log2((inside + 1/2) / (expected + 1/2)), as of the motif matches."""
    p: Floats
    """Binomial tail of the peaks with the label at the label's share of the bases."""
    q: Floats
    """Benjamini and Hochberg over all pairs of a tested row and a label."""


def peak_test(
    row: NDArray[np.int64],
    group: NDArray[np.int64],
    members: NDArray[np.bool_],
    sizes: Floats,
    *,
    n_rows: int,
    min_peaks: int = MIN_LOCI_PER_FEATURE,
) -> PeakTest:
    """Test each feature row's top peaks, one base per locus, for every label.

    Parameters
    ----------
    row, group : ndarray of int64, shape (peaks,)
        Feature row and class of each peak.
    members : ndarray of bool, shape (2, classes, labels)
        Whether a class has a label on a pass over strand + and -.
    sizes : ndarray of float64, shape (classes,)
        Bases of each class: what peaks at random places would be drawn from.
    n_rows : int
        Feature rows of the dictionary; odd ones are read on strand -.
    min_peaks : int
        Rows with fewer peaks are not tested.

    Returns
    -------
    test : PeakTest
    """
    n = np.bincount(row, minlength=n_rows)
    labels = range(members.shape[2])
    hits = np.zeros((n_rows, len(labels)))
    for label in labels:
        hits[:, label] = np.bincount(row, weights=members[row % 2, group, label], minlength=n_rows)
    chance = sizes @ members.astype(np.float64) / sizes.sum()
    tested = np.flatnonzero(n >= min_peaks)
    hits = hits[tested]
    trials = np.broadcast_to(n[tested, None], hits.shape).astype(np.float64)
    expected = np.minimum(chance[tested % 2] * trials, trials)
    share, effect, p, q = (np.full((n_rows, len(labels)), np.nan) for _ in range(4))
    share[tested] = hits / trials
    effect[tested] = np.log2((hits + 0.5) / (expected + 0.5))
    tail = binomial_tail(hits, trials, expected)
    p[tested] = tail
    q[tested] = benjamini_hochberg(tail.ravel(), tail.size).reshape(tail.shape)
    return PeakTest(n, share, effect, p, q)
