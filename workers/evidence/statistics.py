"""What a score over loci is worth: precision of the best, AUROC, AUPRC, and their intervals.

Loci are bins of a genome. Neighbours are not independent, so intervals are percentiles of a
bootstrap over blocks (Künsch 1989): whole blocks are drawn with replacement, the same draws for
every score, so that differences between two scores are paired.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESAMPLES = 1000
"""Draws of the bootstrap."""
APART = 2
"""A bin with a better one at most this many bins away is no locus of its own."""


def draws(n_blocks: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Ints:
    """How often each block is taken; the first row takes each once: the sample itself.

    Returns
    -------
    weights : int64 array, shape (1 + resamples, n_blocks)
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / max(1, n_blocks)), resamples)
    return np.concatenate([np.ones((1, n_blocks), np.int64), drawn])


def local_maxima(group: Ints, place: Ints, value: NDArray[np.floating]) -> Bools:
    """Bins that no better bin of their group lies within `APART` of; of equals the first.

    Parameters
    ----------
    group : int64 array, shape (n,)
        Such as the feature; sorted.
    place : int64 array, shape (n,)
        Number of the bin on its contig, contigs far apart; sorted within a group, none twice.
    value : float array, shape (n,)

    Examples
    --------
    >>> place = np.array([0, 1, 2, 3, 9])
    >>> local_maxima(np.zeros(5, int), place, np.array([1.0, 3, 3, 2, 1])).tolist()
    [False, True, False, False, True]
    """
    kept = np.ones(len(place), bool)
    for by in range(1, APART + 1):
        near = (group[by:] == group[:-by]) & (place[by:] - place[:-by] <= APART)
        kept[by:] &= ~(near & (value[:-by] >= value[by:]))
        kept[:-by] &= ~(near & (value[by:] > value[:-by]))
    return kept


def precision_of_top(
    value: Floats, positive: Bools, block: Ints, weights: Ints, *, top: int, prevalence: Floats
) -> Floats:
    """Share of positives among the `top` highest loci, in each draw of blocks.

    Of loci that share the last place a part is taken, so ties count as drawn at random; what is
    missing to `top` counts as drawn at random from all bins.

    Parameters
    ----------
    value : float64 array, shape (n,)
        Of the loci.
    positive : bool array, shape (n,)
    block : int64 array, shape (n,)
        Column of `weights`.
    weights : int64 array, shape (draws, blocks)
    top : int
    prevalence : float64 array, shape (draws,)
        Share of positives among all bins.

    Returns
    -------
    precision : float64 array, shape (draws,)
    """
    if not len(value):
        return prevalence.copy()
    order = np.argsort(-value, kind="stable")
    # four times as many loci as are taken serve every draw of blocks
    last = value[order[min(4 * top, len(order)) - 1]]
    order = order[: np.searchsorted(-value[order], -last, side="right")]
    first = np.flatnonzero(np.diff(value[order], prepend=np.inf) != 0)
    taken = weights[:, block[order]].astype(np.float64)
    of_group = np.add.reduceat(taken, first, axis=1)
    right = np.add.reduceat(taken * positive[order], first, axis=1)
    before = np.cumsum(of_group, axis=1) - of_group
    share = np.divide(
        np.clip(top - before, 0, of_group),
        of_group,
        out=np.zeros_like(of_group),
        where=of_group > 0,
    )
    found = (share * right).sum(1)
    missing = top - (share * of_group).sum(1)
    return np.asarray((found + missing * prevalence) / top)


class Areas(NamedTuple):
    """AUROC and AUPRC of one score in each draw of blocks; NaN without a positive or negative."""

    auroc: Floats
    auprc: Floats


