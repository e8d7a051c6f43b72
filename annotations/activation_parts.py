"""Activations of a large result: part files, each of some features over a stripe of the genome.

    activations/index.json                what is where, and the digest of each part
    activations/000-00.parquet, ...       stripe and block of features

The bases that a run read, laid end to end, are cut into *tiles*, tiles into *stripes*; features
into *groups*, groups into *blocks*. A part is one block in one stripe. In it a *cell* is one group
in one tile: one row group of Parquet, or several where a group is dense. Cells come group by
group, tile by tile; a stretch is cut where a tile begins. So a feature reads its group's cells, a
region its tile's cells of all groups, and neither opens a footer that holds more than a part.

Why these sizes (`LAYOUT`), with the density of the bundled dictionary: 30 active bases per base,
both strands, of 4,096 features, 3.1 bytes each, at G = 3.1 Gb (290 GB, 93e9 active bases):

    tile        2**19 bases = 16 M active bases = 48 MB: what a short region reads and decodes
    cell        16,384 active bases = 51 kB: 4 features; of 32,768 features 32
    one feature everywhere    G / tile = 5,900 cells = 0.3 GB in 93 parts; its own data are 70 MB
                              (32,768 features: the same 0.3 GB for 9 MB of its own)
    part        64 tiles x 32 groups = 2,048 cells = 96 MB, footer 1 MB; 93 x 32 = 2,976 parts
    requests to an object store, cold: one feature 93 x 2, as a part's cells of a group are one
                              range; a region of one tile 32 x (1 + 32), the 32 at once

Larger tiles make features cheaper and regions dearer in proportion. One file of the old layout
would have 1.4 M row groups, and a footer of 0.65 GB that every first question parses.

Whoever reads gives a function that reads byte ranges of a part; nothing is read but footers and
cells. A footer is checked against its SHA-256 in the index, a page against its own CRC-32.
"""

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activation_files import GROUP_ROWS, check_schema
from annotations.activation_index import (
    CELLS_KEY,
    INDEX_FILE,
    LAYOUT,
    ONE_FILE,
    Layout,
    Part,
    PartsIndex,
    folder_activations,
    read_index,
)
from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.errors import StorageError
from annotations.memory import return_memory
from annotations.stretches import ACTIVATIONS_SCHEMA, copied, join_touching
from annotations.tables import column
from annotations.types import Span

__all__ = [
    "CELLS_KEY",
    "INDEX_FILE",
    "LAYOUT",
    "ONE_FILE",
    "ActivationParts",
    "ActivationSource",
    "Layout",
    "Part",
    "PartsIndex",
    "ReadRanges",
    "folder_activations",
    "open_parts",
    "opened",
    "partial_reader",
    "read_index",
    "read_ranges",
]

READERS = 4
"""Parts that are read at the same time."""

FOOTERS_KEPT = 64
"""Footers that stay in memory, of all results: about 6 MB each once they are parsed."""

HELD_BASES = 3_000_000
"""Active bases of a group of features that `ActivationParts.tables` holds at once, up to 30 bytes
each; a larger group it reads in pieces, anew for each feature and strand."""

READ_BASES = 750_000
"""Active bases of such a group that are read together: twice their memory while they are."""

SORTED_BASES = 400_000
"""Active bases of a group of features that are sorted together, up to 130 bytes each; of a larger
group the cells are gone through feature by feature, strand by strand, as they are sorted within."""

ReadRanges = Callable[[str, Sequence[tuple[int, int]]], Sequence[bytes]]
"""Takes the name of a part and ranges of bytes, [start, end) each; gives the bytes of each."""


class _Footer(NamedTuple):
    """What the end of a part says."""

    metadata: pq.FileMetaData
    group: NDArray[np.int32]
    """Of each row group."""
    tile: NDArray[np.int32]


