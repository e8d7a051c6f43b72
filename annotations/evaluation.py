"""How well scores tell labels apart: AUROC, AUPRC with its prevalence, precision, recall and F1.

A figure that is not defined (no positive, no negative, nothing called) is NaN,
never a default such as 1.0 that would read as a result. How well a dictionary
reconstructs activations is measured in `annotations.reconstruction`.

All figures follow from counts: how many positives and how many of all score
each value (`Counts`), so scores that are mostly 0 need not be held as arrays.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from annotations.errors import FormatError

Floats = NDArray[np.float64]


class PrecisionRecall(NamedTuple):
    """Area under the precision-recall curve and what chance would give."""

    auprc: float
    """Average precision; NaN without a positive."""
    prevalence: float
    """Share of positives, the average precision of a score that knows nothing."""


class Confusion(NamedTuple):
    """Calls at one threshold."""

    precision: float
    """Share of the calls that are right; NaN without a call."""
    recall: float
    """Share of the positives that are called; NaN without a positive."""
    f1: float
    """Harmonic mean of both, 2 TP / (2 TP + FP + FN); NaN without a call and a positive."""
    called: int
    """Number of scores at or above the threshold."""


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each score occurs, in descending order of the scores, for several labels at once.

    The figures are arrays of shape (labels,), NaN where not defined.
    """

    positives: Floats
    """Positives of each label with exactly this score, shape (labels, scores)."""
    total: Floats
    """Positives and negatives with exactly this score, shape (scores,)."""

    @cached_property
    def right(self) -> Floats:
        """Positives with this score or more, shape (labels, scores)."""
        return np.asarray(np.cumsum(self.positives, axis=1))

    @cached_property
    def called(self) -> Floats:
        """Positives and negatives with this score or more, shape (scores,)."""
        return np.asarray(np.cumsum(self.total))

    @cached_property
    def all_positives(self) -> Floats:
        """Positives of each label."""
        return np.asarray(self.positives.sum(axis=1))

    @property
    def prevalence(self) -> Floats:
        """Share of positives: the average precision of a score that knows nothing."""
        return ratio(self.all_positives, self.total.sum())

    @cached_property
    def auroc(self) -> Floats:
        """Probability that a positive scores above a negative, a tie counting one half.

        The Mann-Whitney U statistic over the number of pairs (Hanley and McNeil
        1982, Radiology 143:29): a positive is above all but the negatives called with it,
        and level with half of those of its own score.
        """
        negatives = self.total.sum() - self.all_positives
        level = self.called - self.total / 2
        lost = self.positives @ level - (self.positives * (self.right - self.positives / 2)).sum(1)
        pairs = self.all_positives * negatives
        return ratio(pairs - lost, pairs)

    @property
    def auprc(self) -> Floats:
        """Average precision, equal scores taken as one step.

        sum over thresholds of (recall gained) x (precision there), without
        interpolation, which would be too kind (Davis and Goadrich 2006, ICML).
        """
        gained = (self.positives * self.right / np.maximum(self.called, 1)).sum(axis=1)
        return ratio(gained, self.all_positives)

    @property
    def mann_whitney_p(self) -> Floats:
        """One-sided p of the Mann-Whitney test that positives score higher.

        The normal approximation with the correction for ties and for continuity; 1 where
        all scores are equal or a side is empty.
        """
        n = self.total.sum()
        pairs = self.all_positives * (n - self.all_positives)
        ties = (self.total**3 - self.total).sum()
        variance = pairs / 12 * (n + 1 - ties / max(n * (n - 1), 1.0))
        above = np.nan_to_num(self.auroc - 0.5) * pairs - 0.5
        sd = np.sqrt(np.maximum(variance, 0))
        z = np.divide(above, sd, out=np.full_like(sd, -np.inf), where=sd > 0)
        return np.asarray(ndtr(-z))

    def f1(self) -> Floats:
        """F1 of calling this score and all above, 2 TP / (calls + positives); (labels, scores)."""
        return ratio(2 * self.right, self.called + self.all_positives[:, None])


def counts_of(scores: ArrayLike, labels: ArrayLike) -> Counts:
    """Count scores and one column of labels, both of shape (n,).

    Raises
    ------
    FormatError
        If scores and labels do not have the same length.
    """
    score, label = _scored(scores, labels)
    values, group = np.unique(score, return_inverse=True)
    total = np.bincount(group, minlength=len(values))[::-1]
    positives = np.bincount(group, weights=label, minlength=len(values))[::-1]
    return Counts(np.asarray(positives[None], np.float64), np.asarray(total, np.float64))


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, a tie counting one half.

    Parameters
    ----------
    scores : float array, shape (n,)
        Higher means more likely positive.
    labels : bool array, shape (n,)

    Returns
    -------
    float
        NaN without a positive, without a negative, or where a score is NaN.

    Raises
    ------
    FormatError
        If scores and labels do not have the same length.

    Examples
    --------
    >>> auroc([0.1, 0.4, 0.4, 0.8], [False, True, False, True])
    0.875
    """
    counts = counts_of(scores, labels)
    return float("nan") if _has_nan(scores) else float(counts.auroc[0])


def auprc(scores: ArrayLike, labels: ArrayLike) -> PrecisionRecall:
    """Average precision, equal scores taken as one step.

    Parameters
    ----------
    scores : float array, shape (n,)
        Higher means more likely positive.
    labels : bool array, shape (n,)

    Returns
    -------
    PrecisionRecall
        Both NaN for no scores; the area NaN without a positive or where a score is NaN.

    Raises
    ------
    FormatError
        If scores and labels do not have the same length.

    Examples
    --------
    >>> round(auprc([0.9, 0.8, 0.7], [True, False, True]).auprc, 4)
    0.8333
    """
    counts = counts_of(scores, labels)
    area = float("nan") if _has_nan(scores) else float(counts.auprc[0])
    return PrecisionRecall(area, float(counts.prevalence[0]))


def f1(scores: ArrayLike, labels: ArrayLike, *, threshold: float) -> Confusion:
    """Precision, recall and F1 of calling every score at or above a threshold.

    Freeze the threshold on discovery data; on the data it was chosen on these
    figures flatter.

    Parameters
    ----------
    scores : float array, shape (n,)
    labels : bool array, shape (n,)
    threshold : float
        A score equal to it is a call.

    Raises
    ------
    FormatError
        If scores and labels do not have the same length.

    Examples
    --------
    >>> f1([0.9, 0.8, 0.1], [True, False, True], threshold=0.8)
    Confusion(precision=0.5, recall=0.5, f1=0.5, called=2)
    """
    score, label = _scored(scores, labels)
    called = score >= threshold
    right, calls, positives = int((called & label).sum()), int(called.sum()), int(label.sum())
    return Confusion(
        precision=float(ratio(right, calls)),
        recall=float(ratio(right, positives)),
        f1=float(ratio(2 * right, calls + positives)),
        called=calls,
    )


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """`part` over `whole`, element by element; NaN where `whole` is 0."""
    over = np.asarray(whole, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(over == 0, np.nan, np.asarray(part, np.float64) / over))


def _has_nan(scores: ArrayLike) -> bool:
    return bool(np.isnan(np.asarray(scores, np.float64)).any())


def _scored(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    score, label = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if score.ndim != 1 or score.shape != label.shape:
        raise FormatError(
            f"scores and labels must be of one length, got shapes {score.shape} and {label.shape}"
        )
    return score, label
