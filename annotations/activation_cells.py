"""The rows of shards cut into the cells of a large result: a group of features in a tile of bases.

    shards --cells_of_stripe--> Cell, by group and tile --annotations.activation_merge--> parts

Nothing here writes; what is held at once is bounded by `bases_per_block`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activation_files import (
    bases_of_groups,
    feature_ranges,
    features_between,
    file_metadata,
)
from annotations.activation_parts import PartsIndex
from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.memory import return_memory
from annotations.stretches import ACTIVATIONS_SCHEMA, copied, join_touching, stretch_sizes
from annotations.tables import column
from annotations.types import Span


class Shard(NamedTuple):
    """What is kept of a shard while parts are made: 40 bytes for each row group."""

    path: Path
    ranges: NDArray[np.int64]
    """First and last feature of each row group, shape (n, 2)."""
    bases: NDArray[np.int64]
    """Active bases of each row group."""
    first: int
    """No stretch begins before this locus, as of `locus_index`."""
    last: int
    """No stretch ends beyond this locus."""


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


def cells_of_stripe(
    shards: Sequence[Shard],
    index: PartsIndex,
    stripe: range,
    bases_per_block: int,
    on_part: Callable[[float], None],
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
        Active bases to hold at once, by what the shards say; at least 1.
    on_part : callable
        Told the part of all tiles that is done, 0 to 1; may raise to stop.

    Raises
    ------
    FormatError, StorageError
        As `annotations.activation_merge.merge_stretches`.
    """
    tiles, step = index.tiles, index.features_per_group
    low, past = _loci(tiles, stripe)
    own = [shard for shard in shards if shard.first < past and shard.last >= low]
    opened = [file_metadata(shard.path) for shard in own]
    ranges = [shard.ranges.tolist() for shard in own]
    per_feature = expected_per_feature(
        [shard.ranges for shard in own], [shard.bases for shard in own], index.n_features
    )
    per_group = np.add.reduceat(per_feature, np.arange(0, index.n_features, step))
    bounds = block_bounds(per_group, bases_per_block)
    for first, end in pairwise(bounds):
        # a block of one dense group is gone through tile by tile, as its cells are in order then;
        # cells of several groups would come in an order that depends on how the shards were cut
        dense = round(float(per_group[first:end].sum()) / bases_per_block)
        times = max(1, dense) if end - first == 1 else 1
        some = -(-len(stripe) // times)
        for begin in range(stripe.start, stripe.stop, some):
            within = range(begin, min(begin + some, stripe.stop))
            low, past = _loci(tiles, within)
            tables = [
                _beginning_before(
                    features_between(shard.path, metadata, groups, first * step, end * step), past
                )
                for shard, metadata, groups in zip(own, opened, ranges, strict=True)
                if shard.first < past and shard.last >= low
            ]
            for rows, some_tiles in _pieces(tables, index, within, max(1, bases_per_block // 4)):
                yield from _cells(join_touching(rows), index, some_tiles)
            del tables
            return_memory()
        done = end / len(per_group)
        on_part((stripe.start + done * len(stripe)) / len(tiles))


def _pieces(
    tables: Sequence[pa.Table], index: PartsIndex, tiles: range, bases: int
) -> Iterator[tuple[pa.Table, range]]:
    """Rows of shards in pieces of about `bases` active bases, and the tiles each is for.

    Whole groups, one after the other; of a group with more, the rows that have a base in some
    tiles. What shards say of their row groups is spread evenly over features, so that a block
    can have several times the bases that were expected, and to sort and join takes six times the
    memory of the rows.
    """
    step = index.features_per_group
    features = [column(table, "feature") for table in tables]
    per_group = np.zeros(len(index.group_active_bases))
    for table, feature in zip(tables, features, strict=True):
        per_group += np.bincount(feature // step, stretch_sizes(table), len(per_group))
    for first, end in pairwise(block_bounds(per_group, bases)):
        own = [
            table.slice(low, high - low)
            for table, feature in zip(tables, features, strict=True)
            for low, high in [np.searchsorted(feature, [first * step, end * step]).tolist()]
        ]
        rows = pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *own])
        # only one group can be divided: its cells come tile by tile
        times = min(max(1, round(per_group[first:end].sum() / bases)), len(tiles))
        if end - first > 1:
            yield rows, tiles
            continue
        begin = locus_index(column(rows, "contig"), column(rows, "start"))
        last = begin + (stretch_sizes(rows) - 1).astype(np.uint64)
        some = -(-len(tiles) // times)
        for tile in range(tiles.start, tiles.stop, some):
            within = range(tile, min(tile + some, tiles.stop))
            low, past = _loci(index.tiles, within)
            here = (last >= np.uint64(low)) & (begin <= np.uint64(past - 1))
            yield rows.filter(pa.array(here)), within


def _loci(tiles: NDArray[np.uint64], some: range) -> tuple[int, int]:
    """Where the first of some tiles begins and where the one after the last does."""
    return int(tiles[some.start]), int(tiles[some.stop]) if some.stop < len(tiles) else 1 << 64


def _beginning_before(table: pa.Table, past: int) -> pa.Table:
    """A copy of the rows that begin before a locus."""
    begin = locus_index(column(table, "contig"), column(table, "start"))
    if past > int(begin.max(initial=0)):
        return copied(table)
    return table.filter(pa.array(begin < np.uint64(past)))


def _cells(table: pa.Table, index: PartsIndex, stripe: range) -> Iterator[Cell]:
    """Sorted stretches by group and tile, cut where a tile begins; only tiles of a stripe."""
    cut, tile = _cut_at_tiles(table, index.tiles)
    kept = (tile >= stripe.start) & (tile < stripe.stop)
    group = column(cut, "feature").astype(np.int64) // index.features_per_group
    key = group * len(index.tiles) + tile
    # stable: in a cell rows stay sorted by feature, strand and place
    order = np.argsort(np.where(kept, key, np.iinfo(np.int64).max), kind="stable")
    order = order[: int(kept.sum())]
    cut = cut.take(pa.array(order)).combine_chunks()
    key, sizes = key[order], stretch_sizes(cut)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(first):
        return
    active = np.add.reduceat(sizes, first)
    for start, end, bases in zip(
        first.tolist(), [*first[1:].tolist(), len(key)], active.tolist(), strict=True
    ):
        of_group, of_tile = divmod(int(key[start]), len(index.tiles))
        yield Cell(of_group, of_tile, cut.slice(start, end - start), bases)


def _cut_at_tiles(table: pa.Table, tiles: NDArray[np.uint64]) -> tuple[pa.Table, NDArray[np.int64]]:
    """Stretches of which none crosses the beginning of a tile, and the tile of each."""
    table = table.combine_chunks()
    contig, start, sizes = column(table, "contig"), column(table, "start"), stretch_sizes(table)
    begin = locus_index(contig, start)
    first = np.searchsorted(tiles, begin, side="right") - 1
    last = np.searchsorted(tiles, begin + (sizes - 1).astype(np.uint64), side="right") - 1
    pieces = last - first + 1
    if (pieces == 1).all():
        return table, first
    row = np.repeat(np.arange(len(pieces)), pieces)
    tile = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    # a later piece begins where its tile does
    at = np.where(
        tile == first[row], start[row], (tiles[tile] & np.uint64(LARGEST_POSITION)).astype(np.int64)
    )
    offsets = (np.cumsum(sizes) - sizes)[row] + at - start[row]
    values = pa.ListArray.from_arrays(
        pa.array(np.append(offsets, sizes.sum()).astype(np.int32)),
        table["values"].combine_chunks().flatten(),
        type=ACTIVATIONS_SCHEMA.field("values").type,
    )
    cut = table.take(pa.array(row))
    cut = cut.set_column(3, ACTIVATIONS_SCHEMA.field("start"), pa.array(at))
    return cut.set_column(4, ACTIVATIONS_SCHEMA.field("values"), values).combine_chunks(), tile


def shard_of(path: Path) -> Shard:
    """What is kept of a shard; its metadata is read again when its stripe comes.

    Raises
    ------
    StorageError
        If the file is missing, cut or none of activations.
    """
    metadata = file_metadata(path)
    ranges = np.array(feature_ranges(metadata), np.int64).reshape(-1, 2)
    bases = np.array(bases_of_groups(metadata), np.int64)
    first, last = 1 << 64, 0
    for at in range(metadata.num_row_groups):
        group = metadata.row_group(at)
        contig, start = (group.column(i).statistics for i in (2, 3))
        one = contig.min == contig.max
        first = min(first, (contig.min << 32) + (start.min if one else 0))
        # a stretch has no more bases than all of its row group
        end = start.max + int(bases[at]) if one else LARGEST_POSITION
        last = max(last, (contig.max << 32) + end)
    return Shard(path, ranges, bases, first, last)


def expected_per_feature(
    ranges: Sequence[NDArray[np.int64]], bases: Sequence[NDArray[np.int64]], end: int
) -> NDArray[np.float64]:
    """About how many active bases each feature has, by what row groups say; shape (end,)."""
    found = np.zeros(end)
    for of_groups, counts in zip(ranges, bases, strict=True):
        for (first, last), count in zip(of_groups.tolist(), counts.tolist(), strict=True):
            found[first : last + 1] += count / (last + 1 - first)
    return found


def block_bounds(expected: NDArray[np.float64], bases_per_block: int) -> list[int]:
    """Items at which blocks begin, and the end: each block has about as many active bases."""
    if not len(expected):
        return [0]
    block = ((np.cumsum(expected) - expected / 2) // bases_per_block).astype(np.int64)
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(expected)]
