"""bigWig files: runs of equal value with an index by place, in UCSC's own layout.

    runs (contig, start, end, value) --write_runs--> .bw

pyBigWig is not used for writing: it looks each contig up by going through all of them (98 s for
100,000), leaves the sum out of one zoom record in a thousand, and ends the process on a full disk.
The layout is UCSC's (`annotations.bbi`). Coordinates are 0-based and half-open.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from annotations.bbi import (
    HEADER_BYTES,
    LARGEST,
    LEAF,
    MAX_ZOOMS,
    ZOOM_BYTES,
    Stretches,
    block_bounds,
    contig_ids,
    summary,
    write_contigs,
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
        file.seek(0)
        header = (_MAGIC, 4, len(zooms), at_contigs, at_data, at_index)
        room = max(largest, largest_zoom)
        file.write(struct.pack("<IHHQQQHHQQIQ", *header, 0, 0, 0, at_summary, room, 0))
        write_zoom_headers(file, zooms)


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
