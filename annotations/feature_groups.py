"""Which features fire together: neighbours of each feature row, and groups of near copies.

    activity (windows x rows) --correlations--> neighbours (a few per row), links (strong ones)
    links --groups--> one number per group

Dictionaries split one thing into several features, and a palindrome is found on both strands:
ten rows may be one finding. Here two rows are alike when their largest activations in the same
random windows of the genome go up and down together (Pearson's r over the windows, silence
counted as 0). That needs no weights and no labels, and says the same of any two rows of a run.
"""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from annotations.errors import CoordinateError

NEIGHBOURS: Final = 5
"""Neighbours kept for each feature row, the most correlated."""
MIN_CORRELATION: Final = 0.3
"""Least correlation of a neighbour."""
GROUP_CORRELATION: Final = 0.7
"""Least correlation of every member of a group with its leader: half of its variance."""
MIN_ACTIVE_WINDOWS: Final = 20
"""Windows in which a row must be active to be compared; fewer make r a matter of chance."""
MAX_CELLS: Final = 100_000_000
"""Rows times windows held in memory (4 bytes each); more rows are compared in fewer windows."""

_ROWS_AT_ONCE = 1024

NEIGHBOURS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("other_feature", pa.uint32(), nullable=False),
        pa.field("other_strand", pa.int8(), nullable=False),
        pa.field("correlation", pa.float64(), nullable=False),
    ]
)
"""One row per feature row and neighbour, sorted by feature, strand (+ first) and correlation, the
largest first. The other row may be the same feature on the other strand."""


class Correlations(NamedTuple):
    """What a comparison of all rows with all rows keeps."""

    neighbours: pa.Table
    """NEIGHBOURS_SCHEMA."""
    links: sparse.csr_array
    """Bool, shape (rows, rows), symmetric: pairs with at least `GROUP_CORRELATION`."""
    active: NDArray[np.int64]
    """Windows in which each row was active, of those compared; shape (rows,)."""
    windows: int
    """Windows compared."""


def correlations(
    activity: sparse.sparray | sparse.spmatrix,
    *,
    neighbours: int = NEIGHBOURS,
    min_correlation: float = MIN_CORRELATION,
    group_correlation: float = GROUP_CORRELATION,
    max_cells: int = MAX_CELLS,
) -> Correlations:
    """Compare every feature row with every other.

    Parameters
    ----------
    activity : sparse array, shape (windows, rows)
        Largest activation of each row in each window, as
        `annotations.activations.window_maxima` gives it; row ``2 * feature + (strand < 0)``.
    neighbours : int
        Kept for each row.
    min_correlation, group_correlation : float
        Least correlation of a neighbour, and of a link.
    max_cells : int
        Bounds the memory: of more than ``max_cells / rows`` windows some are left out, at even
        distances.

    Returns
    -------
    correlations : Correlations
        Rows active in fewer than `MIN_ACTIVE_WINDOWS` windows have neither neighbours nor links.

    Raises
    ------
    CoordinateError
        If there are fewer than two windows.
    """
    n_windows, n_rows = activity.shape
    kept = max(2, min(n_windows, max_cells // max(1, n_rows)))
    if n_windows < 2:
        raise CoordinateError(f"correlation needs at least 2 windows, got {n_windows}")
    if kept < n_windows:
        activity = activity[np.linspace(0, n_windows - 1, kept).round().astype(np.int64)]
    by_row = sparse.csc_array(activity, dtype=np.float32)
    active = np.diff(by_row.indptr).astype(np.int64)
    live = np.flatnonzero(active >= MIN_ACTIVE_WINDOWS)
    scaled = _standardised(by_row[:, live])
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    linked: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for start in range(0, len(live), _ROWS_AT_ONCE):
        block = np.arange(start, min(start + _ROWS_AT_ONCE, len(live)))
        r = scaled[block] @ scaled.T
        r[np.arange(len(block)), block] = -1.0
        one, other = np.nonzero(r >= group_correlation)
        linked.append((live[block[one]], live[other]))
        most = min(neighbours, len(live) - 1)
        if most > 0:
            best = np.argpartition(-r, most - 1, axis=1)[:, :most]
            value = np.take_along_axis(r, best, axis=1).astype(np.float64)
            near = value >= min_correlation
            mine = np.broadcast_to(live[block][:, None], best.shape)
            parts.append((mine[near], live[best[near]], value[near]))
    one = np.concatenate([np.empty(0, np.int64), *(pair[0] for pair in linked)])
    other = np.concatenate([np.empty(0, np.int64), *(pair[1] for pair in linked)])
    links = sparse.csr_array((np.ones(len(one), bool), (one, other)), shape=(n_rows, n_rows))
    return Correlations(_neighbour_table(parts), links, active, kept)


def groups(links: sparse.csr_array, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups of near copies, each about a leader.

    Rows are taken in order; one that belongs to no group yet leads a new one, and all its free
    links join. So every member is as like its leader as a link says, and there are no chains in
    which the ends have nothing in common.

    Parameters
    ----------
    links : sparse array of bool, shape (rows, rows)
        Symmetric.
    order : ndarray of int64
        Rows in the order in which they may lead; those left out lead nothing, but may join.

    Returns
    -------
    group : ndarray of int64, shape (rows,)
        Groups of two rows and more are numbered from 0 in the order of their leaders; -1 for a
        row that is alone.

    Examples
    --------
    >>> links = sparse.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool))
    >>> groups(links, np.array([0, 1, 2])).tolist()
    [0, 0, -1]
    >>> groups(links, np.array([1, 0, 2])).tolist()
    [0, 0, 0]
    """
    group = np.full(links.shape[0], -1, dtype=np.int64)
    free = np.ones(links.shape[0], dtype=bool)
    number = 0
    for row in order.tolist():
        if not free[row]:
            continue
        members = links.indices[links.indptr[row] : links.indptr[row + 1]]
        members = members[free[members]]
        free[row] = False
        if len(members):
            free[members] = False
            group[row] = group[members] = number
            number += 1
    return group


def _standardised(columns: sparse.csc_array) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, shape (rows, windows), of the columns of a sparse array."""
    dense = columns.T.toarray()
    dense -= dense.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("rw,rw->r", dense, dense, dtype=np.float64)).astype(np.float32)
    # a row as active everywhere has no variance: it is like nothing
    dense /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    return np.asarray(dense, dtype=np.float32)


def _neighbour_table(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]],
) -> pa.Table:
    if not parts:
        return NEIGHBOURS_SCHEMA.empty_table()
    mine, other, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((other, -value, mine))
    mine, other, value = mine[order], other[order], value[order]
    return pa.table(
        [
            (mine // 2).astype(np.uint32),
            (1 - 2 * (mine % 2)).astype(np.int8),
            (other // 2).astype(np.uint32),
            (1 - 2 * (other % 2)).astype(np.int8),
            np.minimum(value, 1.0),
        ],
        schema=NEIGHBOURS_SCHEMA,
    )
