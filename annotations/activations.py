"""Files of sparse activations: Parquet sorted by feature, merged, and asked questions.

    Activations (one row per active base) --to_stretches--> table --write_stretches--> Parquet
    Parquet of every shard --merge_stretches--> one Parquet, the same for any sharding

The rows in memory are those of `annotations.active_bases`, the table that of
`annotations.stretches`; the public names of both can be imported from here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse
from numpy.typing import NDArray

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
    "Activations",
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
    "window_maxima",
    "write_stretches",
]

_VALUES = ACTIVATIONS_SCHEMA.get_field_index("values")

GROUP_ROWS = 65_536
"""Stretches in a row group of the Parquet file; a query for one feature reads one or two."""

BASES_PER_BLOCK = 4_000_000
"""Active bases that `merge_stretches` aims to hold in memory at once; up to 100 bytes each
while their stretches are sorted."""


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
    with replacing(path) as temporary, _writer(temporary) as writer:
        if table.num_rows:
            writer.write_table(table.cast(ACTIVATIONS_SCHEMA), row_group_size=GROUP_ROWS)


def merge_stretches(
    paths: Sequence[Path],
    out: Path,
    *,
    bases_per_block: int = BASES_PER_BLOCK,
    on_part: Callable[[float], None] = lambda part: None,
) -> None:
    """Merge the stretches of shards into one file, the same however the shards were cut.

    Goes through the features in blocks: holds the rows of one block of features in memory,
    and one row group of a shard. A block has about `bases_per_block` active bases, by what the
    shards say of their row groups; it never has less than one feature.

    Parameters
    ----------
    paths : sequence of Path
        Files of `write_stretches`, in any order; together no base of a feature twice.
    out : Path
        Made or replaced.
    bases_per_block : int
        Active bases to merge at once; at least 1. No byte of `out` depends on it, nor on how the
        shards were cut.
    on_part : callable
        Told the part of the features that is done, 0 to 1, after each block; may raise to stop.

    Raises
    ------
    FormatError
        If two shards hold the same base of a feature.
    StorageError
        If a file is missing, cut or not one of `write_stretches`.
    ValueError
        If `bases_per_block` is below 1.
    """
    if bases_per_block < 1:
        raise ValueError(f"bases_per_block must be at least 1, got {bases_per_block}")
    metadata = [_metadata(path) for path in paths]
    ranges = [_feature_ranges(shard) for shard in metadata]
    end = max((last for shard in ranges for _, last in shard), default=-1) + 1
    bounds = _blocks(metadata, ranges, end, bases_per_block)
    waiting = ACTIVATIONS_SCHEMA.empty_table()
    with replacing(out) as temporary, _writer(temporary) as writer:
        for low, high in pairwise(bounds):
            parts = [
                _copied(_features_between(path, shard, groups, low, high))
                for path, shard, groups in zip(paths, metadata, ranges, strict=True)
            ]
            block = join_touching(pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *parts]))
            del parts
            waiting = _write_groups(writer, pa.concat_tables([waiting, block]))
            del block
            waiting = _copied(waiting)
            on_part(high / end)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), row_group_size=GROUP_ROWS)


def _blocks(
    metadata: Sequence[pq.FileMetaData],
    ranges: Sequence[list[tuple[int, int]]],
    end: int,
    bases_per_block: int,
) -> list[int]:
    """Features at which blocks begin, and the end: each block has about as many active bases."""
    if not end:
        return [0]
    per_feature = np.zeros(end)
    for shard, groups in zip(metadata, ranges, strict=True):
        for at, (first, last) in enumerate(groups):
            bases = shard.row_group(at).column(_VALUES).num_values
            per_feature[first : last + 1] += bases / (last + 1 - first)
    block = ((np.cumsum(per_feature) - per_feature / 2) // bases_per_block).astype(np.int64)
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), end]


def _write_groups(writer: pq.ParquetWriter, table: pa.Table) -> pa.Table:
    """Write whole row groups; the rows that do not fill one are left."""
    whole = table.num_rows - table.num_rows % GROUP_ROWS
    for start in range(0, whole, GROUP_ROWS):
        # one chunk: the pages of a group do not depend on where blocks met
        writer.write_table(
            table.slice(start, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS
        )
    return table.slice(whole)


def _copied(table: pa.Table) -> pa.Table:
    """The same rows alone: a slice keeps all of the table that it was cut from in memory."""
    return table.take(pa.array(np.arange(table.num_rows)))


def rewrite_stretches(path: Path, out: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Copy a file of stretches with every table of rows changed, one row group at a time.

    Parameters
    ----------
    path : Path
        A file of `write_stretches` or `merge_stretches`.
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
    with replacing(out) as temporary, _writer(temporary) as writer:
        for table in stretch_groups(path):
            writer.write_table(change(table).cast(ACTIVATIONS_SCHEMA), row_group_size=GROUP_ROWS)


def read_feature(
    path: Path, feature: int, strand: int | None = None, contig: int | None = None
) -> pa.Table:
    """The stretches of one feature, read from the row groups that hold it.

    Parameters
    ----------
    path : Path
        A file of `write_stretches` or `merge_stretches`.
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
    metadata, ranges = _layout(path)
    table = _features_between(path, metadata, ranges, feature, feature + 1)
    if strand is not None:
        table = table.filter(pc.equal(table.column("strand"), pa.scalar(strand, pa.int8())))
    if contig is not None:
        table = table.filter(pc.equal(table.column("contig"), pa.scalar(contig, pa.uint32())))
    return table


