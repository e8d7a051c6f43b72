"""Tests of counts against an expectation, on arrays; no knowledge of motifs or genomes."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, gammaln

Floats = NDArray[np.float64]


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
    order = np.argsort(p)
    stepped = p[order] * tested / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return q
