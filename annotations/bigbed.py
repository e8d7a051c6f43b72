"""bigBed files: sorted intervals with an index by place and one by name, in UCSC's own layout.

    rows (contig, start, end, further fields) --write_bigbed--> .bb

The layout is UCSC's (`annotations.bbi`), with the tree of contigs before the data, where old
readers look for it. Coordinates are 0-based and half-open on the forward strand.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.bbi import (
    HEADER_BYTES,
    LARGEST,
    LEAF,
    MAX_ZOOMS,
    ZOOM_BYTES,
    Ints,
    Stretches,
    block_bounds,
    contig_ids,
    summary,
    write_contigs,
    write_names,
    write_places,
    write_zoom_headers,
    write_zooms,
)
from annotations.errors import CoordinateError, FormatError
from annotations.memory import return_memory
from annotations.tables import column, replacing, text_of

_MAGIC: Final = 0x8789F2EB

_BLOCKS_AT_ONCE: Final = 64
"""Blocks whose lines are in memory together."""


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
    contig = contig_ids(names)[column(rows, "contig").astype(np.int64)]
    start, end = (column(rows, name).astype(np.int64) for name in ("start", "end"))
    order = np.lexsort((end, start, contig))
    contig, start, end = contig[order], start[order], end[order]
    rows = rows.take(pa.array(order))
    return_memory()
    depth = _depth(contig, start, end)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\0" * (HEADER_BYTES + ZOOM_BYTES * MAX_ZOOMS))
        at_sql = file.tell()
        file.write(autosql.encode() + b"\0")
        at_summary = file.tell()
        file.write(summary(depth))
        at_extension = file.tell()
        file.write(b"\0" * (64 + 20))
        at_contigs = file.tell()
        write_contigs(file, names, lengths)
        at_data = file.tell()
        file.write(struct.pack("<Q", rows.num_rows))
        blocks, block_of, largest = _write_rows(file, contig, start, end, rows.select(further))
        return_memory()
        at_index = file.tell()
        write_places(file, blocks, rows.num_rows)
        mean = float((end - start).mean()) if len(start) else 0.0
        zooms, largest_zoom = write_zooms(file, depth, mean)
        at_name_index = file.tell()
        if index is not None:
            _write_name_index(file, text_of(rows[index]).to_pylist(), blocks, block_of)
        file.seek(0)
        header = (_MAGIC, 4, len(zooms), at_contigs, at_data, at_index)
        fields = (len(rows.column_names), standard_fields, at_sql, at_summary)
        room = max(largest, largest_zoom)
        file.write(struct.pack("<IHHQQQHHQQIQ", *header, *fields, room, at_extension))
        write_zoom_headers(file, zooms)
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
    if wrong.any() or max(lengths) > LARGEST:
        at = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
        raise CoordinateError(
            f"an interval of a bigBed must lie in its contig and hold a base, got {start[at]} to "
            f"{end[at]} on a contig of {size[at]} bases"
        )


def _depth(contig: Ints, start: Ints, end: Ints) -> Stretches:
    """How many intervals cover each covered stretch."""
    if not len(contig):
        return Stretches(*(np.empty(0, np.int64),) * 4)
    where = np.concatenate([start, end])
    change = np.repeat([1, -1], len(start))
    on = np.concatenate([contig, contig])
    order = np.lexsort((where, on))
    on, where, change = on[order], where[order], change[order]
    last = np.append((np.diff(on) != 0) | (np.diff(where) != 0), True)
    depth = np.cumsum(change)[last]
    on, where = on[last], where[last]
    covered = np.flatnonzero(depth[:-1] > 0)
    return Stretches(on[covered], where[covered], where[covered + 1], depth[covered])


def _write_rows(
    file: BinaryIO, contig: Ints, start: Ints, end: Ints, further: pa.Table
) -> tuple[NDArray[Any], Ints, int]:
    """Compressed blocks; where each lies, the block of each row, and the largest size."""
    count = len(contig)
    # a block holds rows of one contig
    bounds = block_bounds(contig)
    ends = np.append(bounds, count)[1:]
    blocks = np.zeros(len(bounds), LEAF)
    block_of = np.repeat(np.arange(len(bounds)), ends - bounds)
    largest = 0
    for number, (low, high) in enumerate(zip(bounds.tolist(), ends.tolist(), strict=True)):
        if number % _BLOCKS_AT_ONCE == 0:
            first, last = low, ends[min(number + _BLOCKS_AT_ONCE, len(ends)) - 1]
            own = slice(first, last)
            lines = _lines(contig[own], start[own], end[own], further.slice(first, last - first))
        raw = b"".join(lines.slice(low - first, high - low).to_pylist())
        packed = zlib.compress(raw)
        blocks[number] = (
            contig[low],
            start[low],
            contig[low],
            end[low:high].max(),
            file.tell(),
            len(packed),
        )
        largest = max(largest, len(raw))
        file.write(packed)
    return blocks, block_of, largest


def _lines(contig: Ints, start: Ints, end: Ints, further: pa.Table) -> pa.ChunkedArray:
    """Rows as a file holds them: numbers of the place, then text."""
    places = np.empty(len(contig), np.dtype([("contig", "<u4"), ("start", "<u4"), ("end", "<u4")]))
    places["contig"], places["start"], places["end"] = contig, start, end
    prefix = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(12), len(places), [None, pa.py_buffer(places.tobytes())]
    ).cast(pa.binary())
    texts = [text_of(values).combine_chunks().cast(pa.binary()) for values in further.columns]
    tab = pa.scalar(b"\t", pa.binary())
    rest = pc.binary_join_element_wise(*texts, tab) if texts else pa.array([b""] * len(places))
    empty = pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(prefix, rest, pa.scalar(b"\0", pa.binary()), empty)


def _write_name_index(
    file: BinaryIO, words: Sequence[str], blocks: NDArray[Any], block_of: Ints
) -> None:
    keys = np.array([word.encode() for word in words], dtype=np.bytes_)
    order = np.argsort(keys, kind="stable")
    values = np.zeros(len(keys), np.dtype([("offset", "<u8"), ("size", "<u8")]))
    values["offset"] = blocks["offset"][block_of[order]] if len(keys) else 0
    values["size"] = blocks["size"][block_of[order]] if len(keys) else 0
    write_names(file, keys[order], values)
