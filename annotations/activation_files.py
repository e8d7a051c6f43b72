"""One Parquet file of activations: how it is written, and how its row groups are read.

`annotations.activations` asks such a file, or many of them (`annotations.activation_parts`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotations.errors import StorageError
from annotations.stretches import ACTIVATIONS_SCHEMA
from annotations.tables import column

VALUES = ACTIVATIONS_SCHEMA.get_field_index("values")

GROUP_ROWS = 65_536
"""Stretches in a row group of the Parquet file; a query for one feature reads one or two."""


class FileLayout(NamedTuple):
    """Where the features of a file are."""

    metadata: pq.FileMetaData
    ranges: list[tuple[int, int]]
    """First and last feature of each row group."""


def open_writer(path: Path, *, checksums: bool = False) -> pq.ParquetWriter:
    """A Parquet file in the layout of stored activations, with a checksum of each page or not."""
    return pq.ParquetWriter(
        path,
        ACTIVATIONS_SCHEMA,
        compression="zstd",
        # runs of equal numbers: zstd makes as little of them as a dictionary would, and sooner
        use_dictionary=False,
        column_encoding={"start": "DELTA_BINARY_PACKED"},
        # what `feature_ranges` reads
        write_statistics=["feature"],
        write_page_checksum=checksums,
    )


def file_layout(path: Path) -> FileLayout:
    """Where the features of a file are: read once while the file stays what it is.

    Raises
    ------
    StorageError
        If the file is missing, cut or not one of activations.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
    return _read_layout(path, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=4)
def _read_layout(path: Path, version: tuple[int, int, int]) -> FileLayout:
    """The layout of a version of a file: of some thousand row groups, 60 ms."""
    metadata = file_metadata(path)
    return FileLayout(metadata, feature_ranges(metadata))


def file_metadata(path: Path) -> pq.FileMetaData:
    """The metadata of a file of activations, after a check of its schema.

    Raises
    ------
    StorageError
        As `file_layout`.
    """
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
    check_schema(metadata, path.name)
    return metadata


def check_schema(metadata: pq.FileMetaData, name: str) -> None:
    """Refuse a Parquet file of something else.

    Raises
    ------
    StorageError
        If its columns are not those of ACTIVATIONS_SCHEMA.
    """
    if not metadata.schema.to_arrow_schema().equals(ACTIVATIONS_SCHEMA):
        raise StorageError(
            f"{name} is not a file of activations: its columns are "
            f"{', '.join(metadata.schema.to_arrow_schema().names)}"
        )


def feature_ranges(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """First and last feature of each row group; a group is never empty."""
    statistics = [
        metadata.row_group(i).column(0).statistics for i in range(metadata.num_row_groups)
    ]
    if not all(found is not None and found.has_min_max for found in statistics):
        raise StorageError("a file of activations lacks the statistics of its row groups")
    return [(found.min, found.max) for found in statistics]


def bases_of_groups(metadata: pq.FileMetaData) -> list[int]:
    """Active bases of each row group."""
    return [metadata.row_group(i).column(VALUES).num_values for i in range(metadata.num_row_groups)]


def features_between(
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
    for table in row_groups(path, metadata, groups):
        features = column(table, "feature")
        start, end = np.searchsorted(features, [low, high])
        parts.append(table.slice(start, end - start))
    return pa.concat_tables(parts).cast(ACTIVATIONS_SCHEMA)


def row_groups(path: Path, metadata: pq.FileMetaData, groups: Iterable[int]) -> Iterator[pa.Table]:
    """Some row groups of a file, one after the other."""
    try:
        with pq.ParquetFile(path, metadata=metadata) as file:
            for group in groups:
                yield file.read_row_group(group)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"cannot read the activations {path.name}: {error}") from error
