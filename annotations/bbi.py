"""What bigBed and bigWig files have in common: trees, summaries, wider and wider bins.

    names      --write_names-->  tree from names to values (bptFile)
    blocks     --write_places--> tree from places to blocks (cirTree)
    stretches  --summary, write_zooms--> what the whole file and each bin hold

The layout is that of Kent et al. (2010), "BigWig and BigBed: enabling browsing of large distributed
datasets", and of the kent sources (bbiFile, cirTree, bptFile). Every number is little-endian.
Coordinates are 0-based and half-open.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ITEMS_PER_BLOCK: Final = 512
"""Rows of a bigBed, runs of a bigWig or bins of a zoom level that are compressed together; a
reader fetches whole blocks."""
NODE_ITEMS: Final = 256
"""Items in a node of a tree."""
MAX_ZOOMS: Final = 10
LARGEST: Final = 2**32 - 1
"""Largest position of a file."""

HEADER_BYTES: Final = 64
ZOOM_BYTES: Final = 24
"""Bytes of the header, and of what it says of each zoom level after it."""

_ZOOM_STEP: Final = 4
_BPT_MAGIC: Final = 0x78CA8C91
_CIR_MAGIC: Final = 0x2468ACE0

_PLACE: Final[list[tuple[str, str]]] = [
    ("contig", "<u4"),
    ("start", "<u4"),
    ("end_contig", "<u4"),
    ("end", "<u4"),
]
LEAF: Final = np.dtype([*_PLACE, ("offset", "<u8"), ("size", "<u8")])
"""What a block covers, and where it lies."""
_BRANCH: Final = np.dtype([*_PLACE, ("offset", "<u8")])
_EXACT: Final = np.dtype(
    [
        *((name, "<i8") for name in ("contig", "start", "end", "bases")),
        *((name, "<f8") for name in ("least", "most", "sum", "squares")),
    ]
)
"""A bin as it is computed; a file holds `_ZOOM`."""
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


class Stretches(NamedTuple):
    """Stretches of equal value, sorted by contig and start; none overlap."""

    contig: Ints
    """Ids of contigs in the file."""
    start: Ints
    end: Ints
    value: NDArray[Any]


class Zoom(NamedTuple):
    """A zoom level, as the header describes it."""

    reduction: int
    """Bases of a bin."""
    data: int
    """Where its records begin."""
    tree: int
    """Where their index begins."""


def contig_ids(names: Sequence[str]) -> Ints:
    """Ids of contigs in a file, which are their places in order of name, as bytes."""
    by_name = sorted(range(len(names)), key=lambda contig: names[contig].encode())
    ids = np.empty(len(names), np.int64)
    ids[by_name] = np.arange(len(names))
    return ids


def write_contigs(file: BinaryIO, names: Sequence[str], lengths: Sequence[int]) -> None:
    """Write the tree of contigs, whose ids are those of `contig_ids`."""
    order = np.argsort(contig_ids(names))
    values = np.zeros(len(names), np.dtype([("id", "<u4"), ("size", "<u4")]))
    values["id"], values["size"] = np.arange(len(names)), np.asarray(lengths, np.int64)[order]
    keys = np.array([name.encode() for name in names], np.bytes_)
    write_names(file, keys[order], values)


def summary(stretches: Stretches) -> bytes:
    """Bases that have a value, the smallest and largest, their sum and that of the squares."""
    size, value = stretches.end - stretches.start, stretches.value.astype(np.float64)
    bounds = (float(value.min()), float(value.max())) if len(value) else (0.0, 0.0)
    total, squares = float((size * value).sum()), float((size * value**2).sum())
    return struct.pack("<Qdddd", int(size.sum()), *bounds, total, squares)


def block_bounds(contig: Ints) -> Ints:
    """Where blocks of sorted items begin: of at most `ITEMS_PER_BLOCK`, and of one contig."""
    change = np.flatnonzero(np.diff(contig, prepend=-1))
    since = np.arange(len(contig)) - np.repeat(change, np.diff(np.append(change, len(contig))))
    return np.flatnonzero(since % ITEMS_PER_BLOCK == 0)


def write_zooms(file: BinaryIO, stretches: Stretches, mean: float) -> tuple[list[Zoom], int]:
    """Write summaries over ever wider bins.

    Parameters
    ----------
    file : binary file
    stretches : Stretches
        With the value to be summed up.
    mean : float
        Bases of an item of the file, on average: the narrowest bins are ten times as wide.

    Returns
    -------
    zooms : list of Zoom
    largest : int
        Most bytes of a block before it was compressed.
    """
    if not len(stretches.start):
        return [], 0
    reduction = max(10, int(10 * mean))
    return write_levels(
        file, first_bins(stretches, reduction), reduction, before=len(stretches.start)
    )


def write_levels(
    file: BinaryIO, records: NDArray[Any], reduction: int, *, before: int
) -> tuple[list[Zoom], int]:
    """Write bins, and ever wider ones of them.

    Parameters
    ----------
    file : binary file
    records : ndarray
        The narrowest bins, as `first_bins` makes them; at least one.
    reduction : int
        Bases of one.
    before : int
        Items of the file that they sum up.

    Returns
    -------
    zooms : list of Zoom
    largest : int
        Most bytes of a block before it was compressed.
    """
    zooms: list[Zoom] = []
    largest = 0
    while len(zooms) < MAX_ZOOMS and reduction < LARGEST // _ZOOM_STEP:
        if 2 * len(records) <= before or not zooms:
            before = len(records)
            at = file.tell()
            file.write(struct.pack("<I", len(records)))
            blocks, size = _write_zoom_blocks(file, records.astype(_ZOOM))
            largest = max(largest, size)
            zooms.append(Zoom(reduction, at, file.tell()))
            write_places(file, blocks, len(records))
        if len(records) <= 1 + np.count_nonzero(np.diff(records["contig"])):
            break
        reduction *= _ZOOM_STEP
        records = wider_bins(records, reduction)
    return zooms, largest


def write_zoom_headers(file: BinaryIO, zooms: Sequence[Zoom]) -> None:
    """Write what the header says of each zoom level."""
    for zoom in zooms:
        file.write(struct.pack("<IIQQ", zoom.reduction, 0, zoom.data, zoom.tree))


def write_places(file: BinaryIO, blocks: NDArray[Any], items: int) -> None:
    """Write the index by place (cirTree).

    Parameters
    ----------
    file : binary file
    blocks : ndarray of LEAF
        Sorted by contig and start.
    items : int
        In all blocks together.
    """
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
    head = (_CIR_MAGIC, NODE_ITEMS, len(blocks), *bounds, 0, ITEMS_PER_BLOCK, 0)
    file.write(struct.pack("<IIQIIIIQII", *head))
    _write_nodes(file, blocks, _enclosing)


def write_names(file: BinaryIO, keys: NDArray[np.bytes_], values: NDArray[Any]) -> None:
    """Write a tree from names to values (bptFile); the names are sorted."""
    width = max(1, keys.dtype.itemsize)
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


def _write_zoom_blocks(file: BinaryIO, records: NDArray[Any]) -> tuple[NDArray[Any], int]:
    bounds = np.arange(0, len(records), ITEMS_PER_BLOCK)
    blocks = np.zeros(len(bounds), LEAF)
    for number, low in enumerate(bounds):
        part = records[low : low + ITEMS_PER_BLOCK]
        packed = zlib.compress(part.tobytes())
        last = part[-1]
        place = (part["contig"][0], part["start"][0], last["contig"], last["end"])
        blocks[number] = (*place, file.tell(), len(packed))
        file.write(packed)
    return blocks, min(len(records), ITEMS_PER_BLOCK) * _ZOOM.itemsize


def first_bins(stretches: Stretches, reduction: int) -> NDArray[Any]:
    """Bases that have a value, and their values, in bins of `reduction` bases."""
    bins = (stretches.end - 1) // reduction - stretches.start // reduction + 1
    of = np.repeat(np.arange(len(bins)), bins)
    step = np.arange(len(of)) - np.repeat(np.cumsum(bins) - bins, bins)
    low = (stretches.start[of] // reduction + step) * reduction
    pieces = np.empty(len(of), _EXACT)
    pieces["contig"] = stretches.contig[of]
    pieces["start"] = np.maximum(low, stretches.start[of])
    pieces["end"] = np.minimum(low + reduction, stretches.end[of])
    pieces["bases"] = pieces["end"] - pieces["start"]
    pieces["least"] = pieces["most"] = stretches.value[of]
    pieces["sum"] = pieces["bases"] * pieces["most"]
    pieces["squares"] = pieces["sum"] * pieces["most"]
    return wider_bins(pieces, reduction)


def wider_bins(pieces: NDArray[Any], reduction: int) -> NDArray[Any]:
    """Sorted pieces, none of which crosses the border of a bin, put together in bins."""
    place = pieces["start"] // reduction
    changes = (np.diff(pieces["contig"], prepend=-1) != 0) | (np.diff(place, prepend=-1) != 0)
    first = np.flatnonzero(changes)
    whole = np.empty(len(first), _EXACT)
    for name in ("contig", "start"):
        whole[name] = pieces[name][first]
    for name in ("end", "most"):
        whole[name] = np.maximum.reduceat(pieces[name], first)
    whole["least"] = np.minimum.reduceat(pieces["least"], first)
    for name in ("bases", "sum", "squares"):
        whole[name] = np.add.reduceat(pieces[name], first)
    return whole


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


def _write_nodes(
    file: BinaryIO, leaf: NDArray[Any], summarise: Callable[[NDArray[Any], Ints], NDArray[Any]]
) -> None:
    """Write nodes of a tree, the root first, then level by level."""
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
