"""From activations to one row per locus: the peaks of each feature, and the best of them.

    Activations --find_peaks--> peaks of one shard --top_peaks--> the best of each feature

A peak is an active base whose value is the largest within `RADIUS` bases on both sides,
on the same feature, strand and contig; of equal values the leftmost is the peak. So two
peaks of a feature are more than `RADIUS` bases apart, and whether a base is a peak depends
on nothing further away than that. Where a read begins, a model has seen next to nothing: its
values there are the same in any record, and `with_context` leaves such peaks out.

Contigs may be held out of discovery. The top peaks of either part are then kept apart, and
ranked apart.

Rows are sorted as in `annotations.active_bases`: by feature, strand (+ first), contig,
position.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import (
    Activations,
    locus_index,
    owned_mask,
    row_index,
    select,
    sort,
    sorting_order,
)
from annotations.statistics import FEATURES_SCHEMA, FeatureStatistics, features_table
from annotations.tables import check_columns, column
from annotations.types import Span

__all__ = [
    "FEATURES_SCHEMA",
    "PEAKS_SCHEMA",
    "PER_FEATURE",
    "RADIUS",
    "TOP_PEAKS_SCHEMA",
    "FeatureStatistics",
    "features_table",
    "find_peaks",
    "keep_top",
    "local_maxima",
    "top_peaks",
    "with_context",
]

RADIUS = 25
"""Bases on each side of a peak in which no value is larger."""

PER_FEATURE = 100
"""Peaks kept for each feature and strand by `top_peaks`."""

_PENDING_ROWS = 500_000  # peaks that wait to be ranked; bounds the memory of `top_peaks`

PEAKS_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("contig", pa.uint32(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
    ]
)
"""One row per peak."""

TOP_PEAKS_SCHEMA = PEAKS_SCHEMA.append(pa.field("rank", pa.int32(), nullable=False))
"""The best peaks of each feature and strand; `rank` 1 is the largest value, of those on
held-out contigs and of those on the others."""


def find_peaks(activations: Activations, owned: Sequence[Span]) -> pa.Table:
    """The peaks whose base is owned.

    Given the activations of all bases within `RADIUS` of the owned ones, the peaks of a
    contig are the same however it is cut into owned spans.

    Parameters
    ----------
    activations : Activations
        In any order; those of the owned bases and of `RADIUS` bases around them.
    owned : sequence of Span
        Bases whose peaks are wanted; no two may overlap.

    Returns
    -------
    peaks : Table of PEAKS_SCHEMA
        Sorted by feature, strand (+ first), contig, position.

    Raises
    ------
    FormatError, CoordinateError
        As `annotations.active_bases.sort` and `owned_mask`.
    """
    ordered = sort(activations)
    rows = np.flatnonzero(local_maxima(ordered))
    rows = rows[owned_mask(ordered.contig[rows], ordered.position[rows], owned)]
    peaks = select(ordered, rows)
    return pa.Table.from_arrays([pa.array(values) for values in peaks], schema=PEAKS_SCHEMA)


def local_maxima(ordered: Activations) -> NDArray[np.bool_]:
    """Which rows are the largest within `RADIUS` bases, the leftmost among equals.

    Parameters
    ----------
    ordered : Activations
        Sorted, no base of a feature twice.

    Returns
    -------
    peak : ndarray of bool, shape (n,)
        One per row.
    """
    n_rows = len(ordered.value)
    peak = np.ones(n_rows, dtype=bool)
    place = _places(ordered)
    value = ordered.value
    # rows within RADIUS bases are within RADIUS rows: compare each row that may still be a
    # peak with its step-th neighbour on both sides; most rows drop out at the first step
    left = right = np.arange(n_rows)
    for step in range(1, RADIUS + 1):
        right = right[right < n_rows - step]
        right = right[place[right + step] - place[right] <= RADIUS]
        left = left[left >= step]
        left = left[place[left] - place[left - step] <= RADIUS]
        peak[right[value[right + step] > value[right]]] = False
        peak[left[value[left - step] >= value[left]]] = False
        right, left = right[peak[right]], left[peak[left]]
    return peak


def with_context(peaks: pa.Table, lengths: Mapping[int, int]) -> pa.Table:
    """The peaks that have at least `RADIUS` bases of their record before them, as they are read.

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        In any order.
    lengths : mapping of int to int
        Bases of each contig that has a peak, by its index.

    Returns
    -------
    peaks : Table of PEAKS_SCHEMA
        On strand + those from base `RADIUS` on, on strand - those that far from the other end.
    """
    contig, position = column(peaks, "contig"), column(peaks, "position")
    length = np.zeros(max(lengths, default=0) + 1, dtype=np.int64)
    length[list(lengths)] = list(lengths.values())
    forward = column(peaks, "strand") > 0
    read = np.where(forward, position, length[contig] - 1 - position)
    kept = read >= RADIUS
    return peaks if kept.all() else peaks.filter(pa.array(kept))


def top_peaks(
    peaks: Iterable[pa.Table],
    per_feature: int = PER_FEATURE,
    *,
    held_out: Collection[int] = (),
) -> pa.Table:
    """The largest peaks of each feature and strand, with their ranks.

    Parameters
    ----------
    peaks : iterable of Table of PEAKS_SCHEMA
        Those of every shard; read one after the other, so a generator keeps memory small.
    per_feature : int
        Peaks to keep for each feature and strand; at least 1.
    held_out : collection of int
        Contigs held out of discovery: so many peaks are kept of these, and as many of the others.

    Returns
    -------
    top : Table of TOP_PEAKS_SCHEMA
        Sorted by feature, strand (+ first), part (held-out contigs last), rank. Equal values rank
        by contig, position.

    Raises
    ------
    FormatError
        If a table has other columns.
    ValueError
        If `per_feature` is below 1.
    """
    _check_number(per_feature)
    top = TOP_PEAKS_SCHEMA.empty_table()
    least = np.empty(0, dtype=np.float32)  # value that a peak of each row and part must reach
    pending: list[pa.Table] = []
    for table in peaks:
        check_columns(table, PEAKS_SCHEMA, what="a table of peaks")
        row = _row_and_part(table, held_out)
        needed = int(row.max(initial=-1)) + 1 - len(least)
        least = np.concatenate([least, np.zeros(max(0, needed), dtype=np.float32)])
        kept = column(table, "value") >= least[row]
        pending.append(table.select(PEAKS_SCHEMA.names).filter(pa.array(kept)))
        if sum(part.num_rows for part in pending) > max(_PENDING_ROWS, top.num_rows):
            top = _ranked(top, pending, per_feature, held_out)
            last = column(top, "rank") == per_feature
            least[_row_and_part(top, held_out)[last]] = column(top, "value")[last]
            pending = []
    return _ranked(top, pending, per_feature, held_out)


def keep_top(peaks: pa.Table, per_feature: int, *, held_out: Collection[int] = ()) -> pa.Table:
    """The rows of a table that `top_peaks` would keep of it alone, in the order they had.

    The top peaks of a whole are among the top peaks of its parts.

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        In any order.
    per_feature : int
        Peaks to keep for each feature and strand; at least 1.
    held_out : collection of int
        As in `top_peaks`.

    Returns
    -------
    kept : Table of PEAKS_SCHEMA

    Raises
    ------
    FormatError
        If the table has other columns.
    ValueError
        If `per_feature` is below 1.
    """
    _check_number(per_feature)
    check_columns(peaks, PEAKS_SCHEMA, what="a table of peaks")
    row = _row_and_part(peaks, held_out)
    # most rows of a shard have fewer peaks than are kept: only the others are ranked
    many = np.bincount(row) > per_feature
    if not many.any():
        return peaks.combine_chunks()
    asked = np.flatnonzero(many[row])
    order, rank = _ranks(peaks.take(pa.array(asked)), held_out)
    kept = ~many[row]
    kept[asked[order[rank <= per_feature]]] = True
    return peaks.filter(pa.array(kept)).combine_chunks()


def _check_number(per_feature: int) -> None:
    if per_feature < 1:
        raise ValueError(f"per_feature must be at least 1, got {per_feature}")


def _ranked(
    top: pa.Table, parts: Sequence[pa.Table], per_feature: int, held_out: Collection[int]
) -> pa.Table:
    """The first `per_feature` peaks of each feature and strand by value."""
    tables = [table.select(PEAKS_SCHEMA.names).cast(PEAKS_SCHEMA) for table in (top, *parts)]
    peaks = pa.concat_tables(tables).combine_chunks()
    order, rank = _ranks(peaks, held_out)
    kept = rank <= per_feature
    top = peaks.take(pa.array(order[kept])).combine_chunks()
    return top.append_column(
        TOP_PEAKS_SCHEMA.field("rank"), pa.array(rank[kept].astype(np.int32))
    ).cast(TOP_PEAKS_SCHEMA)


def _row_and_part(peaks: pa.Table, held_out: Collection[int]) -> NDArray[np.int64]:
    """Twice the row of each peak, and 1 more on a contig that is held out."""
    row = row_index(column(peaks, "feature"), column(peaks, "strand"))
    return 2 * row + np.isin(column(peaks, "contig"), list(held_out))


def _ranks(
    peaks: pa.Table, held_out: Collection[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices that sort by row, part, value from the largest, contig, position; and the ranks."""
    row = _row_and_part(peaks, held_out)
    order = sorting_order(row, locus_index(column(peaks, "contig"), column(peaks, "position")))
    # the bits of floats above 0 are in the order of the floats
    value = np.ascontiguousarray(column(peaks, "value")).view(np.uint32)
    key = (row.astype(np.uint64) << np.uint64(32)) | (np.uint32(2**32 - 1) - value)
    if order is None:
        order = np.argsort(key, kind="stable")
    else:
        order = order[np.argsort(key[order], kind="stable")]
    row = row[order]
    return order, np.arange(1, len(row) + 1) - np.searchsorted(row, row)


def _places(ordered: Activations) -> NDArray[np.int64]:
    """Positions on one axis on which rows of different groups are more than `RADIUS` apart."""
    if not len(ordered.value):
        return np.empty(0, dtype=np.int64)
    row = row_index(ordered.feature, ordered.strand)
    changed = (row[1:] != row[:-1]) | (ordered.contig[1:] != ordered.contig[:-1])
    group = np.concatenate([[0], np.cumsum(changed)])
    return np.asarray(group * (int(ordered.position.max()) + RADIUS + 1) + ordered.position)
