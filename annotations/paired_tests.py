"""Tests of paired differences: an exact signed-rank test and effect sizes, on arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


class SignedRank(NamedTuple):
    """Wilcoxon's signed-rank test of differences against 0."""

    n: int
    """Differences that are not 0; the others say nothing and are left out."""
    p_greater: float
    """Chance of a sum of positive ranks as large as this if signs were coin tosses."""
    p_two_sided: float
    """Twice the smaller of both tails, at most 1."""


def signed_rank(differences: Floats) -> SignedRank:
    """Wilcoxon's signed-rank test, exact with ties too.

    Parameters
    ----------
    differences : ndarray of float64, shape (n,)

    Returns
    -------
    test : SignedRank
        p is 1 where no difference is left.

    Notes
    -----
    Zeros are left out, as Wilcoxon (1945) did; tied sizes share their mean rank. The distribution
    of the sum over all 2**n signs is counted, where `scipy.stats.wilcoxon` turns to a normal
    approximation as soon as two sizes are equal. The work grows with n**3: n is at most hundreds.
    """
    found = differences[differences != 0]
    if not len(found):
        return SignedRank(0, 1.0, 1.0)
    # twice the rank is whole, however many share it
    ranks = np.rint(2 * rankdata(np.abs(found))).astype(np.int64)
    ways = np.zeros(int(ranks.sum()) + 1)
    ways[0] = 1.0
    for rank in ranks.tolist():
        with_it = np.zeros_like(ways)
        with_it[rank:] = ways[: len(ways) - rank]
        ways = (ways + with_it) / 2
    positive = int(ranks[found > 0].sum())
    greater = float(min(1.0, ways[positive:].sum()))
    less = float(min(1.0, ways[: positive + 1].sum()))
    return SignedRank(len(found), greater, min(1.0, 2 * min(greater, less)))


def standardised_effect(differences: Floats) -> float | None:
    """Mean of paired differences over their standard deviation (Cohen's d_z).

    Parameters
    ----------
    differences : ndarray of float64, shape (n,)

    Returns
    -------
    effect : float or None
        None for fewer than two differences or where all are equal: there is no such measure then.
    """
    if len(differences) < 2:
        return None
    spread = float(np.std(differences, ddof=1))
    return float(np.mean(differences)) / spread if spread > 0 else None
