"""Tests of counts against an expectation, on arrays; no knowledge of motifs or genomes."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, gammaln

Floats = NDArray[np.float64]

SIGNIFICANT_Q: Final = 0.05
"""A thing is claimed at or below this false discovery rate; the one place that says so."""
ENRICHED_LOG2: Final = 1.0
"""An enrichment is claimed from twice the expected count on, however small its q."""

_STEP: Final = 1_000_000


def binomial_tail(hits: Floats, n: Floats, expected: Floats) -> Floats:
    """P(X >= hits) for X binomial with `n` trials and mean `expected`; 1 where `hits` is 0.

    Parameters
    ----------
    hits, n, expected : ndarray of float64
        Of shapes that broadcast; ``0 <= hits <= n`` and ``0 <= expected <= n``.

    Returns
    -------
    p : ndarray of float64
        Regularised incomplete beta function I(hits, n - hits + 1) at expected / n.
    """
    at_least_one = np.maximum(hits, 1)
    p: Floats = betainc(at_least_one, n - at_least_one + 1, expected / n)
    return np.where(hits > 0, p, 1.0)


def predictive_tail(hits: Floats, n: Floats, seen: Floats, windows: Floats) -> Floats:
    """The binomial tail when the rate is known only from `seen` of `windows` background windows.

    The rate is Beta(seen + 1, windows - seen + 1) distributed, so that X is beta-binomial. As
    `windows` grows this becomes `binomial_tail` at the rate seen / windows; with few windows a
    motif that the background happened to miss is not taken for one that cannot occur.

    Parameters
    ----------
    hits, n, seen, windows : ndarray of float64, shape (m,)
        ``1 <= hits <= n`` in whole numbers; ``0 <= seen <= windows``, any number.

    Returns
    -------
    p : ndarray of float64, shape (m,)
    """
    p = np.zeros(len(hits))
    alpha, beta = seen + 1, windows - seen + 1
    for more in range(int((n - hits).max(initial=-1)) + 1):
        x = np.minimum(hits + more, n)
        log_choices = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        term = np.exp(log_choices + betaln(x + alpha, n - x + beta) - betaln(alpha, beta))
        term[hits + more > n] = 0.0
        p += term
        # Terms rise to one mode and then fall: this small, all that remains is smaller still.
        if (term < 1e-12 * p).all():
            break
    return np.minimum(p, 1.0)


def benjamini_hochberg(p: Floats, tested: int) -> Floats:
    """False discovery rates of p-values out of a family of `tested`, the others being 1.

    Parameters
    ----------
    p : ndarray of float64, shape (m,)
    tested : int
        At least m.

    Returns
    -------
    q : ndarray of float64, shape (m,)
        Benjamini and Hochberg (1995), step up.
    """
    return family_q(p, p.copy(), tested)


def family_q(chosen: Floats, family: Floats, tested: int) -> Floats:
    """False discovery rates of some p-values of a family too large to be copied.

    Parameters
    ----------
    chosen : ndarray of float64, shape (m,)
        Each is in `family` as well.
    family : ndarray of float64, shape (n,)
        Used up: what it holds afterwards means nothing.
    tested : int
        Size of the family, at least n; the p-values that are not given are 1.

    Returns
    -------
    q : ndarray of float64, shape (m,)
        As `benjamini_hochberg` of the family.
    """
    family.sort()
    place = np.searchsorted(family, chosen)
    for first in range(0, len(family), _STEP):
        part = family[first : first + _STEP]
        part *= tested / np.arange(first + 1, first + 1 + len(part))
    np.minimum.accumulate(family[::-1], out=family[::-1])
    # Equal p-values share the q of the last of them, which the step up has carried to the first.
    q: Floats = np.minimum(family[place], 1.0)
    return q
