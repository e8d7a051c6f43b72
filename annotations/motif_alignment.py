"""How a matrix lies over another: the shift and the sense in which they are most alike.

Made for pictures and for words beside them; whether two motifs are alike is tested in
`annotations.motif_similarity`.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import FormatError
from annotations.motif_scan import PSEUDOCOUNT

MIN_OVERLAP: Final = 4
"""Columns that must lie over one another."""


class Alignment(NamedTuple):
    """Where a matrix lies over another one."""

    first: int
    """Column of the other one at which the matrix begins; may be below 0."""
    reverse: bool
    """Whether the reverse complement of the matrix lies there."""
    correlation: float
    """Pearson's correlation of the frequencies of the columns that overlap."""


def align(
    own: NDArray[np.float64] | NDArray[np.int32], matrix: NDArray[np.float64] | NDArray[np.int32]
) -> Alignment:
    """Lay a matrix over another one where the columns agree most.

    Parameters
    ----------
    own, matrix : ndarray, shape (4, width)
        Counts of A, C, G, T.

    Returns
    -------
    alignment : Alignment
        The one with the largest sum, over the columns that overlap, of the products of what the
        frequencies differ from 1/4 by: columns that say nothing weigh nothing. At least
        `MIN_OVERLAP` columns overlap, or all of the narrower one. Of equal ones the given sense,
        then the leftmost.

    Raises
    ------
    FormatError
        If one has not four rows, or no column.
    """
    left = differences(own)
    best = Alignment(0, False, 0.0)
    most = -np.inf
    overlap = min(MIN_OVERLAP, left.shape[1], np.shape(matrix)[-1])
    for reverse in (False, True):
        right = differences(turned(matrix) if reverse else matrix)
        width = right.shape[1]
        for first in range(overlap - width, left.shape[1] - overlap + 1):
            here = left[:, max(0, first) : first + width]
            there = right[:, max(0, -first) : max(0, -first) + here.shape[1]]
            score = float((here * there).sum())
            if score > most + 1e-9:
                norm = float(np.sqrt((here**2).sum() * (there**2).sum()))
                most = score
                best = Alignment(first, reverse, score / norm if norm else 0.0)
    return best


def turned(
    matrix: NDArray[np.float64] | NDArray[np.int32],
) -> NDArray[np.float64] | NDArray[np.int32]:
    """The reverse complement of a matrix of A, C, G, T."""
    return matrix[::-1, ::-1]


def differences(matrix: NDArray[np.float64] | NDArray[np.int32]) -> NDArray[np.float64]:
    """What the frequencies of a matrix differ from 1/4 by, with a pseudocount, same shape."""
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != 4 or not counts.shape[1]:
        raise FormatError(f"a matrix has four rows and a column or more, got {counts.shape}")
    share = (counts + PSEUDOCOUNT / 4) / (counts.sum(axis=0) + PSEUDOCOUNT)
    found: NDArray[np.float64] = share - 0.25
    return found
