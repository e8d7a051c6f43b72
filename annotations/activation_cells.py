"""The active bases of shards sorted together, and cut into the cells of a large result.

    shards --sorted_rows--> sorted bases --stretches_of--> rows of one file
    shards --cells_of_stripe--> Cell, by group and tile --annotations.activation_merge--> parts

A cell is a group of features in a tile of bases. Nothing here writes; what is held at once is
bounded by `bases_per_block`, as shards say how many bases each row has.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations import base_kernels
from annotations.activation_parts import PartsIndex
from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.compiled import compiled
from annotations.errors import FormatError
from annotations.memory import return_memory
from annotations.peaks import PEAKS_SCHEMA
from annotations.shard_bases import Bases, OpenShard, joined, taken
from annotations.statistics import float_of_halves
from annotations.stretches import stretch_sizes, stretch_table
from annotations.types import Span


class Shard(NamedTuple):
    """What is kept of a shard while parts are made."""

    path: Path
    active: int
    """Active bases."""
    end_row: int
    """One past its last row."""
    first: int
    """No base lies before this locus, as of `locus_index`."""
    last: int
    """No base lies beyond this locus."""


def shard_of(path: Path) -> Shard:
    """What is kept of a shard; its metadata is read again when its stripe comes.

    Raises
    ------
    StorageError
        If the file is missing, cut or none of active bases.
    """
    opened = OpenShard(path)
    return Shard(path, opened.active, opened.end_row, *opened.loci())


def tile_starts(spans: Sequence[Span], tile_bases: int) -> NDArray[np.uint64]:
    """Loci at which tiles begin, of as many bases of the spans each.

    Parameters
    ----------
    spans : sequence of Span
        Sorted.
    tile_bases : int
        At least 1.

    Returns
    -------
    starts : ndarray of uint64, shape (tiles,)
        As of `locus_index`; the first is 0, so that every base is in a tile.

    Examples
    --------
    >>> [int(at) & 0xffffffff for at in tile_starts([Span(0, 100, 110), Span(0, 200, 210)], 8)]
    [0, 108, 206]
    """
    contig, start, end = np.array(spans, np.int64).reshape(-1, 3).T
    past = np.cumsum(end - start)
    begin = np.arange(0, int(past[-1]) if len(past) else 1, tile_bases)
    of = np.searchsorted(past, begin, side="right")
    if not len(past):
        return np.zeros(1, np.uint64)
    position = start[of] + begin - (past - (end - start))[of]
    starts = locus_index(contig[of].astype(np.uint32), position)
    starts[0] = 0
    return starts


class Cell(NamedTuple):
    """The rows of a group of features in a tile."""

    group: int
    tile: int
    table: pa.Table
    active_bases: int


class SortedBases(NamedTuple):
    """Bases sorted by a key and locus."""

    bases: Bases
    """`row` is the key."""
    row_of: NDArray[np.int64]
    """The row that each key stands for."""


def sorted_rows(shards: Sequence[OpenShard], low: int, high: int) -> SortedBases:
    """The bases of all shards whose row is in [low, high), sorted by row and locus.

    Raises
    ------
    FormatError
        If two shards hold the same base of a feature.
    StorageError
        If a file is missing, cut or altered.
    """
    bases = joined([shard.read(low, high) for shard in shards])
    bases.row[:] -= np.int32(low)
    return SortedBases(_sorted(bases, high - low), np.arange(low, high))


def stretches_of(found: SortedBases) -> pa.Table:
    """Sorted bases as a table of ACTIVATIONS_SCHEMA; a stretch ends where the key changes."""
    bases = found.bases
    most = len(bases.row)
    first, start = np.empty(most, np.int32), np.empty(most, np.int64)
    feature, contig = np.empty(most, np.uint32), np.empty(most, np.uint32)
    strand = np.empty(most, np.int8)
    n = compiled(base_kernels.stretches)(
        bases.row, bases.locus, *_names(found), first, feature, strand, contig, start
    )
    return stretch_table(
        feature[:n],
        strand[:n],
        contig[:n],
        start[:n],
        np.append(first[:n], np.int32(most)),
        bases.value.view(np.float16),
    )


def peaks_of(found: SortedBases) -> pa.Table:
    """The bases that are peaks, as a table of `annotations.peaks.PEAKS_SCHEMA`, in their order."""
    key, locus, value, _ = taken(found.bases, np.flatnonzero(found.bases.peak))
    feature, strand = _names(found)
    columns = [
        feature[key],
        strand[key],
        (locus >> np.uint64(32)).astype(np.uint32),
        (locus & np.uint64(LARGEST_POSITION)).astype(np.int64),
        float_of_halves()[value],
    ]
    return pa.Table.from_arrays(list(map(pa.array, columns)), schema=PEAKS_SCHEMA)


def _names(found: SortedBases) -> tuple[NDArray[np.uint32], NDArray[np.int8]]:
    """Feature and strand that each key stands for."""
    strand = np.where(found.row_of % 2 == 0, 1, -1).astype(np.int8)
    return (found.row_of // 2).astype(np.uint32), strand


def cells_of_stripe(
    shards: Sequence[Shard],
    index: PartsIndex,
    stripe: range,
    bases_per_block: int,
    *,
    on_part: Callable[[float], None],
    on_peaks: Callable[[pa.Table], None],
) -> Iterator[Cell]:
    """The cells of a stripe that have rows, by group and tile.

    Parameters
    ----------
    shards : sequence of Shard
    index : PartsIndex
        Its tiles and groups.
    stripe : range
        Numbers of its tiles.
    bases_per_block : int
        Active bases to hold at once; at least 1.
    on_part : callable
        Told the part of all tiles that is done, 0 to 1; may raise to stop.
    on_peaks : callable
        Given the peaks of each block, those of a row in no order.

    Raises
    ------
    FormatError, StorageError
        As `sorted_rows`.
    """
    tiles, step = index.tiles, index.features_per_group
    low, past = _loci(tiles, stripe)
    own = [shard for shard in shards if shard.first < past and shard.last >= low]
    opened = [OpenShard(shard.path) for shard in own]
    per_group = bases_per_feature(opened, index.n_features, step)
    for first, end in pairwise(block_bounds(per_group, bases_per_block)):
        # a block of one dense group is gone through tile by tile, as its cells are in order then;
        # cells of several groups would come in an order that depends on how the shards were cut
        dense = round(float(per_group[first:end].sum()) / bases_per_block)
        times = max(1, dense) if end - first == 1 else 1
        some = -(-len(stripe) // times)
        for begin in range(stripe.start, stripe.stop, some):
            within = range(begin, min(begin + some, stripe.stop))
            low, past = _loci(tiles, within)
            bases = joined(
                [
                    _between(file.read(2 * first * step, 2 * end * step), low, past)
                    for shard, file in zip(own, opened, strict=True)
                    if shard.first < past and shard.last >= low
                ]
            )
            yield from _cells(bases, index, range(first, end), within, on_peaks)
            del bases
            return_memory()
        done = end / len(per_group)
        on_part((stripe.start + done * len(stripe)) / len(tiles))


def _loci(tiles: NDArray[np.uint64], some: range) -> tuple[int, int]:
    """Where the first of some tiles begins and where the one after the last does."""
    return int(tiles[some.start]), int(tiles[some.stop]) if some.stop < len(tiles) else 1 << 64


def _between(bases: Bases, low: int, past: int) -> Bases:
    """The bases at loci in [low, past)."""
    kept = (bases.locus >= np.uint64(low)) & (bases.locus <= np.uint64(past - 1))
    return bases if kept.all() else taken(bases, kept)


def _cells(
    bases: Bases,
    index: PartsIndex,
    groups: range,
    tiles: range,
    on_peaks: Callable[[pa.Table], None],
) -> Iterator[Cell]:
    """Bases of some groups and tiles by group and tile; a stretch ends where its tile does."""
    per_group = 2 * index.features_per_group
    n_cells = len(groups) * len(tiles)
    group, within = np.divmod(bases.row - np.int32(groups.start * per_group), per_group)
    tile = np.searchsorted(index.tiles, bases.locus, side="right") - 1 - tiles.start
    cell = group * len(tiles) + tile
    key = (cell * per_group + within).astype(np.int32)
    of_cell, of_row = np.divmod(np.arange(n_cells * per_group), per_group)
    found = SortedBases(
        _sorted(bases._replace(row=key), len(of_cell)),
        (of_cell // len(tiles) + groups.start) * per_group + of_row,
    )
    on_peaks(peaks_of(found))
    table = stretches_of(found)
    active = np.bincount(cell, minlength=n_cells)
    # a stretch has bases of one cell alone
    ends = np.cumsum(stretch_sizes(table))
    bounds = np.searchsorted(ends, np.cumsum(active), side="left") + 1
    start = 0
    for at in np.flatnonzero(active).tolist():
        of_group, of_tile = divmod(at, len(tiles))
        end = int(bounds[at])
        yield Cell(
            groups.start + of_group,
            tiles.start + of_tile,
            table.slice(start, end - start),
            int(active[at]),
        )
        start = end


def _sorted(bases: Bases, n_rows: int) -> Bases:
    """Bases sorted by row, which is below `n_rows`, and locus."""
    counts = np.bincount(bases.row, minlength=n_rows)
    into = Bases(*map(np.empty_like, bases))
    if compiled(base_kernels.scatter)(*bases, np.cumsum(counts) - counts, tuple(into)):
        return into
    # shards come in the order of their bases as a rule, and rows need no sorting within
    order = np.lexsort((bases.locus, bases.row))
    into = taken(bases, order)
    same = (into.row[1:] == into.row[:-1]) & (into.locus[1:] == into.locus[:-1])
    if same.any():
        contig, position = divmod(int(into.locus[int(np.flatnonzero(same)[0])]), 1 << 32)
        raise FormatError(
            f"a feature has two values at base {position} of contig {contig}; the shards overlap"
        )
    return into


def bases_per_feature(
    shards: Sequence[OpenShard], n_features: int, step: int = 1
) -> NDArray[np.int64]:
    """Active bases of each group of so many features, shape (groups,)."""
    bounds = np.minimum(np.arange(0, n_features + step, step), n_features) * 2
    found = np.zeros(len(bounds) - 1, np.int64)
    for shard in shards:
        found += np.diff(shard.offsets[np.minimum(bounds, len(shard.offsets) - 1)])
    return found


def block_bounds(counts: NDArray[np.int64], bases_per_block: int) -> list[int]:
    """Items at which blocks begin, and the end: each block has about as many active bases."""
    if not len(counts):
        return [0]
    block = ((np.cumsum(counts) - counts / 2) // bases_per_block).astype(np.int64)
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(counts)]
