"""Activations of shards joined into those of a result: one file, or parts where they are many.

    Parquet of every shard --merge_activations--> activations.parquet
                                              --> activations/index.json and parts

No byte of either depends on how the shards were cut, nor on how much is held at once.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activation_files import (
    GROUP_ROWS,
    bases_of_groups,
    feature_ranges,
    features_between,
    file_metadata,
    open_writer,
)
from annotations.activation_parts import (
    CELLS_KEY,
    INDEX_FILE,
    LAYOUT,
    ONE_FILE,
    Layout,
    Part,
    PartsIndex,
)
from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.cards import file_sha256
from annotations.errors import CoordinateError
from annotations.memory import return_memory
from annotations.stretches import (
    ACTIVATIONS_SCHEMA,
    copied,
    join_touching,
    stretch_sizes,
)
from annotations.tables import column, replacing
from annotations.types import Span

BASES_PER_BLOCK = 2_000_000
"""Active bases that a merge aims to hold in memory at once; up to 200 bytes each while their
stretches are sorted."""

PARQUET_TAIL = 8
"""Bytes at the end of a Parquet file: length of the footer and a mark."""


class _Shard(NamedTuple):
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


def merge_activations(
    paths: Sequence[Path],
    folder: Path,
    *,
    spans: Sequence[Span],
    n_features: int,
    layout: Layout = LAYOUT,
    on_part: Callable[[float], None] = lambda part: None,
) -> list[str]:
    """Join the activations of shards in a result folder.

    Parameters
    ----------
    paths : sequence of Path
        As in `merge_stretches`.
    folder : Path
        Existing.
    spans : sequence of Span
        All that the shards read, sorted, none touching another on a contig.
    n_features : int
        Features of the dictionary.
    layout : Layout
        When to make parts, and of what size.
    on_part : callable
        As in `merge_stretches`.

    Returns
    -------
    names : list of str
        Files that were written, relative to the folder; the first is what
        `annotations.activation_parts.folder_activations` finds.

    Raises
    ------
    FormatError, StorageError
        As `merge_stretches`.
    """
    active = sum(sum(bases_of_groups(file_metadata(path))) for path in paths)
    if active <= layout.one_file:
        merge_stretches(paths, folder / ONE_FILE, on_part=on_part)
        return [ONE_FILE]
    index = merge_parts(
        paths, folder, spans=spans, n_features=n_features, layout=layout, on_part=on_part
    )
    home = Path(INDEX_FILE).parent
    return [INDEX_FILE, *((home / part.name).as_posix() for part in index.parts)]


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
        Files of `annotations.activations.write_stretches`, in any order; together no base of a
        feature twice.
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
    metadata = [file_metadata(path) for path in paths]
    ranges = [feature_ranges(shard) for shard in metadata]
    end = max((last for shard in ranges for _, last in shard), default=-1) + 1
    of_groups = [np.array(shard, np.int64).reshape(-1, 2) for shard in ranges]
    bases = [np.array(bases_of_groups(shard), np.int64) for shard in metadata]
    bounds = _blocks(_per_feature(of_groups, bases, end), bases_per_block)
    waiting = ACTIVATIONS_SCHEMA.empty_table()
    with replacing(out) as temporary, open_writer(temporary) as writer:
        for low, high in pairwise(bounds):
            parts = [
                copied(features_between(path, shard, groups, low, high))
                for path, shard, groups in zip(paths, metadata, ranges, strict=True)
            ]
            block = join_touching(pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *parts]))
            del parts
            waiting = _write_groups(writer, pa.concat_tables([waiting, block]))
            del block
            waiting = copied(waiting)
            return_memory()
            on_part(high / end)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), row_group_size=GROUP_ROWS)


def merge_parts(
    paths: Sequence[Path],
    folder: Path,
    *,
    spans: Sequence[Span],
    n_features: int,
    layout: Layout = LAYOUT,
    bases_per_block: int = BASES_PER_BLOCK,
    on_part: Callable[[float], None] = lambda part: None,
) -> PartsIndex:
    """Merge the stretches of shards into parts, the same however the shards were cut.

    Goes through the stripes, and in a stripe through blocks of whole groups of features. Holds the
    rows of one block in the shards that overlap a stripe: memory does not grow with the genome.

    Parameters
    ----------
    paths, spans, n_features, layout, on_part
        As in `merge_activations`.
    folder : Path
        Of the result; the folder of the parts is made in it.
    bases_per_block : int
        As in `merge_stretches`.

    Returns
    -------
    index : PartsIndex
        As it was written, last of all.

    Raises
    ------
    FormatError, StorageError
        As `merge_stretches`.
    CoordinateError
        If a shard holds a feature that the dictionary has not.
    """
    home = (folder / INDEX_FILE).parent
    home.mkdir()
    shards = [_shard(path) for path in paths]
    largest = max((int(shard.ranges.max(initial=-1)) for shard in shards), default=-1)
    if largest >= n_features:
        raise CoordinateError(
            f"the shards hold feature {largest}, but the dictionary has {n_features} features"
        )
    active = sum(int(shard.bases.sum()) for shard in shards)
    tiles = tile_starts(spans, layout.tile_bases)
    step = _features_per_group(active, sum(s.length for s in spans), n_features, layout)
    n_groups = -(-n_features // step)
    index = PartsIndex(
        n_features=n_features,
        features_per_group=step,
        groups_per_block=-(-n_groups // layout.parts_per_stripe),
        tiles_per_stripe=layout.tiles_per_stripe,
        tiles=tiles,
        tile_active_bases=np.zeros(len(tiles), np.int64),
        group_active_bases=np.zeros(n_groups, np.int64),
        parts=(),
    )
    parts: list[Part] = []
    for first in range(0, len(tiles), layout.tiles_per_stripe):
        stripe = range(first, min(first + layout.tiles_per_stripe, len(tiles)))
        cells = _cells_of_stripe(shards, index, stripe, bases_per_block, on_part)
        parts += _write_parts(cells, home, index, first // layout.tiles_per_stripe)
    index = index._replace(parts=tuple(parts))
    with replacing(folder / INDEX_FILE) as temporary:
        temporary.write_text(json.dumps(index.to_json(), sort_keys=True) + "\n", encoding="utf-8")
    return index


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


class _Cell(NamedTuple):
    """The rows of a group of features in a tile."""

    group: int
    tile: int
    table: pa.Table
    active_bases: int


def _cells_of_stripe(
    shards: Sequence[_Shard],
    index: PartsIndex,
    stripe: range,
    bases_per_block: int,
    on_part: Callable[[float], None],
) -> Iterator[_Cell]:
    """The cells of a stripe that have rows, by group and tile."""
    tiles, step = index.tiles, index.features_per_group
    low, past = _loci(tiles, stripe)
    own = [shard for shard in shards if shard.first < past and shard.last >= low]
    opened = [file_metadata(shard.path) for shard in own]
    ranges = [shard.ranges.tolist() for shard in own]
    per_feature = _per_feature(
        [shard.ranges for shard in own], [shard.bases for shard in own], index.n_features
    )
    per_group = np.add.reduceat(per_feature, np.arange(0, index.n_features, step))
    bounds = _blocks(per_group, bases_per_block)
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
    for first, end in pairwise(_blocks(per_group, bases)):
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


def _cells(table: pa.Table, index: PartsIndex, stripe: range) -> Iterator[_Cell]:
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
        yield _Cell(of_group, of_tile, cut.slice(start, end - start), bases)


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


def _write_parts(
    cells: Iterator[_Cell], home: Path, index: PartsIndex, stripe: int
) -> Iterator[Part]:
    """Write the parts of a stripe, one open at a time, and count what is in them."""
    for block, own in groupby(cells, lambda cell: cell.group // index.groups_per_block):
        path = home / f"{stripe:03}-{block:02}.parquet"
        places: list[tuple[int, int]] = []
        active = 0
        with open_writer(path, checksums=True) as writer:
            for cell in own:
                writer.write_table(cell.table, row_group_size=GROUP_ROWS)
                places += [(cell.group, cell.tile)] * -(-cell.table.num_rows // GROUP_ROWS)
                active += cell.active_bases
                index.tile_active_bases[cell.tile] += cell.active_bases
                index.group_active_bases[cell.group] += cell.active_bases
            listed = np.array(places, np.int32).T.tobytes()
            writer.add_key_value_metadata({CELLS_KEY: base64.b64encode(listed)})
        yield _described(path, stripe, block, active)


def _described(path: Path, stripe: int, block: int, active: int) -> Part:
    """What the index says of a part."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - PARQUET_TAIL)
        footer_bytes = int.from_bytes(file.read(4), "little") + PARQUET_TAIL
        file.seek(size - footer_bytes)
        footer = hashlib.sha256(file.read()).hexdigest()
    return Part(
        name=path.name,
        stripe=stripe,
        block=block,
        bytes=size,
        sha256=file_sha256(path),
        footer_bytes=footer_bytes,
        footer_sha256=footer,
        active_bases=active,
    )


