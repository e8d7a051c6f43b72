"""bigWig files: values of bases with an index by place, in UCSC's own layout.

    runs (contig, start, end, value) --write_runs--> .bw     where neighbours are often equal
    values (contig, start, values) --write_values--> .bw     where each base has its own

pyBigWig is not used for writing: it looks each contig up by going through all of them (98 s for
100,000), leaves the sum out of one zoom record in a thousand, and ends the process on a full disk.
The layout is UCSC's (`annotations.bbi`). Coordinates are 0-based and half-open.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.bbi import (
    HEADER_BYTES,
    LARGEST,
    LEAF,
    MAX_ZOOMS,
    ZOOM_BYTES,
    Stretches,
    Zoom,
    block_bounds,
    contig_ids,
    first_bins,
    summary,
    wider_bins,
    write_contigs,
    write_levels,
    write_places,
    write_zoom_headers,
    write_zooms,
)
from annotations.errors import CoordinateError, FormatError
from annotations.tables import replacing

_MAGIC: Final = 0x888FFC26
_BEDGRAPH: Final = 1
"""Kind of a block whose items have a start, an end and a value each."""
_RUN: Final = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_BLOCK: Final = struct.Struct("<IIIIIBBH")
_FIXED_STEP: Final = 3
"""Kind of a block that holds a value for each base from its start."""
_VALUES_PER_BLOCK: Final = 1024
_BIN: Final = 64
"""Bases of the narrowest bins of a file of `write_values`: they are in memory, for all of it."""


class Values(NamedTuple):
    """Values of neighbouring bases."""

    contig: int
    """Index of the contig."""
    start: int
    """The first base."""
    values: NDArray[np.float32]


def write_runs(path: Path, runs: Stretches, names: Sequence[str], lengths: Sequence[int]) -> None:
    """Write runs of equal value as bigWig, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    runs : Stretches
        Contigs are indices into `names`, ascending; runs of one are sorted and do not overlap.
    names : sequence of str
        Names of all contigs.
    lengths : sequence of int
        Bases in each of them.

    Raises
    ------
    CoordinateError
        If a run is empty, outside its contig, or overlaps the one before.
    FormatError
        If a value is not finite: readers crash on it.
    """
    _check(runs, lengths)
    ids = contig_ids(names)[runs.contig]
    order = np.argsort(ids, kind="stable")
    runs = Stretches(ids[order], runs.start[order], runs.end[order], runs.value[order])
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\0" * (HEADER_BYTES + ZOOM_BYTES * MAX_ZOOMS))
        at_summary = file.tell()
        file.write(summary(runs))
        at_contigs = file.tell()
        write_contigs(file, names, lengths)
        at_data = file.tell()
        blocks, largest = _write_blocks(file, runs)
        at_index = file.tell()
        write_places(file, blocks, len(blocks))
        mean = float((runs.end - runs.start).mean()) if len(runs.start) else 0.0
        zooms, largest_zoom = write_zooms(file, runs, mean)
        places = (at_contigs, at_data, at_index, at_summary)
        _write_header(file, zooms, places, max(largest, largest_zoom))


def write_values(
    path: Path, parts: Iterable[Values], names: Sequence[str], lengths: Sequence[int]
) -> None:
    """Write a value for each of many bases as bigWig, whole or not at all, in bounded memory.

    In memory are one part at a time, and for the whole file 32 bytes for a block of
    `_VALUES_PER_BLOCK` bases and 64 for a bin of `_BIN`.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    parts : iterable of Values
        Contigs are indices into `names`; no base is given twice. The file says nothing of bases
        that are not given.
    names : sequence of str
        Names of all contigs.
    lengths : sequence of int
        Bases in each of them.

    Raises
    ------
    CoordinateError
        If a part is outside its contig, or overlaps another.
    FormatError
        If a value is not finite: readers crash on it.
    """
    if max(lengths, default=0) > LARGEST:
        raise CoordinateError(f"a contig of a bigWig has at most {LARGEST} bases")
    ids = contig_ids(names)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\0" * (HEADER_BYTES + ZOOM_BYTES * MAX_ZOOMS))
        at_summary = file.tell()
        file.write(summary(Stretches(*np.zeros((4, 0), np.int64))))
        at_contigs = file.tell()
        write_contigs(file, names, lengths)
        at_data = file.tell()
        file.write(struct.pack("<Q", 0))
        blocks, bins = [np.zeros(0, LEAF)], []
        for part in parts:
            if not 0 <= part.start <= part.start + len(part.values) <= lengths[part.contig]:
                raise CoordinateError(
                    f"values of a bigWig must lie in their contig of {lengths[part.contig]} bases, "
                    f"got {part.start} to {part.start + len(part.values)}"
                )
            if not np.isfinite(part.values).all():
                raise FormatError("values of a bigWig must be finite")
            if len(part.values):
                blocks.append(_write_fixed(file, part, int(ids[part.contig])))
                bins.append(_bins(part, int(ids[part.contig])))
        index = _by_place(np.concatenate(blocks))
        same = index["contig"][1:] == index["contig"][:-1]
        if (same & (index["start"][1:] < index["end"][:-1])).any():
            raise CoordinateError("a base of a bigWig was given two values")
        at_index = file.tell()
        write_places(file, index, len(index))
        zooms: list[Zoom] = []
        room = _BLOCK.size + 4 * _VALUES_PER_BLOCK
        if bins:
            # two parts may share a bin where one ends and the next begins
            records = wider_bins(_by_place(np.concatenate(bins)), _BIN)
            zooms, largest = write_levels(file, records, _BIN, before=int(records["bases"].sum()))
            room = max(room, largest)
            file.seek(at_summary)
            file.write(_summary_of(records))
        file.seek(at_data)
        file.write(struct.pack("<Q", len(index)))
        _write_header(file, zooms, (at_contigs, at_data, at_index, at_summary), room)


def _write_header(
    file: BinaryIO, zooms: Sequence[Zoom], places: tuple[int, int, int, int], room: int
) -> None:
    """Write what a file begins with.

    `places` are those of contigs, data, index and summary; `room` the bytes of its largest block.
    """
    at_contigs, at_data, at_index, at_summary = places
    file.seek(0)
    header = (_MAGIC, 4, len(zooms), at_contigs, at_data, at_index)
    file.write(struct.pack("<IHHQQQHHQQIQ", *header, 0, 0, 0, at_summary, room, 0))
    write_zoom_headers(file, zooms)


def _write_fixed(file: BinaryIO, part: Values, contig: int) -> NDArray[Any]:
    """Write blocks of values; where each lies."""
    first = np.arange(0, len(part.values), _VALUES_PER_BLOCK)
    blocks = np.zeros(len(first), LEAF)
    blocks["contig"] = blocks["end_contig"] = contig
    for number, low in enumerate(first.tolist()):
        values = part.values[low : low + _VALUES_PER_BLOCK].astype("<f4")
        start, count = part.start + low, len(values)
        head = _BLOCK.pack(contig, start, start + count, 1, 1, _FIXED_STEP, 0, count)
        blocks["start"][number], blocks["end"][number] = start, start + count
        blocks["offset"][number] = file.tell()
        blocks["size"][number] = file.write(zlib.compress(head + values.tobytes()))
    return blocks


def _bins(part: Values, contig: int) -> NDArray[Any]:
    """The narrowest bins of a part."""
    start = part.start + np.arange(len(part.values))
    runs = Stretches(np.full(len(start), contig), start, start + 1, part.values)
    return first_bins(runs, _BIN)


def _by_place(items: NDArray[Any]) -> NDArray[Any]:
    return items[np.lexsort((items["start"], items["contig"]))]


def _summary_of(bins: NDArray[Any]) -> bytes:
    """As `annotations.bbi.summary`, of bins that hold all bases."""
    bounds = float(bins["least"].min()), float(bins["most"].max())
    sums = float(bins["sum"].sum()), float(bins["squares"].sum())
    return struct.pack("<Qdddd", int(bins["bases"].sum()), *bounds, *sums)


def _check(runs: Stretches, lengths: Sequence[int]) -> None:
    if not np.isfinite(runs.value).all():
        raise FormatError("values of a bigWig must be finite")
    if max(lengths, default=0) > LARGEST:
        raise CoordinateError(f"a contig of a bigWig has at most {LARGEST} bases")
    if not len(runs.contig):
        return
    size = np.asarray(lengths, np.int64)[runs.contig]
    wrong = (runs.start < 0) | (runs.start >= runs.end) | (runs.end > size)
    same = np.diff(runs.contig) == 0
    wrong[1:] |= (same & (runs.start[1:] < runs.end[:-1])) | (np.diff(runs.contig) < 0)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise CoordinateError(
            "runs of a bigWig must be sorted, lie in their contig, hold a base and not overlap; "
            f"got {runs.start[at]} to {runs.end[at]} on a contig of {size[at]} bases"
        )


def _write_blocks(file: BinaryIO, runs: Stretches) -> tuple[NDArray[Any], int]:
    """Write compressed blocks; where each lies, and the most bytes of one before compression."""
    items = np.empty(len(runs.start), _RUN)
    items["start"], items["end"], items["value"] = runs.start, runs.end, runs.value
    first = block_bounds(runs.contig)
    past = np.append(first, len(items))[1:]
    blocks = np.zeros(len(first), LEAF)
    blocks["contig"] = blocks["end_contig"] = runs.contig[first]
    blocks["start"], blocks["end"] = runs.start[first], runs.end[past - 1]
    file.write(struct.pack("<Q", len(blocks)))
    raw, at, places, sizes = items.tobytes(), file.tell(), [], []
    heads = zip(*(blocks[name].tolist() for name in ("contig", "start", "end")), strict=True)
    bounds = zip(first.tolist(), past.tolist(), strict=True)
    for head, (low, high) in zip(heads, bounds, strict=True):
        body = raw[low * _RUN.itemsize : high * _RUN.itemsize]
        packed = zlib.compress(_BLOCK.pack(*head, 0, 0, _BEDGRAPH, 0, high - low) + body)
        places.append(at)
        sizes.append(len(packed))
        at += file.write(packed)
    blocks["offset"], blocks["size"] = places, sizes
    most = int((past - first).max(initial=0))
    return blocks, _BLOCK.size + most * _RUN.itemsize
