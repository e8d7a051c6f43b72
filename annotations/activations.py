"""Files of sparse activations: Parquet sorted by feature, merged, and asked questions.

    Activations (one row per active base) --to_stretches--> table --write_stretches--> Parquet
    Parquet of every shard --annotations.activation_merge--> one Parquet, or parts of a large result

The rows in memory are those of `annotations.active_bases`, the table that of
`annotations.stretches`; the public names of both can be imported from here.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
from numpy.typing import NDArray

from annotations.activation_files import (
    GROUP_ROWS,
    bases_of_groups,
    features_between,
    file_layout,
    file_metadata,
    open_writer,
    row_groups,
)
from annotations.activation_merge import merge_stretches
from annotations.activation_parts import ActivationParts, ActivationSource, opened
from annotations.active_bases import (
    LARGEST_VALUE,
    Activations,
    check,
    concatenate,
    locus_index,
    owned_mask,
    row_index,
    select,
    sort,
    sorting_order,
)
from annotations.errors import CoordinateError, FormatError, StorageError
from annotations.stretches import (
    ACTIVATIONS_SCHEMA,
    as_stored,
    from_stretches,
    join_touching,
    stretch_sizes,
    stretch_values,
    to_stretches,
)
from annotations.tables import check_columns, column, replacing

__all__ = [
    "ACTIVATIONS_SCHEMA",
    "LARGEST_VALUE",
    "ActivationSource",
    "Activations",
    "Cells",
    "as_stored",
    "check",
    "concatenate",
    "count_active_bases",
    "from_stretches",
    "join_touching",
    "merge_stretches",
    "owned_mask",
    "read_feature",
    "read_rows",
    "rewrite_stretches",
    "row_index",
    "select",
    "sort",
    "stretch_groups",
    "stretch_sizes",
    "to_stretches",
    "window_cells",
    "window_maxima",
    "write_stretches",
]


def write_stretches(table: pa.Table, path: Path) -> None:
    """Write stretches as Parquet, whole or not at all.

    Parameters
    ----------
    table : Table of ACTIVATIONS_SCHEMA
        Sorted, as `to_stretches` returns it.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    FormatError
        If the table has other columns or is not sorted.
    """
    check_columns(table, ACTIVATIONS_SCHEMA, what="a table of activations")
    row = row_index(column(table, "feature"), column(table, "strand"))
    locus = locus_index(column(table, "contig"), column(table, "start"))
    if sorting_order(row, locus) is not None:
        raise FormatError(
            "stretches must be sorted by feature, strand, contig and start before they are "
            "written; make them with to_stretches or join_touching"
        )
    with replacing(path) as temporary, open_writer(temporary) as writer:
        if table.num_rows:
            writer.write_table(table.cast(ACTIVATIONS_SCHEMA), row_group_size=GROUP_ROWS)


def rewrite_stretches(
    path: ActivationSource, out: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    """Copy a file of stretches with every table of rows changed, one row group at a time.

    Parameters
    ----------
    path : ActivationSource
        A file of `write_stretches` or `merge_stretches`, or parts of
        `annotations.activation_merge.merge_parts`.
    out : Path
        Made or replaced.
    change : callable
        Gives a table of ACTIVATIONS_SCHEMA with as many rows in the same order; the order by
        contig and start must hold for them too.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of `write_stretches`.
    """
    with replacing(out) as temporary, open_writer(temporary) as writer:
        for table in stretch_groups(path):
            writer.write_table(change(table).cast(ACTIVATIONS_SCHEMA), row_group_size=GROUP_ROWS)


def read_feature(
    path: ActivationSource, feature: int, strand: int | None = None, contig: int | None = None
) -> pa.Table:
    """The stretches of one feature, read from the row groups that hold it.

    Parameters
    ----------
    path : ActivationSource
        As in `rewrite_stretches`.
    feature : int
        Index of the feature; one that is never active gives no rows.
    strand : {1, -1}, optional
        Only this strand.
    contig : int, optional
        Only this contig.

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        Sorted by strand (+ first), contig, start.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of `write_stretches`.
    """
    table = _features_of(path, contig)(feature)
    if strand is not None:
        table = table.filter(pc.equal(table.column("strand"), pa.scalar(strand, pa.int8())))
    if contig is not None:
        table = table.filter(pc.equal(table.column("contig"), pa.scalar(contig, pa.uint32())))
    return table


def read_rows(path: ActivationSource, rows: Sequence[int], contig: int | None = None) -> pa.Table:
    """The stretches of some feature rows; the file's metadata is read once for all.

    Parameters
    ----------
    path : ActivationSource
        As in `read_feature`.
    rows : sequence of int
        Feature rows, ``2 * feature + (strand < 0)``, in any order.
    contig : int, optional
        Only this contig.

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        Sorted by feature, strand (+ first), contig, start.

    Raises
    ------
    StorageError
        As `read_feature`.
    """
    rows_of = _features_of(path, contig)
    parts = [ACTIVATIONS_SCHEMA.empty_table()]
    for feature in sorted({row // 2 for row in rows}):
        table = rows_of(feature)
        own = row_index(column(table, "feature"), column(table, "strand"))
        kept = np.isin(own, np.array(list(rows), np.int64))
        if contig is not None:
            kept &= column(table, "contig") == contig
        parts.append(table.filter(pa.array(kept)))
    return pa.concat_tables(parts).cast(ACTIVATIONS_SCHEMA)


def _features_of(path: ActivationSource, contig: int | None) -> Callable[[int], pa.Table]:
    """What reads the stretches of a feature; of parts, those of one contig alone."""
    source = opened(path)
    if isinstance(source, ActivationParts):
        return lambda feature: source.features_between(feature, feature + 1, contig)
    metadata, ranges = file_layout(source)
    return lambda feature: features_between(source, metadata, ranges, feature, feature + 1)


class Cells(NamedTuple):
    """Largest activations of feature rows in windows, as columns; sorted by row and window."""

    row: NDArray[np.int64]
    """``2 * feature + (strand < 0)``."""
    window: NDArray[np.int64]
    value: NDArray[np.float32]


def window_maxima(
    path: ActivationSource,
    windows: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    n_features: int,
) -> scipy.sparse.csc_array:
    """The largest activation of each feature in each window, on each strand.

    Reads one row group at a time, and holds at most 12 bytes for each window and feature row that
    is active in it; `annotations.window_activity` holds some rows.

    Parameters
    ----------
    path, windows, n_features
        As in `window_cells`.

    Returns
    -------
    maxima : csc_array of float32, shape (n, 2 * n_features)
        Nothing is stored where a feature is silent. Column ``2 * feature`` is strand +, the next
        one strand -, as in `row_index`.

    Raises
    ------
    CoordinateError, StorageError
        As `window_cells`.
    """
    # cells come feature row by feature row, by window within each: columns that need no sorting
    windows_of: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    values_of: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    counts = np.zeros(2 * n_features, np.int64)
    for cells in window_cells(path, windows, n_features):
        windows_of.append(cells.window.astype(np.int32))
        values_of.append(cells.value.copy())
        counts += np.bincount(cells.row, minlength=2 * n_features)
    window_at = np.concatenate(windows_of)
    windows_of.clear()
    value_at = np.concatenate(values_of)
    values_of.clear()
    bounds = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(windows[0]), 2 * n_features)
    return scipy.sparse.csc_array((value_at, window_at, bounds), shape=shape)


def window_cells(
    path: ActivationSource,
    windows: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    n_features: int,
) -> Iterator[Cells]:
    """The largest activation of each feature row in each window where it is active, row by row.

    Parameters
    ----------
    path : Path
        A file of `write_stretches` or `merge_stretches`; one row group is in memory.
    windows : contig, start and end, ndarrays of int, shape (n,)
        Half-open, not empty; may overlap; in any order.
    n_features : int
        Features of the dictionary.

    Yields
    ------
    cells : Cells
        No row and window twice.

    Raises
    ------
    CoordinateError
        If a window is empty or starts below 0.
    StorageError
        If the file is missing, cut, not one of `write_stretches`, or of a larger dictionary.
    """
    contig, start, end = (np.asarray(values) for values in windows)
    if ((start < 0) | (start >= end)).any():
        raise CoordinateError("windows must not be empty and must start at 0 or above")
    # sorted by start; the largest end so far bounds where a stretch can still overlap
    order = np.lexsort((start, contig))
    starts = locus_index(contig[order], start[order]).astype(np.int64)
    ends = locus_index(contig[order], end[order]).astype(np.int64)
    ends_so_far = np.maximum.accumulate(ends) if len(ends) else ends
    size = max(1, len(order))
    # a feature's stretches may lie in several row groups: its cells wait until the next row
    waiting = np.empty(0, np.int64), np.empty(0, np.float32)
    for table in stretch_groups(path):
        feature_row = row_index(column(table, "feature"), column(table, "strand"))
        if len(feature_row) and int(feature_row.max()) >= 2 * n_features:
            raise StorageError(
                f"{path.name} holds feature {int(feature_row.max()) // 2}, but the dictionary has "
                f"{n_features} features; give the dictionary it was computed with"
            )
        first = locus_index(column(table, "contig"), column(table, "start")).astype(np.int64)
        past = first + stretch_sizes(table)
        low = np.searchsorted(ends_so_far, first, side="right")
        counts = np.maximum(np.searchsorted(starts, past, side="left") - low, 0)
        stretch = np.repeat(np.arange(len(counts)), counts)
        window = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts - low, counts)
        overlaps = ends[window] > first[stretch]
        stretch, window = stretch[overlaps], window[overlaps]
        offset = np.cumsum(past - first) - past  # where the values of a stretch are, less its place
        from_base = np.maximum(starts[window], first[stretch]) + offset[stretch]
        to_base = np.minimum(ends[window], past[stretch]) + offset[stretch]
        values = np.append(stretch_values(table).astype(np.float32), np.float32(0))
        both = np.stack([from_base, to_base], axis=1).ravel()
        largest = np.maximum.reduceat(values, both)[::2] if len(both) else values[:0]
        cell = feature_row[stretch].astype(np.int64) * size + order[window]
        cell, largest = _largest_of_each(
            np.concatenate([waiting[0], cell]), np.concatenate([waiting[1], largest])
        )
        done = np.searchsorted(cell, int(feature_row.max(initial=0)) * size)
        waiting = cell[done:], largest[done:]
        yield Cells(cell[:done] // size, cell[:done] % size, largest[:done])
    yield Cells(waiting[0] // size, waiting[0] % size, waiting[1])


def _largest_of_each(
    cell: NDArray[np.int64], value: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each cell once, sorted, with the largest of its values."""
    order = np.argsort(cell, kind="stable")
    cell, value = cell[order], value[order]
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell[first], np.maximum.reduceat(value, first) if len(first) else value


def count_active_bases(path: ActivationSource) -> int:
    """Active bases that are stored, of all features; only metadata are read.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of activations.
    """
    source = opened(path)
    if isinstance(source, ActivationParts):
        return source.index.active_bases
    return sum(bases_of_groups(file_metadata(source)))


def stretch_groups(path: ActivationSource) -> Iterator[pa.Table]:
    """All stretches in order, one row group at a time, and of parts one group of features.

    Raises
    ------
    StorageError
        If a file is missing, cut or not one of activations.
    """
    source = opened(path)
    if isinstance(source, ActivationParts):
        return source.tables()
    metadata = file_metadata(source)
    return row_groups(source, metadata, range(metadata.num_row_groups))