class ActivationParts:
    """The activations of one result in parts, to be asked like a file of them."""

    def __init__(self, index: PartsIndex, read: ReadRanges, *, name: str = "activations") -> None:
        """Use an index.

        Parameters
        ----------
        index : PartsIndex
            As from `read_index`.
        read : callable
            Reads parts; called from several threads.
        name : str
            For messages.
        """
        self.index, self._read, self.name = index, read, name

    def features_between(self, low: int, high: int, contig: int | None = None) -> pa.Table:
        """The stretches of features in [low, high), as one file would hold them.

        Parameters
        ----------
        low, high : int
            Features.
        contig : int, optional
            Only this contig.

        Returns
        -------
        table : Table of ACTIVATIONS_SCHEMA
            Sorted; stretches that a tile's border cuts are whole again.
        """
        tiles = (0, len(self.index.tiles)) if contig is None else self._tiles(contig)
        tables = self._cells(range(low, high), tiles, contig)
        return join_touching(pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *tables]))

    def near(self, region: Span, features: range | None = None) -> Iterator[pa.Table]:
        """Stretches on the contig of a region, among them all that have a base in it.

        Parameters
        ----------
        region : Span
            Not empty.
        features : range, optional
            Only these, without gaps; all by default.

        Yields
        ------
        table : Table of ACTIVATIONS_SCHEMA
            Of one part; in no order, stretches cut where tiles begin.
        """
        wanted = range(self.index.n_features) if features is None else features
        tiles = self._tiles(region.contig, region.start, region.end)
        return self._cells(wanted, tiles, region.contig)

    def active_bases_inside(self, region: Span) -> int:
        """Active bases of the tiles that lie in a region as a whole."""
        first, past = self._tiles(region.contig, region.start, region.end)
        return int(self.index.tile_active_bases[first + 1 : past - 1].sum())

    def active_bases_near(self, region: Span) -> int:
        """Active bases of the tiles that have a base of a region."""
        first, past = self._tiles(region.contig, region.start, region.end)
        return int(self.index.tile_active_bases[first:past].sum())

    def tables(self) -> Iterator[pa.Table]:
        """All stretches in the order of one file, `GROUP_ROWS` at most at a time."""
        index, block = self.index, 0
        for group, active in enumerate(index.group_active_bases.tolist()):
            first = group * index.features_per_group
            features = range(first, min(first + index.features_per_group, index.n_features))
            if group // index.groups_per_block != block:
                self._forget(block)
                block = group // index.groups_per_block
            if active <= SORTED_BASES:
                yield from _slices(self.features_between(first, features.stop)) if active else ()
                continue
            tiles = max(1, len(index.tiles) * READ_BASES // active)
            held = list(self._pieces(features, tiles)) if active <= HELD_BASES else None
            for feature in features:
                for strand in (1, -1):
                    own = held or self._pieces(range(feature, feature + 1), tiles)
                    yield from _slices_of(_of_row(own, feature, strand))
            del held
            return_memory()
        self._forget(block)

    def _forget(self, block: int) -> None:
        """Drop the footers of a block that has been read: together they are most of a pass."""
        for part in self.index.parts:
            if part.block == block:
                _FOOTERS.drop(part.footer_sha256)

    def _pieces(self, features: range, most: int) -> Iterator[pa.Table]:
        """The cells of features, in order, `most` tiles of one stripe at a time."""
        index = self.index
        for first in range(0, len(index.tiles), index.tiles_per_stripe):
            last = min(first + index.tiles_per_stripe, len(index.tiles))
            for begin in range(first, last, most):
                yield from self._cells(features, (begin, min(begin + most, last)))

    def _tiles(self, contig: int, start: int = 0, end: int = LARGEST_POSITION) -> tuple[int, int]:
        """Which tiles have a base of a region: the first, and the one past the last."""
        bounds = locus_index(np.array([contig, contig], np.uint32), np.array([start, end - 1]))
        first, last = (np.searchsorted(self.index.tiles, bounds, side="right") - 1).tolist()
        return max(first, 0), max(last, 0) + 1

    def _cells(
        self, features: range, tiles: tuple[int, int], contig: int | None = None
    ) -> Iterator[pa.Table]:
        """Rows of features in tiles, on a contig; a table for each part, some parts at once."""
        index = self.index
        if not features or tiles[0] >= tiles[1]:
            return
        groups = (
            features.start // index.features_per_group,
            (features.stop - 1) // index.features_per_group + 1,
        )
        blocks = groups[0] // index.groups_per_block, (groups[1] - 1) // index.groups_per_block
        stripes = tiles[0] // index.tiles_per_stripe, (tiles[1] - 1) // index.tiles_per_stripe
        chosen = (
            part
            for part in index.parts
            if stripes[0] <= part.stripe <= stripes[1] and blocks[0] <= part.block <= blocks[1]
        )

        def read(part: Part) -> pa.Table:
            table = self._cells_of(part, groups, tiles)
            own = column(table, "feature")
            kept = (own >= features.start) & (own < features.stop)
            if contig is not None:
                kept &= column(table, "contig") == contig
            return table if kept.all() else table.filter(pa.array(kept))

        with ThreadPoolExecutor(READERS) as pool:
            # a few at a time: what waits to be taken is in memory
            while some := list(islice(chosen, READERS)):
                # one alone needs no thread, whose memory would be of no use to the others
                yield from pool.map(read, some) if len(some) > 1 else map(read, some)

    def _cells_of(self, part: Part, groups: tuple[int, int], tiles: tuple[int, int]) -> pa.Table:
        """The row groups of a part that are of some groups and tiles."""
        footer = self._footer(part)
        wanted = (footer.group >= groups[0]) & (footer.group < groups[1])
        wanted &= (footer.tile >= tiles[0]) & (footer.tile < tiles[1])
        chosen = np.flatnonzero(wanted).tolist()
        if not chosen:
            return ACTIVATIONS_SCHEMA.empty_table()
        ranges: list[tuple[int, int]] = []
        for at in chosen:
            start, end = _begin(footer.metadata, at, part), _begin(footer.metadata, at + 1, part)
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
        pieces = self._read(part.name, ranges)
        try:
            with pq.ParquetFile(
                _Pieces(ranges, pieces, part.bytes),
                metadata=footer.metadata,
                # it would read what lies between row groups, too
                pre_buffer=False,
                page_checksum_verification=True,
            ) as file:
                return file.read_row_groups(chosen, use_threads=False).cast(ACTIVATIONS_SCHEMA)
        except (OSError, pa.ArrowInvalid) as error:
            raise _altered(part, str(error)) from error

    def _footer(self, part: Part) -> _Footer:
        known = _FOOTERS.get(part.footer_sha256)
        if known is not None:
            return known
        [content] = self._read(part.name, [(part.bytes - part.footer_bytes, part.bytes)])
        if hashlib.sha256(content).hexdigest() != part.footer_sha256:
            raise _altered(part, "its footer is not the one that the index names")
        metadata = pq.read_metadata(pa.BufferReader(content))
        check_schema(metadata, part.name)
        cells = np.frombuffer(base64.b64decode(metadata.metadata[CELLS_KEY]), np.int32)
        footer = _Footer(metadata, *cells.reshape(2, -1))
        _FOOTERS.put(part.footer_sha256, footer)
        return footer


ActivationSource = Path | ActivationParts
"""Activations to be asked: a file, the path of an `INDEX_FILE`, or opened parts."""


def opened(source: ActivationSource) -> ActivationSource:
    """A source as the path of one file, or as opened parts.

    Raises
    ------
    StorageError
        If the index is missing or altered.
    """
    if isinstance(source, ActivationParts) or source.name != Path(INDEX_FILE).name:
        return source
    return open_parts(source)


def open_parts(path: Path, read: ReadRanges | None = None) -> ActivationParts:
    """Parts by their index.

    Parameters
    ----------
    path : Path
        Of the index.
    read : callable, optional
        Reads parts, by default those beside the index.

    Raises
    ------
    StorageError
        If the index is missing or altered.
    """
    return ActivationParts(read_index(path), partial_reader(path.parent) if read is None else read)


def partial_reader(folder: Path) -> ReadRanges:
    """A reader of the files of a folder."""
    return lambda name, ranges: read_ranges(folder / name, ranges)


def read_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Ranges of bytes of a file.

    Raises
    ------
    StorageError
        If the file cannot be read or ends before.
    """
    try:
        with path.open("rb") as file:
            found = []
            for start, end in ranges:
                file.seek(start)
                found.append(file.read(end - start))
    except OSError as error:
        raise StorageError(
            f"part {path.name} of the activations cannot be read ({error.strerror}); restore it "
            "from a backup, or compute the result again"
        ) from error
    if any(len(piece) != end - start for piece, (start, end) in zip(found, ranges, strict=True)):
        raise StorageError(
            f"part {path.name} of the activations is cut; restore it from a backup, or compute "
            "the result again"
        )
    return found


def _altered(part: Part, why: str) -> StorageError:
    return StorageError(
        f"part {part.name} of the activations is altered ({' '.join(why.split())[:120]}); restore "
        "it from a backup, or compute the result again"
    )


def _begin(metadata: pq.FileMetaData, group: int, part: Part) -> int:
    """First byte of a row group; of the one past the last, the footer's."""
    if group == metadata.num_row_groups:
        return part.bytes - part.footer_bytes
    first = metadata.row_group(group).column(0)
    if first.has_dictionary_page:
        return int(first.dictionary_page_offset)
    return int(first.data_page_offset)


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, GROUP_ROWS):
        yield table.slice(start, GROUP_ROWS)


