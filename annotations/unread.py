"""Which bases of a region a run did not read: those outside the spans of a run over regions.

    Span, spans of the run --unread--> gaps --bases_read--> how many bases were read
                                            --unread_bins--> which parts of a figure to hatch

What was not read is unknown, and must not be told as silent.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotations.types import Span


def unread(region: Span, spans: Sequence[Span] | None) -> list[Span]:
    """The parts of a region that were not read.

    Parameters
    ----------
    region : Span
        Where.
    spans : sequence of Span or None
        What was read, sorted, no two overlapping; None for all.

    Returns
    -------
    gaps : list of Span
        Sorted; no two touch.

    Examples
    --------
    >>> unread(Span(0, 5, 30), [Span(0, 0, 10), Span(0, 15, 20), Span(1, 0, 30)])
    [Span(contig=0, start=10, end=15), Span(contig=0, start=20, end=30)]
    """
    if spans is None:
        return []
    gaps: list[Span] = []
    at = region.start
    for contig, start, end in spans:
        if contig != region.contig or end <= at or start >= region.end:
            continue
        if start > at:
            gaps.append(Span(region.contig, at, start))
        at = end
    if at < region.end:
        gaps.append(Span(region.contig, at, region.end))
    return gaps


def bases_read(region: Span, gaps: Sequence[Span]) -> int:
    """Bases of a region outside its gaps."""
    return region.length - sum(gap.length for gap in gaps)


def unread_bins(region: Span, gaps: Sequence[Span], bins: int) -> NDArray[np.bool_]:
    """Which of equal parts of a region have no base that was read.

    Parameters
    ----------
    region : Span
        Where.
    gaps : sequence of Span
        As from `unread`.
    bins : int
        Parts, at most one a base; part i begins at base ``i * region.length // bins``, as in
        `annotations.region_activity.largest_in_bins`.

    Returns
    -------
    unread : ndarray of bool, shape (bins,)
    """
    edges = region.start + np.arange(bins + 1, dtype=np.int64) * region.length // bins
    if not gaps:
        return np.zeros(bins, dtype=bool)
    starts, ends = np.array([(gap.start, gap.end) for gap in gaps], dtype=np.int64).T
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    # bases of gaps to the left of each edge
    at = np.searchsorted(starts, edges, side="right")
    inside = np.maximum(0, np.append(0, ends)[at] - edges)
    left = before[at] - inside
    return np.asarray(np.diff(left) == np.diff(edges))
