"""Activations of shards joined into those of a result: one file, or parts where they are many.

    active bases of shards --merge_activations--> activations.parquet
                                              --> activations/index.json and parts

No byte of either depends on how the shards were cut, nor on how much is held at once.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotations.activation_cells import (
    Cell,
    bases_per_feature,
    block_bounds,
    cells_of_stripe,
    peaks_of,
    shard_of,
    sorted_rows,
    stretches_of,
    tile_starts,
)
from annotations.activation_files import GROUP_ROWS, open_writer
from annotations.activation_parts import (
    CELLS_KEY,
    INDEX_FILE,
    LAYOUT,
    ONE_FILE,
    Layout,
    Part,
    PartsIndex,
)
from annotations.cards import file_sha256
from annotations.errors import CoordinateError
from annotations.shard_bases import OpenShard
from annotations.stretches import ACTIVATIONS_SCHEMA, copied
from annotations.tables import replacing
from annotations.types import Span

BASES_PER_BLOCK = 1_000_000
"""Active bases that a merge aims to hold in memory at once."""

PARQUET_TAIL = 8
"""Bytes at the end of a Parquet file: length of the footer and a mark."""


def merge_activations(
    paths: Sequence[Path],
    folder: Path,
    *,
    spans: Sequence[Span],
    n_features: int,
    layout: Layout = LAYOUT,
    on_part: Callable[[float], None] = lambda part: None,
    on_peaks: Callable[[pa.Table], None] = lambda peaks: None,
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
    on_part, on_peaks : callable
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
    active = sum(OpenShard(path).active for path in paths)
    if active <= layout.one_file:
        merge_stretches(paths, folder / ONE_FILE, on_part=on_part, on_peaks=on_peaks)
        return [ONE_FILE]
    index = merge_parts(
        paths,
        folder,
        spans=spans,
        n_features=n_features,
        layout=layout,
        on_part=on_part,
        on_peaks=on_peaks,
    )
    home = Path(INDEX_FILE).parent
    return [INDEX_FILE, *((home / part.name).as_posix() for part in index.parts)]


def merge_stretches(
    paths: Sequence[Path],
    out: Path,
    *,
    bases_per_block: int = BASES_PER_BLOCK,
    on_part: Callable[[float], None] = lambda part: None,
    on_peaks: Callable[[pa.Table], None] = lambda peaks: None,
) -> None:
    """Merge the active bases of shards into one file, the same however the shards were cut.

    Goes through the features in blocks: holds the bases of one block of features in memory, and
    the stretches of the one before, which a thread writes. A block has about `bases_per_block`
    active bases; it never has less than one feature.

    Parameters
    ----------
    paths : sequence of Path
        Files of `annotations.shard_bases.write_shard_bases`, in any order; together no base of a
        feature twice.
    out : Path
        Made or replaced.
    bases_per_block : int
        Active bases to merge at once; at least 1. No byte of `out` depends on it, nor on how the
        shards were cut.
    on_part : callable
        Told the part of the features that is done, 0 to 1, after each block; may raise to stop.
    on_peaks : callable
        Given the peaks of each block as a table of `annotations.peaks.PEAKS_SCHEMA`.

    Raises
    ------
    FormatError
        If two shards hold the same base of a feature.
    StorageError
        If a file is missing, cut or not one of `write_shard_bases`.
    ValueError
        If `bases_per_block` is below 1.
    """
    if bases_per_block < 1:
        raise ValueError(f"bases_per_block must be at least 1, got {bases_per_block}")
    shards = [OpenShard(path) for path in paths]
    end = -(-max((shard.end_row for shard in shards), default=0) // 2)
    bounds = block_bounds(bases_per_feature(shards, end), bases_per_block)
    waiting = ACTIVATIONS_SCHEMA.empty_table()
    with (
        replacing(out) as temporary,
        open_writer(temporary) as writer,
        # half of the time is spent on writing, which needs no interpreter
        ThreadPoolExecutor(1) as pool,
    ):
        written: Future[None] | None = None
        for low, high in pairwise(bounds):
            found = sorted_rows(shards, 2 * low, 2 * high)
            on_peaks(peaks_of(found))
            block = pa.concat_tables([waiting, stretches_of(found)])
            del found
            if written is not None:
                written.result()
            whole = block.num_rows - block.num_rows % GROUP_ROWS
            written = pool.submit(_write_groups, writer, block.slice(0, whole))
            waiting = copied(block.slice(whole))
            del block
            on_part(high / end)
        if written is not None:
            written.result()
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
    on_peaks: Callable[[pa.Table], None] = lambda peaks: None,
) -> PartsIndex:
    """Merge the active bases of shards into parts, the same however the shards were cut.

    Goes through the stripes, and in a stripe through blocks of whole groups of features. Holds the
    bases of one block in the shards that overlap a stripe: memory does not grow with the genome.

    Parameters
    ----------
    paths, spans, n_features, layout, on_part, on_peaks
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
    shards = [shard_of(path) for path in paths]
    end = max((shard.end_row for shard in shards), default=0)
    if end > 2 * n_features:
        raise CoordinateError(
            f"the shards hold feature {(end - 1) // 2}, but the dictionary has {n_features} "
            "features"
        )
    active = sum(shard.active for shard in shards)
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
        cells = cells_of_stripe(
            shards, index, stripe, bases_per_block, on_part=on_part, on_peaks=on_peaks
        )
        parts += _write_parts(cells, home, index, first // layout.tiles_per_stripe)
    index = index._replace(parts=tuple(parts))
    with replacing(folder / INDEX_FILE) as temporary:
        temporary.write_text(json.dumps(index.to_json(), sort_keys=True) + "\n", encoding="utf-8")
    return index


def _write_parts(
    cells: Iterator[Cell], home: Path, index: PartsIndex, stripe: int
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


def _write_groups(writer: pq.ParquetWriter, table: pa.Table) -> None:
    """Write rows as whole row groups."""
    for start in range(0, table.num_rows, GROUP_ROWS):
        # one chunk: the pages of a group do not depend on where blocks met
        writer.write_table(
            table.slice(start, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS
        )