def _of_row(tables: Iterable[pa.Table], feature: int, strand: int) -> Iterator[pa.Table]:
    """The rows of a feature and strand, `SORTED_BASES` at most at a time."""
    for table in tables:
        kept = (column(table, "feature") == feature) & (column(table, "strand") == strand)
        own = table.filter(pa.array(kept))
        for start in range(0, own.num_rows, SORTED_BASES):
            yield own.slice(start, SORTED_BASES)


def _slices_of(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables that follow each other, where the last stretch of one may go on in the next."""
    waiting = ACTIVATIONS_SCHEMA.empty_table()
    for table in tables:
        joined = join_touching(pa.concat_tables([waiting, table]))
        yield from _slices(joined.slice(0, joined.num_rows - 1))
        waiting = copied(joined.slice(joined.num_rows - 1))
    yield from _slices(waiting)


class _Pieces(io.RawIOBase):
    """A file of which only some ranges are there."""

    def __init__(
        self, ranges: Sequence[tuple[int, int]], pieces: Sequence[bytes], size: int
    ) -> None:
        self._starts = np.array([start for start, _ in ranges])
        self._pieces, self._size, self._at = pieces, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        which = max(int(np.searchsorted(self._starts, self._at, side="right")) - 1, 0)
        start = self._at - int(self._starts[which])
        found = self._pieces[which][start : start + size]
        self._at += len(found)
        return found


class _Kept:
    """The footers that were used last."""

    def __init__(self, most: int) -> None:
        self._most, self._guard = most, threading.Lock()
        self._found: OrderedDict[str, _Footer] = OrderedDict()

    def get(self, key: str) -> _Footer | None:
        with self._guard:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def drop(self, key: str) -> None:
        with self._guard:
            self._found.pop(key, None)

    def put(self, key: str, footer: _Footer) -> None:
        with self._guard:
            self._found[key] = footer
            while len(self._found) > self._most:
                self._found.popitem(last=False)


_FOOTERS = _Kept(FOOTERS_KEPT)
