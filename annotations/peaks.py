"""From activations to one row per locus: the peaks of each feature, and the best of them.

    Activations --find_peaks--> peaks of one shard --top_peaks--> the best of each feature

A peak is an active base whose value is the largest within `RADIUS` bases on both sides,
on the same feature, strand and contig; of equal values the leftmost is the peak. So two
peaks of a feature are more than `RADIUS` bases apart, and whether a base is a peak depends
on nothing further away than that.

Rows are sorted as in `annotations.active_bases`: by feature, strand (+ first), contig,
position.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import Activations, owned_mask, row_index, select, sort
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
    "local_maxima",
    "top_peaks",
]

RADIUS = 25
"""Bases on each side of a peak in which no value is larger."""

PER_FEATURE = 200
"""Peaks kept for each feature and strand by `top_peaks`."""

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
"""The best peaks of each feature and strand; `rank` 1 is the largest value."""


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


def top_peaks(peaks: Iterable[pa.Table], per_feature: int = PER_FEATURE) -> pa.Table:
    """The largest peaks of each feature and strand, with their ranks.

    Parameters
    ----------
    peaks : iterable of Table of PEAKS_SCHEMA
        Those of every shard; read one after the other, so a generator keeps memory small.
    per_feature : int
        Peaks to keep for each feature and strand; at least 1.

    Returns
    -------
    top : Table of TOP_PEAKS_SCHEMA
        Sorted by feature, strand (+ first), rank. Equal values rank by contig, position.

    Raises
    ------
    FormatError
        If a table has other columns.
    ValueError
        If `per_feature` is below 1.
    """
    if per_feature < 1:
        raise ValueError(f"per_feature must be at least 1, got {per_feature}")
    top = TOP_PEAKS_SCHEMA.empty_table()
    for table in peaks:
        check_columns(table, PEAKS_SCHEMA, what="a table of peaks")
        parts = [part.select(PEAKS_SCHEMA.names).cast(PEAKS_SCHEMA) for part in (top, table)]
        top = _ranked(pa.concat_tables(parts), per_feature)
    return top


def _ranked(peaks: pa.Table, per_feature: int) -> pa.Table:
    """The first `per_feature` peaks of each feature and strand by value."""
    row = row_index(column(peaks, "feature"), column(peaks, "strand"))
    order = np.lexsort(
        (column(peaks, "position"), column(peaks, "contig"), -column(peaks, "value"), row)
    )
    row = row[order]
    rank = np.arange(1, len(row) + 1) - np.searchsorted(row, row)
    kept = rank <= per_feature
    top = peaks.take(pa.array(order[kept])).combine_chunks()
    return top.append_column(
        TOP_PEAKS_SCHEMA.field("rank"), pa.array(rank[kept].astype(np.int32))
    ).cast(TOP_PEAKS_SCHEMA)


def _places(ordered: Activations) -> NDArray[np.int64]:
    """Positions on one axis on which rows of different groups are more than `RADIUS` apart."""
    if not len(ordered.value):
        return np.empty(0, dtype=np.int64)
    row = row_index(ordered.feature, ordered.strand)
    changed = (row[1:] != row[:-1]) | (ordered.contig[1:] != ordered.contig[:-1])
    group = np.concatenate([[0], np.cumsum(changed)])
    return np.asarray(group * (int(ordered.position.max()) + RADIUS + 1) + ordered.position)
