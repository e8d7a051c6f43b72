"""The active bases of a shard as a file: what encoding a shard hands to the merge.

    ShardBases --write_shard_bases--> active_bases.parquet --OpenShard--> Bases of some rows

`annotations.packed` makes the first, `annotations.activation_cells` joins the last.

One row per active base, sorted by feature, strand (+ first), contig and position; how many each
feature and strand has stands in the metadata, so that no column repeats it. Peaks are marked.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.errors import FormatError, StorageError
from annotations.tables import column, replacing

SHARD_FILE = "active_bases.parquet"
"""Name in the folder of a shard."""

SHARD_SCHEMA = pa.schema(
    [
        pa.field("locus", pa.uint64(), nullable=False),
        pa.field("value", pa.float16(), nullable=False),
        pa.field("peak", pa.bool_(), nullable=False),
    ]
)
"""Contig and position as of `annotations.active_bases.locus_index`; the activation; whether it is
a peak (`annotations.peaks`) that a merge may keep."""

GROUP_BASES = 32_768
"""Bases in a row group; what is read besides the rows that are asked for is less than two."""

_COUNTS_KEY = b"saetrack_rows"


class Bases(NamedTuple):
    """Active bases: four arrays of one length."""

    row: NDArray[np.int32]
    """Twice the feature, and 1 more on strand -, as of `row_index`; or another key to sort by."""
    locus: NDArray[np.uint64]
    value: NDArray[np.uint16]
    """Bits of the float16."""
    peak: NDArray[np.bool_]


_NOTHING = Bases(
    np.empty(0, np.int32), np.empty(0, np.uint64), np.empty(0, np.uint16), np.empty(0, np.bool_)
)


class ShardBases(NamedTuple):
    """The active bases of a shard, sorted by row and locus."""

    counts: NDArray[np.int64]
    """Bases of each row, shape (2 * features,)."""
    locus: NDArray[np.uint64]
    value: NDArray[np.uint16]
    peak: NDArray[np.bool_]


def write_shard_bases(bases: ShardBases, path: Path) -> None:
    """Write the active bases of a shard, whole or not at all.

    Parameters
    ----------
    bases : ShardBases
        As `annotations.packed.describe` returns them.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    FormatError
        If the counts do not add up to the bases.
    """
    if int(bases.counts.sum()) != len(bases.locus):
        raise FormatError(
            f"counts of {int(bases.counts.sum())} active bases do not fit "
            f"{len(bases.locus)} of them"
        )
    table = pa.Table.from_arrays(
        [pa.array(bases.locus), pa.array(bases.value.view(np.float16)), pa.array(bases.peak)],
        schema=SHARD_SCHEMA.with_metadata(
            {_COUNTS_KEY: zlib.compress(bases.counts.astype("<u4").tobytes(), 1).hex()}
        ),
    )
    with replacing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=GROUP_BASES,
            use_dictionary=False,
            column_encoding={"locus": "DELTA_BINARY_PACKED"},
            # read once, soon, and deleted
            compression="lz4",
            write_statistics=["locus"],
            write_page_checksum=True,
        )


class OpenShard:
    """A file of active bases, of which some rows are read at a time."""

    def __init__(self, path: Path) -> None:
        """Read the metadata.

        Parameters
        ----------
        path : Path
            A file of `write_shard_bases`.

        Raises
        ------
        FormatError
            If there is no such file beside others: an earlier version wrote the shard.
        StorageError
            If the file cannot be read or is not one of them.
        """
        self.path = path
        if not path.exists() and (path.parent / "statistics.parquet").exists():
            raise FormatError(
                f"a shard has no {path.name}: an earlier version of saetrack encoded it; submit "
                "the run again, or remove the folder of shards"
            )
        try:
            self._metadata = pq.read_metadata(path)
            schema = self._metadata.schema.to_arrow_schema()
        except (OSError, pa.ArrowInvalid) as error:
            raise self._unreadable(error) from error
        counts = (self._metadata.metadata or {}).get(_COUNTS_KEY)
        if counts is None or not schema.equals(SHARD_SCHEMA):
            raise self._unreadable(f"{path.name} is not a file of active bases")
        try:
            counted = np.frombuffer(zlib.decompress(bytes.fromhex(counts.decode())), "<u4")
        except (ValueError, zlib.error) as error:
            raise self._unreadable(f"its counts are altered ({error})") from error
        self.offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counted, dtype=np.int64)])
        """Bases before each row, and all of them at the end, shape (rows + 1,)."""
        if self.active != self._metadata.num_rows:
            raise self._unreadable(
                f"it counts {self.active} active bases and holds {self._metadata.num_rows}"
            )

    def _unreadable(self, why: object) -> StorageError:
        return StorageError(
            f"cannot read the active bases of a shard ({self.path.parent.name}): {why}; remove its "
            "folder and compute it again"
        )

    @property
    def active(self) -> int:
        """Active bases."""
        return int(self.offsets[-1])

    @property
    def end_row(self) -> int:
        """One past the last row that has a base."""
        return int(np.searchsorted(self.offsets, self.active)) if self.active else 0

    def loci(self) -> tuple[int, int]:
        """The smallest and the largest locus; (1 << 64, 0) where nothing is active."""
        low, high = 1 << 64, 0
        # a file of nothing may have a row group without rows
        for group in range(self._metadata.num_row_groups if self.active else 0):
            found = self._metadata.row_group(group).column(0).statistics
            low, high = min(low, found.min), max(high, found.max)
        return low, high

    def read(self, low: int, high: int) -> Bases:
        """The bases of some rows.

        Parameters
        ----------
        low, high : int
            Rows, as of `row_index`: those in [low, high).

        Returns
        -------
        bases : Bases
            Sorted by row and locus.

        Raises
        ------
        StorageError
            If the file is missing, cut or altered.
        """
        bounds = self.offsets[np.clip([low, high], 0, len(self.offsets) - 1)]
        start, end = bounds.tolist()
        if start == end:
            return _NOTHING
        counts = np.diff(self.offsets[low : high + 1])
        row = np.repeat(np.arange(low, low + len(counts), dtype=np.int32), counts)
        first = start // GROUP_BASES
        groups = range(first, -(-end // GROUP_BASES))
        try:
            with pq.ParquetFile(
                self.path, metadata=self._metadata, page_checksum_verification=True
            ) as file:
                table = file.read_row_groups(list(groups), use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._unreadable(error) from error
        table = table.slice(start - first * GROUP_BASES, end - start).combine_chunks()
        values = column(table, "value").view(np.uint16)
        return Bases(row, column(table, "locus"), values, column(table, "peak"))


def taken(bases: Bases, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Bases:
    """Some bases, chosen by a mask or by their indices."""
    return Bases(bases.row[rows], bases.locus[rows], bases.value[rows], bases.peak[rows])


def joined(parts: Sequence[Bases]) -> Bases:
    """The bases of several, one after the other; of none, none."""
    parts = parts or [_NOTHING]
    return Bases(
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.locus for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.peak for part in parts]),
    )
