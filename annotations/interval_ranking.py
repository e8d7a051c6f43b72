"""Which features mark a user's intervals: ChIP peaks, a BED track, against a background.

The score of an interval is the largest activation of a feature row in it, 0 where it is silent.
A row that marks the intervals scores higher in them than in the background: AUROC, with the
one-sided Mann-Whitney test (corrected for ties) and BH over all feature rows of the dictionary.
That test takes intervals: with fewer than `MIN_INTERVALS` on a side no q means anything.

Without a background of the user's, each interval gets places of its own length and nearest GC
content among random ones that touch no interval, since most features follow GC.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.concept_tracks import INTERVALS_SCHEMA
from annotations.errors import CoordinateError, LimitError, OptionError
from annotations.evaluation import counts_of
from annotations.row_entries import row_entries
from annotations.significance import benjamini_hochberg
from annotations.tables import check_columns, column

Ints = NDArray[np.int64]

MAX_INTERVALS: Final = 200_000
"""Foreground and background intervals of one question; the time grows with them."""
MIN_INTERVALS: Final = 10
"""Intervals and places of the background that a test takes. The smallest p of 3 against 9 is
1 / 220, of 10 against 10 it is 5e-6: enough for q = 0.05 among ten thousand feature rows."""
BACKGROUND_PER_INTERVAL: Final = 3
"""Random places for each interval without a background of the user's."""
CANDIDATES: Final = 60
"""Random places drawn for each interval, of which those of nearest GC content are taken."""

_N_CODE = 4
_NO_ROOM: Final = (
    "there is no room for a background beside the intervals: they cover the sequences or "
    "are as long as a contig; give a background of your own"
)

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
"""One row per feature row that is active anywhere, lowest q first, then best AUROC.

`active_share` is the share of intervals with an active base; `prevalence`, the share of
foreground among all intervals, is the AUPRC of a score that knows nothing."""


class _Places(NamedTuple):
    """Intervals with contigs laid end to end."""

    start: Ints
    end: Ints


def rank_features_for_intervals(
    activations: ActivationSource,
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
    activations : ActivationSource
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
        Sorted by q (smallest first), AUROC (largest first), feature, strand (+ first).

    Raises
    ------
    OptionError
        If there is no interval, the background is the intervals again, or there is neither a
        background nor sequences.
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
        check_background(foreground, background)
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
    silent = _figures(np.zeros(n + m, np.uint16), label)
    rows, figures = [], []
    for entries in row_entries(activations, lengths, n_features):
        score = _maxima(entries.place, entries.code, start, end)
        rows.append(entries.row)
        # with few intervals most feature rows are silent in all of them
        figures.append(_figures(score, label) if score.any() else silent)
        on_row(entries.row)
    return _ranking(np.array(rows, np.int64), np.array(figures).reshape(-1, 5), n, m, n_features)


def check_background(foreground: pa.Table, background: pa.Table) -> None:
    """Refuse a background that is the intervals themselves.

    Parameters
    ----------
    foreground, background : Table of `annotations.concept_tracks.INTERVALS_SCHEMA`

    Raises
    ------
    OptionError
        If both hold the same places, whatever their strands and order.
    """
    places = [
        set(zip(*(table[name].to_pylist() for name in ("contig", "start", "end")), strict=True))
        for table in (foreground, background)
    ]
    if places[0] == places[1]:
        raise OptionError(
            "the background holds the same intervals as the file: nothing can tell them apart; "
            "give other places, or none, and places of equal GC content are drawn"
        )


def check_room(intervals: pa.Table, lengths: Sequence[int]) -> None:
    """Refuse intervals that leave no gap as long as the shortest of them for a background.

    The bases are not looked at: where a gap is full of N, `matched_places` still refuses.

    Parameters
    ----------
    intervals : Table of `annotations.concept_tracks.INTERVALS_SCHEMA`
    lengths : sequence of int
        Bases of each contig.

    Raises
    ------
    CoordinateError
        If an interval lies outside its contig.
    OptionError
        If there is no such gap.
    """
    given = _places(intervals, lengths)
    # each contig begins and ends like an interval of no length
    edges = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])
    start = np.concatenate([given.start, edges])
    end = np.concatenate([given.end, edges])
    order = np.argsort(start, kind="stable")
    covered = np.maximum.accumulate(end[order])
    gaps = start[order][1:] - covered[:-1]
    if not len(given.start) or gaps.max(initial=0) < (given.end - given.start).min():
        raise OptionError(_NO_ROOM)


def too_few(n: int, m: int) -> str:
    """What to say where there are too few intervals for a test; empty where there are enough.

    Parameters
    ----------
    n, m : int
        Intervals, and places of the background.
    """
    if n >= MIN_INTERVALS and m >= MIN_INTERVALS:
        return ""
    return (
        f"too few for a test: {n} {'interval' if n == 1 else 'intervals'} against {m} of the "
        f"background, where {MIN_INTERVALS} of each are needed for q to mean anything; the order "
        "is a hint at most"
    )


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
        raise OptionError(_NO_ROOM)
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


def _figures(score: NDArray[np.uint16], label: NDArray[np.bool_]) -> tuple[float, ...]:
    """Share of active intervals and background, AUROC, AUPRC and p."""
    counts = counts_of(score, label)
    active = score > 0
    figures = (counts.auroc, counts.auprc, counts.mann_whitney_p)
    return (
        float(active[label].mean()),
        float(active[~label].mean()),
        *(float(values[0]) for values in figures),
    )


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
    order = np.lexsort((row, -auroc, q))
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
