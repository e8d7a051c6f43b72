"""bigBed files: sorted intervals with an index by place and one by name, in UCSC's own layout.

    rows (contig, start, end, further fields) --write_bigbed--> .bb

The layout is that of Kent et al. (2010), "BigWig and BigBed: enabling browsing of large distributed
datasets", and of the kent sources (bbiFile, cirTree, bptFile), with the tree of contigs before the
data, where old readers look for it. Every number is little-endian. Coordinates are 0-based and
half-open on the forward strand.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.errors import CoordinateError, FormatError
from annotations.tables import column, replacing, text_of

Ints = NDArray[np.int64]

ROWS_PER_BLOCK: Final = 512
"""Rows that are compressed together; a reader fetches whole blocks."""
NODE_ITEMS: Final = 256
"""Items in a node of a tree."""
MAX_ZOOMS: Final = 10
_ZOOM_STEP: Final = 4
_LARGEST: Final = 2**32 - 1

_BIGBED_MAGIC: Final = 0x8789F2EB
_BPT_MAGIC: Final = 0x78CA8C91
_CIR_MAGIC: Final = 0x2468ACE0

_PLACE: Final[list[tuple[str, str]]] = [
    ("contig", "<u4"),
    ("start", "<u4"),
    ("end_contig", "<u4"),
    ("end", "<u4"),
]
_LEAF: Final = np.dtype([*_PLACE, ("offset", "<u8"), ("size", "<u8")])
_BRANCH: Final = np.dtype([*_PLACE, ("offset", "<u8")])
_ZOOM: Final = np.dtype(
    [
        ("contig", "<u4"),
        ("start", "<u4"),
        ("end", "<u4"),
        ("bases", "<u4"),
        ("least", "<f4"),
        ("most", "<f4"),
        ("sum", "<f4"),
        ("squares", "<f4"),
    ]
)


class _Depth(NamedTuple):
    """Stretches of equal, positive depth of intervals, sorted; none overlap."""

    contig: Ints
    start: Ints
    end: Ints
    depth: Ints


def write_bigbed(
    path: Path,
    rows: pa.Table,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    autosql: str,
    standard_fields: int,
    index: str | None = None,
) -> None:
    """Write intervals as bigBed, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    rows : Table
        Columns contig (index into `names`), start, end, then every further field of a line in
        order, of any type that `annotations.tables.text_of` writes. In any order.
    names : sequence of str
        Names of all contigs.
    lengths : sequence of int
        Bases in each of them.
    autosql : str
        Description of the fields, in autoSql; contig, start and end are the first three.
    standard_fields : int
        How many of the fields are those of BED, 3 to 12. IGV and igv.js read that many as BED
        and show the rest as attributes; a wrong number makes exons of labels.
    index : str, optional
        A column to look rows up by. igv.js searches in upper case only.

    Raises
    ------
    CoordinateError
        If an interval is empty, outside its contig, or its contig is unknown.
    FormatError
        If `standard_fields` is not from 3 to the number of fields, or there is no column `index`.
    """
    further = rows.column_names[3:]
    if not 3 <= standard_fields <= min(12, len(rows.column_names)):
        raise FormatError(
            f"standard_fields must be 3 to {min(12, len(rows.column_names))}, got {standard_fields}"
        )
    if index is not None and index not in further:
        raise FormatError(f"there is no field {index} to look up; fields: {', '.join(further)}")
    _check_places(rows, lengths)
    by_name = sorted(range(len(names)), key=lambda contig: names[contig].encode())
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    contig = rank[column(rows, "contig").astype(np.int64)]
    start, end = (column(rows, name).astype(np.int64) for name in ("start", "end"))
    order = np.lexsort((end, start, contig))
    contig, start, end = contig[order], start[order], end[order]
    rows = rows.take(pa.array(order))
    depth = _depth(contig, start, end)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\0" * (64 + 24 * MAX_ZOOMS))
        at_sql = file.tell()
        file.write(autosql.encode() + b"\0")
        at_summary = file.tell()
        file.write(_summary(depth))
        at_extension = file.tell()
        file.write(b"\0" * (64 + 20))
        at_contigs = file.tell()
        keys = [names[contig].encode() for contig in by_name]
        values = np.zeros(len(keys), np.dtype([("id", "<u4"), ("size", "<u4")]))
        values["id"], values["size"] = np.arange(len(keys)), [lengths[c] for c in by_name]
        _write_names(file, keys, values)
        at_data = file.tell()
        file.write(struct.pack("<Q", rows.num_rows))
        blocks, block_of, largest = _write_rows(file, contig, start, end, rows.select(further))
        at_index = file.tell()
        _write_places(file, blocks, rows.num_rows, ROWS_PER_BLOCK)
        zooms, largest_zoom = _write_zooms(file, depth, start, end)
        at_name_index = file.tell()
        if index is not None:
            _write_name_index(file, text_of(rows[index]).to_pylist(), blocks, block_of)
        file.seek(0)
        header = (_BIGBED_MAGIC, 4, len(zooms), at_contigs, at_data, at_index)
        fields = (len(rows.column_names), standard_fields, at_sql, at_summary)
        room = max(largest, largest_zoom)
        file.write(struct.pack("<IHHQQQHHQQIQ", *header, *fields, room, at_extension))
        for reduction, data, tree in zooms:
            file.write(struct.pack("<IIQQ", reduction, 0, data, tree))
        if index is not None:
            file.seek(at_extension)
            file.write(struct.pack("<HHQ", 64, 1, at_extension + 64))
            file.seek(at_extension + 64)
            # one indexed field: its number among all fields
            place = rows.column_names.index(index)
            file.write(struct.pack("<HHQIHH", 0, 1, at_name_index, 0, place, 0))
        else:
            file.seek(at_extension)
            file.write(struct.pack("<HHQ", 64, 0, 0))


def _check_places(rows: pa.Table, lengths: Sequence[int]) -> None:
    if not rows.num_rows:
        return
    contig = column(rows, "contig").astype(np.int64)
    if contig.min() < 0 or contig.max() >= len(lengths):
        raise CoordinateError(f"contig {contig.max()} is not among the {len(lengths)}")
    size = np.asarray(lengths, np.int64)[contig]
    start, end = (column(rows, name).astype(np.int64) for name in ("start", "end"))
    wrong = (start < 0) | (start >= end) | (end > size)
    if wrong.any() or max(lengths) > _LARGEST:
        at = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
        raise CoordinateError(
            f"an interval of a bigBed must lie in its contig and hold a base, got {start[at]} to "
            f"{end[at]} on a contig of {size[at]} bases"
        )


def _depth(contig: Ints, start: Ints, end: Ints) -> _Depth:
    """How many intervals cover each covered stretch."""
    if not len(contig):
        return _Depth(*(np.empty(0, np.int64),) * 4)
    where = np.concatenate([start, end])
    change = np.repeat([1, -1], len(start))
    on = np.concatenate([contig, contig])
    order = np.lexsort((where, on))
    on, where, change = on[order], where[order], change[order]
    last = np.append((np.diff(on) != 0) | (np.diff(where) != 0), True)
    depth = np.cumsum(change)[last]
    on, where = on[last], where[last]
    covered = np.flatnonzero(depth[:-1] > 0)
    return _Depth(on[covered], where[covered], where[covered + 1], depth[covered])


def _summary(depth: _Depth) -> bytes:
    size = depth.end - depth.start
    least = float(depth.depth.min(initial=_LARGEST)) if len(size) else 0.0
    total, squares = float((size * depth.depth).sum()), float((size * depth.depth**2).sum())
    return struct.pack(
        "<Qdddd", int(size.sum()), least, float(depth.depth.max(initial=0)), total, squares
    )


def _write_rows(
    file: BinaryIO, contig: Ints, start: Ints, end: Ints, further: pa.Table
) -> tuple[NDArray[Any], Ints, int]:
    """Compressed blocks; where each lies, the block of each row, and the largest size."""
    count = len(contig)
    places = np.empty(count, np.dtype([("contig", "<u4"), ("start", "<u4"), ("end", "<u4")]))
    places["contig"], places["start"], places["end"] = contig, start, end
    prefix = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(12), count, [None, pa.py_buffer(places.tobytes())]
    ).cast(pa.binary())
    texts = [text_of(values).combine_chunks().cast(pa.binary()) for values in further.columns]
    tab = pa.scalar(b"\t", pa.binary())
    rest = pc.binary_join_element_wise(*texts, tab) if texts else pa.array([b""] * count)
    empty = pa.scalar(b"", pa.binary())
    lines = pc.binary_join_element_wise(prefix, rest, pa.scalar(b"\0", pa.binary()), empty)
    # a block holds rows of one contig
    first = np.flatnonzero(np.diff(contig, prepend=-1))
    bounds = np.concatenate(
        [
            np.arange(low, high, ROWS_PER_BLOCK)
            for low, high in zip(first, np.append(first, count)[1:], strict=True)
        ]
        or [np.empty(0, np.int64)]
    ).astype(np.int64)
    blocks = np.zeros(len(bounds), _LEAF)
    block_of = np.zeros(count, np.int64)
    largest = 0
    for number, (low, high) in enumerate(zip(bounds, np.append(bounds, count)[1:], strict=True)):
        raw = b"".join(lines.slice(low, high - low).to_pylist())
        packed = zlib.compress(raw)
        blocks[number] = (
            contig[low],
            start[low],
            contig[low],
            end[low:high].max(),
            file.tell(),
            len(packed),
        )
        block_of[low:high] = number
        largest = max(largest, len(raw))
        file.write(packed)
    return blocks, block_of, largest


def _write_zooms(
    file: BinaryIO, depth: _Depth, start: Ints, end: Ints
) -> tuple[list[tuple[int, int, int]], int]:
    """Summaries over ever wider bins: reduction, place of the data, place of their index."""
    zooms: list[tuple[int, int, int]] = []
    largest = 0
    if not len(start):
        return zooms, largest
    reduction = max(10, int(10 * (end - start).mean()))
    before = len(start)
    while len(zooms) < MAX_ZOOMS and reduction < _LARGEST // _ZOOM_STEP:
        records = _zoom_records(depth, reduction)
        if 2 * len(records) <= before or not zooms:
            before = len(records)
            at = file.tell()
            file.write(struct.pack("<I", len(records)))
            blocks, size = _write_zoom_blocks(file, records)
            largest = max(largest, size)
            zooms.append((reduction, at, file.tell()))
            _write_places(file, blocks, len(records), ROWS_PER_BLOCK)
        if len(records) <= len(np.unique(depth.contig)):
            break
        reduction *= _ZOOM_STEP
    return zooms, largest


def _write_zoom_blocks(file: BinaryIO, records: NDArray[Any]) -> tuple[NDArray[Any], int]:
    bounds = np.arange(0, len(records), ROWS_PER_BLOCK)
    blocks = np.zeros(len(bounds), _LEAF)
    for number, low in enumerate(bounds):
        part = records[low : low + ROWS_PER_BLOCK]
        packed = zlib.compress(part.tobytes())
        last = part[-1]
        place = (part["contig"][0], part["start"][0], last["contig"], last["end"])
        blocks[number] = (*place, file.tell(), len(packed))
        file.write(packed)
    return blocks, min(len(records), ROWS_PER_BLOCK) * _ZOOM.itemsize


def _zoom_records(depth: _Depth, reduction: int) -> NDArray[Any]:
    """Covered bases, and depth over them, in bins of `reduction` bases."""
    bins = (depth.end - 1) // reduction - depth.start // reduction + 1
    of = np.repeat(np.arange(len(bins)), bins)
    step = np.arange(len(of)) - np.repeat(np.cumsum(bins) - bins, bins)
    low = (depth.start[of] // reduction + step) * reduction
    start = np.maximum(low, depth.start[of])
    end = np.minimum(low + reduction, depth.end[of])
    contig, deep, size = depth.contig[of], depth.depth[of], end - start
    first = np.flatnonzero((np.diff(contig, prepend=-1) != 0) | (np.diff(low, prepend=-1) != 0))
    records = np.empty(len(first), _ZOOM)
    records["contig"], records["start"] = contig[first], start[first]
    records["end"] = np.maximum.reduceat(end, first)
    records["bases"] = np.add.reduceat(size, first)
    records["least"] = np.minimum.reduceat(deep, first)
    records["most"] = np.maximum.reduceat(deep, first)
    records["sum"] = np.add.reduceat(size * deep, first)
    records["squares"] = np.add.reduceat(size * deep**2, first)
    return records


def _write_places(file: BinaryIO, blocks: NDArray[Any], items: int, per_block: int) -> None:
    """The index by place (cirTree)."""
    bounds = (0, 0, 0, 0)
    if len(blocks):
        last = blocks[-1]
        reach = blocks["end"][blocks["end_contig"] == last["end_contig"]].max()
        bounds = (
            int(blocks["contig"][0]),
            int(blocks["start"][0]),
            int(last["end_contig"]),
            int(reach),
        )
    file.write(
        struct.pack("<IIQIIIIQII", _CIR_MAGIC, NODE_ITEMS, len(blocks), *bounds, 0, per_block, 0)
    )
    _write_nodes(file, blocks, _enclosing)


def _enclosing(items: NDArray[Any], first: Ints) -> NDArray[Any]:
    """The places that each group of items covers together."""
    whole = np.zeros(len(first), _BRANCH)
    for name in ("contig", "start"):
        whole[name] = items[name][first]
    last = np.append(first[1:], len(items)) - 1
    whole["end_contig"] = items["end_contig"][last]
    on_last = items["end_contig"] == np.repeat(
        whole["end_contig"], np.diff(np.append(first, len(items)))
    )
    whole["end"] = np.maximum.reduceat(np.where(on_last, items["end"], 0), first)
    return whole


def _write_names(file: BinaryIO, keys: Sequence[bytes], values: NDArray[Any]) -> None:
    """A tree from names to values (bptFile); the names are sorted."""
    width = max((len(key) for key in keys), default=1)
    kind = np.dtype([("key", f"S{width}"), *values.dtype.descr])
    leaf = np.zeros(len(keys), kind)
    leaf["key"] = keys
    for name in values.dtype.names or ():
        leaf[name] = values[name]
    branch = np.dtype([("key", f"S{width}"), ("offset", "<u8")])

    def smallest(items: NDArray[Any], first: Ints) -> NDArray[Any]:
        whole = np.zeros(len(first), branch)
        whole["key"] = items["key"][first]
        return whole

    size = values.dtype.itemsize
    file.write(struct.pack("<IIIIQQ", _BPT_MAGIC, NODE_ITEMS, width, size, len(keys), 0))
    _write_nodes(file, leaf, smallest)


def _write_name_index(
    file: BinaryIO, words: Sequence[str], blocks: NDArray[Any], block_of: Ints
) -> None:
    keys = np.array([word.encode() for word in words], dtype=np.bytes_)
    order = np.argsort(keys, kind="stable")
    values = np.zeros(len(keys), np.dtype([("offset", "<u8"), ("size", "<u8")]))
    values["offset"] = blocks["offset"][block_of[order]] if len(keys) else 0
    values["size"] = blocks["size"][block_of[order]] if len(keys) else 0
    _write_names(file, keys[order].tolist(), values)


def _write_nodes(
    file: BinaryIO, leaf: NDArray[Any], summarise: Callable[[NDArray[Any], Ints], NDArray[Any]]
) -> None:
    """Nodes of a tree, the root first, then level by level."""
    levels = [leaf]
    while len(levels[-1]) > NODE_ITEMS:
        first = np.arange(0, len(levels[-1]), NODE_ITEMS)
        levels.append(summarise(levels[-1], first))
    at = file.tell()
    starts = []
    for items in reversed(levels):
        counts = np.minimum(NODE_ITEMS, len(items) - np.arange(0, max(1, len(items)), NODE_ITEMS))
        sizes = 4 + counts * items.dtype.itemsize
        starts.append(at + np.cumsum(sizes) - sizes)
        at += int(sizes.sum())
    for place, items in enumerate(reversed(levels)):
        is_leaf = items is leaf
        if not is_leaf:
            items["offset"] = starts[place + 1]
        for low in range(0, max(1, len(items)), NODE_ITEMS):
            node = items[low : low + NODE_ITEMS]
            file.write(struct.pack("<BBH", is_leaf, 0, len(node)) + node.tobytes())
