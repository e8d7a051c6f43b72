"""Which features mark a user's intervals: ChIP peaks, a BED track, against a background.

The score of an interval is the largest activation of a feature row in it, 0 where it is silent.
A row that marks the intervals scores higher in them than in the background: AUROC, with the
one-sided Mann-Whitney test (corrected for ties) and BH over all feature rows of the dictionary.

Without a background of the user's, each interval gets places of its own length and nearest GC
content among random ones that touch no interval, since most features follow GC.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.concept_tracks import INTERVALS_SCHEMA
from annotations.errors import CoordinateError, LimitError, OptionError
from annotations.evaluation import Counts
from annotations.row_entries import row_entries
from annotations.significance import benjamini_hochberg
from annotations.tables import check_columns, column

Ints = NDArray[np.int64]

MAX_INTERVALS: Final = 200_000
"""Foreground and background intervals of one question; the time grows with them."""
BACKGROUND_PER_INTERVAL: Final = 3
"""Random places for each interval without a background of the user's."""
CANDIDATES: Final = 60
"""Random places drawn for each interval, of which those of nearest GC content are taken."""

_N_CODE = 4

RANKING_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("intervals", pa.int64(), nullable=False),
        pa.field("background_intervals", pa.int64(), nullable=False),
        pa.field("active_share", pa.float64(), nullable=False),
        pa.field("background_active_share", pa.float64(), nullable=False),
        pa.field("auroc", pa.float64(), nullable=False),
        pa.field("auprc", pa.float64(), nullable=False),
        pa.field("prevalence", pa.float64(), nullable=False),
        pa.field("p", pa.float64(), nullable=False),
        pa.field("q", pa.float64(), nullable=False),
    ]
)
"""One row per feature row that is active anywhere, best AUROC first.

`active_share` is the share of intervals with an active base; `prevalence`, the share of
foreground among all intervals, is the AUPRC of a score that knows nothing."""


class _Places(NamedTuple):
    """Intervals with contigs laid end to end."""

    start: Ints
    end: Ints


def rank_features_for_intervals(
    activations: Path,
    foreground: pa.Table,
    background: pa.Table | None,
    lengths: Sequence[int],
    n_features: int,
    *,
    sequences: Sequence[NDArray[np.uint8]] | None = None,
    seed: int = 0,
    on_row: Callable[[int], None] = lambda row: None,
) -> pa.Table:
    """Rank feature rows by how well they tell intervals from a background.

    Reads the file once, a row group at a time, and holds one feature row.

    Parameters
    ----------
    activations : Path
        A file of `annotations.activations.merge_stretches`.
    foreground : Table of `annotations.concept_tracks.INTERVALS_SCHEMA`
        The intervals; their strands are not looked at.
    background : Table of INTERVALS_SCHEMA, optional
        What they are told from; None draws it (`matched_places`).
    lengths : sequence of int
        Bases of each contig.
    n_features : int
        Features of the dictionary.
    sequences : sequence of ndarray of uint8, optional
        Base codes of each contig; needed without a background.
    seed : int
        Of the drawn background.
    on_row : callable
        Told each feature row as it is done; may raise to stop the work.

    Returns
    -------
    ranking : Table of RANKING_SCHEMA
        Sorted by AUROC (largest first), feature, strand (+ first).

    Raises
    ------
    OptionError
        If there is no interval, or neither a background nor sequences.
    CoordinateError
        If an interval lies outside its contig.
    LimitError
        If there are more than `MAX_INTERVALS`.
    StorageError
        If the file is not one of activations, of a larger dictionary or of other sequences.
    """
    if not foreground.num_rows or (background is not None and not background.num_rows):
        raise OptionError("ranking features needs at least one interval on the sequences")
    inside = _places(foreground, lengths)
    if background is not None:
        outside = _places(background, lengths)
    elif sequences is not None:
        outside = _places(matched_places(foreground, sequences, seed=seed), lengths)
    else:
        raise OptionError("without a background, ranking features needs the sequences")
    n, m = len(inside.start), len(outside.start)
    if n + m > MAX_INTERVALS:
        raise LimitError(
            f"{n} intervals and {m} of the background are more than {MAX_INTERVALS} together; "
            "give fewer"
        )
    start = np.concatenate([inside.start, outside.start])
    # in order of their starts they are found several times faster
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.concatenate([inside.end, outside.end])[order]
    label = order < n
    rows, figures = [], []
    for entries in row_entries(activations, lengths, n_features):
        score = _maxima(entries.place, entries.code, start, end)
        counts = _counts(score, label)
        active = score > 0
        rows.append(entries.row)
        figures.append(
            (
                active[label].mean(),
                active[~label].mean(),
                counts.auroc[0],
                counts.auprc[0],
                counts.mann_whitney_p[0],
            )
        )
        on_row(entries.row)
    return _ranking(np.array(rows, np.int64), np.array(figures).reshape(-1, 5), n, m, n_features)


