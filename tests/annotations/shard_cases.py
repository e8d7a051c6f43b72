"""Files of the active bases of shards for tests: written from activations, and read back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from annotations.active_bases import Activations, locus_index, row_index, sort
from annotations.peaks import PEAKS_SCHEMA
from annotations.shard_bases import Bases, OpenShard, ShardBases, write_shard_bases
from annotations.statistics import BIN_EDGES, N_BINS, FeatureStatistics
from annotations.stretches import to_half
from annotations.tables import column


def write_shard(active: Activations, path: Path, peaks: pa.Table | None = None) -> Path:
    """Write activations as a shard stores them; those of a table of peaks are marked."""
    found = sort(active)
    row = row_index(found.feature, found.strand)
    locus = locus_index(found.contig, found.position)
    marked = np.zeros(len(row), np.bool_)
    if peaks is not None:
        names = ("feature", "strand", "contig", "position")
        wanted = set(zip(*(column(peaks, name).tolist() for name in names), strict=True))
        given = zip(*(values.tolist() for values in found[:4]), strict=True)
        marked[:] = [each in wanted for each in given]
        assert marked.sum() == peaks.num_rows
    counts = np.bincount(row, minlength=int(row.max(initial=0)) + 1)
    halves = to_half(found.value).view(np.uint16)
    write_shard_bases(ShardBases(counts, locus, halves, marked), path)
    return path


def read_shard_bases(path: Path) -> Bases:
    """All bases that a shard stored."""
    shard = OpenShard(path)
    return shard.read(0, shard.end_row)


def read_activations(path: Path) -> Activations:
    """The activations that a shard stored, sorted."""
    row, locus, value, _ = read_shard_bases(path)
    return Activations(
        feature=(row // 2).astype(np.uint32),
        strand=np.where(row % 2 == 0, 1, -1).astype(np.int8),
        contig=(locus >> np.uint64(32)).astype(np.uint32),
        position=(locus & np.uint64(0xFFFFFFFF)).astype(np.int64),
        value=value.view(np.float16).astype(np.float32),
    )


def read_peaks(path: Path) -> pa.Table:
    """The peaks that a shard marked, as a table of PEAKS_SCHEMA."""
    marked = read_shard_bases(path).peak
    columns = [pa.array(values[marked]) for values in read_activations(path)]
    return pa.Table.from_arrays(columns, schema=PEAKS_SCHEMA)


def statistics_of(
    active: Activations,
    *,
    n_features: int,
    scanned: Mapping[int, int],
    peaks: pa.Table | None = None,
) -> FeatureStatistics:
    """Statistics counted base by base: a slow twin."""
    n_rows = 2 * n_features
    maximum, histogram = np.zeros(n_rows, np.float32), np.zeros((n_rows, N_BINS), np.int64)
    n_peaks = np.zeros(n_rows, np.int64)
    for row, value in zip(
        row_index(active.feature, active.strand).tolist(), active.value.tolist(), strict=True
    ):
        maximum[row] = max(maximum[row], value)
        histogram[row, max(int(np.searchsorted(BIN_EDGES, value, side="right")) - 1, 0)] += 1
    if peaks is not None:
        for row in row_index(column(peaks, "feature"), column(peaks, "strand")).tolist():
            n_peaks[row] += 1
    return FeatureStatistics.counted(
        scanned=scanned, maximum=maximum, histogram=histogram, peaks=n_peaks
    )