def areas(value: Floats, positive: Bools, block: Ints, weights: Ints) -> Areas:
    """AUROC and average precision, ties as in `annotations.evaluation`, in each draw of blocks.

    What scores at least as much as each positive is counted block by block once; a draw is then a
    product with its weights.

    Parameters
    ----------
    value : float64 array, shape (n,)
    positive : bool array, shape (n,)
    block : int64 array, shape (n,)
        Column of `weights`.
    weights : int64 array, shape (draws, blocks)
    """
    n_blocks = weights.shape[1]
    mine, own = value[positive], block[positive]
    at_least = np.zeros((len(mine), n_blocks), np.float32)
    level, right, level_right = (np.zeros_like(at_least) for _ in range(3))
    for one in range(n_blocks):
        here = block == one
        for scores, above, same in (
            (value[here], at_least, level),
            (value[here & positive], right, level_right),
        ):
            ranked = np.sort(scores)
            low = np.searchsorted(ranked, mine, side="left")
            above[:, one] = len(ranked) - low
            same[:, one] = np.searchsorted(ranked, mine, side="right") - low
    total = np.bincount(block, minlength=n_blocks) @ weights.T.astype(np.float64)
    positives = np.bincount(own, minlength=n_blocks) @ weights.T.astype(np.float64)
    negatives = total - positives
    auroc, auprc = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    for first in range(0, len(weights), 128):
        part = slice(first, first + 128)
        w = weights[part].T.astype(np.float32)
        times = weights[part][:, own].T.astype(np.float64)
        called, hit = (at_least @ w).astype(np.float64), (right @ w).astype(np.float64)
        equal = (level @ w).astype(np.float64) - (level_right @ w).astype(np.float64)
        lost = (called - hit) - equal / 2
        pairs = positives[part] * negatives[part]
        wins = (times * (negatives[part] - lost)).sum(0)
        auroc[part] = np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        precision = np.divide(hit, called, out=np.zeros_like(hit), where=called > 0)
        gained, all_of = (times * precision).sum(0), positives[part]
        auprc[part] = np.divide(gained, all_of, out=np.full(len(all_of), np.nan), where=all_of > 0)
    return Areas(auroc, auprc)


def interval(sample: Floats) -> dict[str, Any]:
    """The first draw as the value, and the middle 95 % of the others; None for NaN.

    Examples
    --------
    >>> interval(np.array([0.5, 0.4, 0.6, np.nan]))
    {'value': 0.5, 'low': 0.405, 'high': 0.595}
    """
    value, drawn = sample[0], sample[1:][~np.isnan(sample[1:])]
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    return {
        name: None if np.isnan(x) else round(float(x), 4)
        for name, x in (("value", value), ("low", low), ("high", high))
    }


class Scale(NamedTuple):
    """Mean and standard deviation of signals where something was chosen; shape (signals,)."""

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, signals: Floats) -> "Scale":
        """Of signals, shape (n, signals); one that does not vary has the standard deviation 1."""
        sd = signals.std(0)
        return cls(signals.mean(0), np.where(sd > 0, sd, 1.0))

    def z(self, signals: Floats) -> Floats:
        """Signals in these standard deviations; shape (n, signals)."""
        return np.asarray((signals - self.mean) / self.sd)


def fit_logistic(z: Floats, positive: Bools, *, ridge: float = 1.0, rounds: int = 50) -> Floats:
    """Weights of a logistic regression on standardised signals, by Newton's method.

    Parameters
    ----------
    z : float64 array, shape (n, signals)
    positive : bool array, shape (n,)
    ridge : float
        Half of this times the squared weights is added to the loss: it keeps them finite where
        the signals tell all positives apart. The intercept is free.
    rounds : int
        Most steps.

    Returns
    -------
    weights : float64 array, shape (signals,)
        Without the intercept, which orders nothing.
    """
    x = np.column_stack([np.ones(len(z)), z])
    beta = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 0
    share = min(max(float(positive.mean()), 1e-6), 1 - 1e-6)
    beta[0] = np.log(share / (1 - share))
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (positive - p) - penalty * beta
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return beta[1:]
