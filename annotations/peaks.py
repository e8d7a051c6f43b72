"""From activations to one row per locus: the peaks of each feature, and the best of them.

    Activations --find_peaks--> peaks --top_peaks, TopPeaks--> the best of each feature

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

from annotations import base_kernels
from annotations.active_bases import (
    Activations,
    locus_index,
    owned_mask,
    row_index,
    select,
    sort,
    sorting_order,
)
from annotations.compiled import compiled
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
    "TopPeaks",
    "features_table",
    "find_peaks",
    "local_maxima",
    "top_peaks",
    "with_context",
]

RADIUS = 25
"""Bases on each side of a peak in which no value is larger."""

PER_FEATURE = 100
"""Peaks kept for each feature and strand by `top_peaks`."""

_PENDING_ROWS = 500_000  # peaks that wait to be ranked; bounds the memory of `top_peaks`

_LOWEST, _LEVELS = (127 - 24) << 3, 41 << 3
"""Levels of values, eight to an octave: the first of 2**-24 or less, the last of 2**16 or more."""

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
    top = TopPeaks(per_feature, held_out=held_out)
    for table in peaks:
        top.add(table)
    return top.table()


class TopPeaks:
    """The largest peaks of each feature and strand among those it has been given so far."""

    def __init__(self, per_feature: int = PER_FEATURE, *, held_out: Collection[int] = ()) -> None:
        """Begin with none.

        Parameters
        ----------
        per_feature, held_out
            As in `top_peaks`.

        Raises
        ------
        ValueError
            If `per_feature` is below 1.
        """
        _check_number(per_feature)
        self._per_feature, self._held_out = per_feature, held_out
        self._top = TOP_PEAKS_SCHEMA.empty_table()
        # value that a peak of each row and part must reach
        self._least = np.empty(0, dtype=np.float32)
        self._pending: list[pa.Table] = []

    def add(self, peaks: pa.Table) -> None:
        """Take some more peaks.

        Parameters
        ----------
        peaks : Table of PEAKS_SCHEMA
            In any order; those of a feature may come in several tables.

        Raises
        ------
        FormatError
            If the table has other columns.
        """
        check_columns(peaks, PEAKS_SCHEMA, what="a table of peaks")
        row, value = _row_and_part(peaks, self._held_out), column(peaks, "value")
        needed = int(row.max(initial=-1)) + 1 - len(self._least)
        self._least = np.concatenate([self._least, np.zeros(max(0, needed), dtype=np.float32)])
        kept = _may_be_kept(row, value, self._per_feature)
        kept &= value >= self._least[row]
        self._pending.append(peaks.select(PEAKS_SCHEMA.names).filter(pa.array(kept)))
        if sum(part.num_rows for part in self._pending) > max(_PENDING_ROWS, self._top.num_rows):
            self._rank()

    def table(self) -> pa.Table:
        """Those that are kept, as `top_peaks` returns them."""
        self._rank()
        return self._top

    def _rank(self) -> None:
        """Keep the best of all so far."""
        self._top = _ranked(self._top, self._pending, self._per_feature, self._held_out)
        self._pending = []
        last = column(self._top, "rank") == self._per_feature
        at = _row_and_part(self._top, self._held_out)[last]
        self._least[at] = column(self._top, "value")[last]


def _may_be_kept(
    row: NDArray[np.int64], value: NDArray[np.float32], per_feature: int
) -> NDArray[np.bool_]:
    """Peaks among which are the `per_feature` largest of each row, and few others.

    Ranking takes ten times as long, and most peaks of a dense feature are far from the top.
    """
    counts = np.bincount(row)
    many = counts > per_feature
    if not many.any():
        return np.ones(len(row), dtype=np.bool_)
    slot = np.where(many, np.cumsum(many) - 1, -1)
    # exponent and three more bits of floats above 0, which are in the order of the numbers
    bits = np.ascontiguousarray(value).view(np.uint32) >> np.uint32(20)
    level = np.clip(bits, _LOWEST, _LOWEST + _LEVELS - 1) - np.uint32(_LOWEST)
    histogram = np.zeros((int(many.sum()), _LEVELS), np.int64)
    compiled(base_kernels.count_levels)(row, level, slot, histogram)
    above = np.cumsum(histogram[:, ::-1], axis=1)
    least = histogram.shape[1] - 1 - (above >= per_feature).argmax(axis=1)
    kept = np.empty(len(row), dtype=np.bool_)
    compiled(base_kernels.reach_level)(row, level, slot, least, kept)
    return kept


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
    row = 2 * row_index(column(peaks, "feature"), column(peaks, "strand"))
    if held_out:
        row += np.isin(column(peaks, "contig"), list(held_out))
    return row


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