def read_rows(path: Path, rows: Sequence[int], contig: int | None = None) -> pa.Table:
    """The stretches of some feature rows; the file's metadata is read once for all.

    Parameters
    ----------
    path : Path
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
    metadata, ranges = _layout(path)
    parts = [ACTIVATIONS_SCHEMA.empty_table()]
    for feature in sorted({row // 2 for row in rows}):
        table = _features_between(path, metadata, ranges, feature, feature + 1)
        own = row_index(column(table, "feature"), column(table, "strand"))
        kept = np.isin(own, np.array(list(rows), np.int64))
        if contig is not None:
            kept &= column(table, "contig") == contig
        parts.append(table.filter(pa.array(kept)))
    return pa.concat_tables(parts).cast(ACTIVATIONS_SCHEMA)


def window_maxima(
    path: Path,
    windows: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    n_features: int,
) -> scipy.sparse.csc_array:
    """The largest activation of each feature in each window, on each strand.

    Reads one row group at a time, and holds at most 12 bytes for each window and feature row that
    is active in it.

    Parameters
    ----------
    path : Path
        A file of `write_stretches` or `merge_stretches`.
    windows : contig, start and end, ndarrays of int, shape (n,)
        Half-open, not empty; may overlap; in any order.
    n_features : int
        Features of the dictionary.

    Returns
    -------
    maxima : csc_array of float32, shape (n, 2 * n_features)
        Nothing is stored where a feature is silent. Column ``2 * feature`` is strand +, the next
        one strand -, as in `row_index`.

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
    # cells come feature row by feature row, by window within each: columns that need no sorting
    windows_of: list[NDArray[np.int32]] = []
    values_of: list[NDArray[np.float32]] = []
    counts_of = np.zeros(2 * n_features, np.int64)
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
        windows_of.append((cell[:done] % size).astype(np.int32))
        values_of.append(largest[:done].copy())
        counts_of += np.bincount(cell[:done] // size, minlength=2 * n_features)
    windows_of.append((waiting[0] % size).astype(np.int32))
    values_of.append(waiting[1])
    counts_of += np.bincount(waiting[0] // size, minlength=2 * n_features)
    window_at = np.concatenate(windows_of)
    windows_of.clear()
    value_at = np.concatenate(values_of)
    values_of.clear()
    bounds = np.concatenate([[0], np.cumsum(counts_of)])
    return scipy.sparse.csc_array((value_at, window_at, bounds), shape=(len(order), 2 * n_features))


def _largest_of_each(
    cell: NDArray[np.int64], value: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each cell once, sorted, with the largest of its values."""
    order = np.argsort(cell, kind="stable")
    cell, value = cell[order], value[order]
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell[first], np.maximum.reduceat(value, first) if len(first) else value


def count_active_bases(path: Path) -> int:
    """Active bases that a file holds, of all features; only its metadata is read.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of `write_stretches`.
    """
    metadata = _metadata(path)
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return sum(group.column(_VALUES).num_values for group in groups)


def stretch_groups(path: Path) -> Iterator[pa.Table]:
    """All stretches of a file in order, one row group at a time.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of `write_stretches`.
    """
    metadata = _metadata(path)
    return _row_groups(path, metadata, range(metadata.num_row_groups))


def _writer(path: Path) -> pq.ParquetWriter:
    """A Parquet file in the layout of stored activations."""
    return pq.ParquetWriter(
        path,
        ACTIVATIONS_SCHEMA,
        compression="zstd",
        use_dictionary=["feature", "strand", "contig"],
        column_encoding={"start": "DELTA_BINARY_PACKED"},
    )


class _Layout(NamedTuple):
    """Where the features of a file are."""

    metadata: pq.FileMetaData
    ranges: list[tuple[int, int]]
    """First and last feature of each row group."""


def _layout(path: Path) -> _Layout:
    """Where the features of a file are: read once while the file stays what it is."""
    try:
        found = path.stat()
    except OSError as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
    return _read_layout(path, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=4)
def _read_layout(path: Path, version: tuple[int, int, int]) -> _Layout:
    """The layout of a version of a file: of a genome some thousand row groups, 60 ms."""
    metadata = _metadata(path)
    return _Layout(metadata, _feature_ranges(metadata))


def _metadata(path: Path) -> pq.FileMetaData:
    """The metadata of a file of activations, after a check of its schema."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
    if not metadata.schema.to_arrow_schema().equals(ACTIVATIONS_SCHEMA):
        raise StorageError(
            f"{path.name} is not a file of activations: its columns are "
            f"{', '.join(metadata.schema.to_arrow_schema().names)}"
        )
    return metadata


def _feature_ranges(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """First and last feature of each row group; a group is never empty."""
    statistics = [
        metadata.row_group(i).column(0).statistics for i in range(metadata.num_row_groups)
    ]
    if not all(found is not None and found.has_min_max for found in statistics):
        raise StorageError("a file of activations lacks the statistics of its row groups")
    return [(found.min, found.max) for found in statistics]


def _features_between(
    path: Path,
    metadata: pq.FileMetaData,
    ranges: Sequence[tuple[int, int]],
    low: int,
    high: int,
) -> pa.Table:
    """The stretches of features in [low, high), from the row groups that hold them."""
    groups = [i for i, (first, last) in enumerate(ranges) if first < high and last >= low]
    if not groups:
        return ACTIVATIONS_SCHEMA.empty_table()
    parts = []
    for table in _row_groups(path, metadata, groups):
        features = column(table, "feature")
        start, end = np.searchsorted(features, [low, high])
        parts.append(table.slice(start, end - start))
    return pa.concat_tables(parts).cast(ACTIVATIONS_SCHEMA)


def _row_groups(path: Path, metadata: pq.FileMetaData, groups: Iterable[int]) -> Iterator[pa.Table]:
    """Some row groups of a file, one after the other."""
    try:
        with pq.ParquetFile(path, metadata=metadata) as file:
            for group in groups:
                yield file.read_row_group(group)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