def matched_places(
    intervals: pa.Table,
    sequences: Sequence[NDArray[np.uint8]],
    *,
    per_interval: int = BACKGROUND_PER_INTERVAL,
    seed: int = 0,
) -> pa.Table:
    """Random places like given intervals: of their length and GC content, touching none of them.

    For each interval `CANDIDATES` places are drawn, uniformly over all sequences; the
    `per_interval` of nearest GC content are taken. Places with a base that is not known or that
    touch an interval are not drawn; places may touch each other.

    Parameters
    ----------
    intervals : Table of `annotations.concept_tracks.INTERVALS_SCHEMA`
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    per_interval : int
        Places for each interval; fewer where candidates run out.
    seed : int
        Of the draw.

    Returns
    -------
    places : Table of INTERVALS_SCHEMA
        Without strands.

    Raises
    ------
    CoordinateError
        If an interval lies outside its contig.
    OptionError
        If the sequences have no room for any place.
    """
    lengths = np.array([len(codes) for codes in sequences], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    given = _places(intervals, lengths.tolist())
    codes = np.concatenate([*sequences, np.empty(0, np.uint8)])
    strong = _running((codes == 1) | (codes == 2))
    taken = _running_depth(given, len(codes), codes == _N_CODE)
    size = given.end - given.start
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(size)), CANDIDATES)
    # A start is uniform over the bases of all contigs; one whose place leaves its contig is lost.
    start = rng.integers(0, len(codes), len(which))
    end = start + size[which]
    contig = np.searchsorted(offsets, start, side="right") - 1
    free = end <= offsets[contig + 1]
    free[free] = taken[end[free]] == taken[start[free]]
    which, start, end = which[free], start[free], end[free]
    gc = (strong[end] - strong[start]) / size[which]
    wanted = (strong[given.end] - strong[given.start]) / size
    order = np.lexsort((np.abs(gc - wanted[which]), which))
    which, start, end = which[order], start[order], end[order]
    rank = np.arange(len(which)) - np.searchsorted(which, which)
    chosen = rank < per_interval
    if not chosen.any():
        raise OptionError(
            "there is no room for a background beside the intervals: they cover the sequences or "
            "are as long as a contig; give a background of your own"
        )
    start, end = start[chosen], end[chosen]
    contig = np.searchsorted(offsets, start, side="right") - 1
    return pa.table(
        [
            contig.astype(np.uint32),
            start - offsets[contig],
            end - offsets[contig],
            np.zeros(len(start), np.int8),
        ],
        schema=INTERVALS_SCHEMA,
    )


def _places(intervals: pa.Table, lengths: Sequence[int]) -> _Places:
    check_columns(intervals, INTERVALS_SCHEMA, what="a table of intervals")
    size = np.array(lengths, np.int64)
    contig, start, end = (column(intervals, name) for name in ("contig", "start", "end"))
    if len(contig) and int(contig.max()) >= len(size):
        raise CoordinateError(f"an interval is on contig {int(contig.max())} of {len(size)}")
    if (start < 0).any() or (start >= end).any() or (end > size[contig]).any():
        raise CoordinateError(
            "an interval is empty or outside its contig; is the file of another assembly?"
        )
    offset = np.concatenate([[0], np.cumsum(size)])[contig]
    return _Places(offset + start, offset + end)


def _maxima(place: Ints, code: NDArray[np.uint16], start: Ints, end: Ints) -> NDArray[np.uint16]:
    """The largest value of a row in each interval, 0 where it is silent; in bits of float16."""
    low, high = np.searchsorted(place, start), np.searchsorted(place, end)
    best = np.maximum.reduceat(np.append(code, np.uint16(0)), np.stack([low, high], 1).ravel())
    return np.where(low < high, best[::2], np.uint16(0))


def _counts(score: NDArray[np.uint16], label: NDArray[np.bool_]) -> Counts:
    """How often each score occurs: there are few, so they are counted, not sorted."""
    found = np.bincount(2 * score.astype(np.int64) + label, minlength=2 * int(score.max()) + 2)
    found = found.reshape(-1, 2)[::-1]
    cells = found[found.any(axis=1)].astype(np.float64)
    return Counts(cells[None, :, 1], cells.sum(axis=1))


def _running(true: NDArray[np.bool_]) -> Ints:
    """How many are true before each index, and in all; shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(true, dtype=np.int64)])


def _running_depth(given: _Places, length: int, unknown: NDArray[np.bool_]) -> Ints:
    """How many bases before each index are in an interval or not known; shape (length + 1,)."""
    depth = np.zeros(length + 1, np.int64)
    np.add.at(depth, given.start, 1)
    np.add.at(depth, given.end, -1)
    return _running((np.cumsum(depth[:-1]) > 0) | unknown)


def _ranking(row: Ints, figures: NDArray[np.float64], n: int, m: int, n_features: int) -> pa.Table:
    share, background_share, auroc, auprc, p = figures.T
    q = benjamini_hochberg(p, 2 * n_features)
    order = np.lexsort((row, -auroc))
    columns = [
        (row // 2).astype(np.uint32),
        (1 - 2 * (row % 2)).astype(np.int8),
        np.full(len(row), n),
        np.full(len(row), m),
        share,
        background_share,
        auroc,
        auprc,
        np.full(len(row), n / (n + m)),
        p,
        q,
    ]
    return pa.table([pa.array(values[order]) for values in columns], schema=RANKING_SCHEMA)