def _features_per_group(active: int, bases: int, n_features: int, layout: Layout) -> int:
    """Features of a group: a power of two, so that a cell has about `Layout.cell_bases`."""
    per_tile = max(active, 1) / max(bases, 1) * layout.tile_bases
    exact = layout.cell_bases * n_features / per_tile
    return int(min(max(2 ** round(np.log2(exact)), 1), n_features))


def _shard(path: Path) -> _Shard:
    """What is kept of a shard; its metadata is read again when its stripe comes."""
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
    return _Shard(path, ranges, bases, first, last)


def _per_feature(
    ranges: Sequence[NDArray[np.int64]], bases: Sequence[NDArray[np.int64]], end: int
) -> NDArray[np.float64]:
    """About how many active bases each feature has, by what row groups say; shape (end,)."""
    found = np.zeros(end)
    for of_groups, counts in zip(ranges, bases, strict=True):
        for (first, last), count in zip(of_groups.tolist(), counts.tolist(), strict=True):
            found[first : last + 1] += count / (last + 1 - first)
    return found


def _blocks(expected: NDArray[np.float64], bases_per_block: int) -> list[int]:
    """Items at which blocks begin, and the end: each block has about as many active bases."""
    if not len(expected):
        return [0]
    block = ((np.cumsum(expected) - expected / 2) // bases_per_block).astype(np.int64)
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(expected)]


def _write_groups(writer: pq.ParquetWriter, table: pa.Table) -> pa.Table:
    """Write whole row groups; the rows that do not fill one are left."""
    whole = table.num_rows - table.num_rows % GROUP_ROWS
    for start in range(0, whole, GROUP_ROWS):
        # one chunk: the pages of a group do not depend on where blocks met
        writer.write_table(
            table.slice(start, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS
        )
    return table.slice(whole)
