"""Where a model reads: the window grid of a contig, and the shards of a submission.

    contig (length,)  --grid-->  owned (n, 2)  --read_spans-->  read (n, 2)

Coordinates are 0-based and half-open on the forward strand. Each base is owned by
exactly one cell of the grid. The grid starts at base 0 of a contig whatever the
shards are, so a base is always seen in the same window with the same context.

Where a tap sees only what precedes a base in the sense of reading, a cell is read with
bases before it on the forward pass, and with bases after it on the reverse-complement
pass. A tap that sees both sides of a base is read with bases `ahead` as well.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from annotations.errors import CoordinateError
from annotations.types import Span, Strand


def grid(length: int, stride: int) -> NDArray[np.int64]:
    """Cells of `stride` bases that tile a contig from base 0; the last one may be shorter.

    Parameters
    ----------
    length : int
        Bases in the contig; at least 1.
    stride : int
        Bases in a cell; at least 1.

    Returns
    -------
    owned : ndarray of int64, shape (n, 2)
        Start and end of each cell, in order.

    Raises
    ------
    CoordinateError
        If `length` or `stride` is below 1.

    Examples
    --------
    >>> grid(10, 4).tolist()
    [[0, 4], [4, 8], [8, 10]]
    """
    _check_stride(stride)
    if length < 1:
        raise CoordinateError(f"a contig must have at least 1 base, got {length}")
    starts = np.arange(0, length, stride, dtype=np.int64)
    return np.stack([starts, np.minimum(starts + stride, length)], axis=1)


def read_spans(
    owned: NDArray[np.int64], length: int, context: int, strand: Strand, *, ahead: int = 0
) -> NDArray[np.int64]:
    """What is read for each cell: its own bases and those about them that count for them.

    Parameters
    ----------
    owned : ndarray of int64, shape (n, 2)
        Cells, as `grid` returns them.
    length : int
        Bases in the contig; no read goes past it.
    context : int
        Bases read before the cell in the sense of the strand, fewer at the contig's end.
    strand : {"+", "-"}
        The pass. On ``"-"`` the read is to be reverse-complemented, so its context lies
        at higher coordinates.
    ahead : int
        Bases read behind the cell in the sense of the strand, fewer at the contig's end.

    Returns
    -------
    read : ndarray of int64, shape (n, 2)
        Start and end of each read, forward coordinates.

    Raises
    ------
    CoordinateError
        If `context` or `ahead` is negative, or a cell is empty or outside the contig.

    Examples
    --------
    >>> read_spans(grid(10, 4), 10, 3, "+").tolist()
    [[0, 4], [1, 8], [5, 10]]
    >>> read_spans(grid(10, 4), 10, 3, "-").tolist()
    [[0, 7], [4, 10], [8, 10]]
    >>> read_spans(grid(10, 4), 10, 3, "+", ahead=1).tolist()
    [[0, 5], [1, 9], [5, 10]]
    """
    if min(context, ahead) < 0:
        raise CoordinateError(f"context must be 0 or more bases, got {min(context, ahead)}")
    if strand not in get_args(Strand):
        raise CoordinateError(f"strand must be + or -, got {strand!r}")
    starts, ends = owned[:, 0], owned[:, 1]
    if ((starts < 0) | (starts >= ends) | (ends > length)).any():
        raise CoordinateError(
            f"every cell must lie inside its contig of {length} bases and not be empty"
        )
    left, right = (context, ahead) if strand == "+" else (ahead, context)
    return np.stack([np.maximum(starts - left, 0), np.minimum(ends + right, length)], axis=1)


def plan_shards(lengths: Sequence[int], *, stride: int, target: int) -> list[tuple[Span, ...]]:
    """Cut a submission into shards of about equal work.

    Long contigs are cut at multiples of `stride`, so that every cell of the grid falls
    into one shard; short contigs and the ends of long ones are packed together, in order.
    Work is counted in cells: a short cell is padded to a whole one when it is read.
    The plan depends on nothing but the arguments.

    Parameters
    ----------
    lengths : sequence of int
        Bases in each contig, in the order of the submission.
    stride : int
        Bases in a cell of the grid.
    target : int
        Bases in a shard, rounded down to whole cells; no shard has more cells than that,
        and every shard has one cell at least.

    Returns
    -------
    shards : list of tuple of Span
        Every base of every contig once, in order.

    Raises
    ------
    CoordinateError
        If a length, `stride` or `target` is below 1.

    Examples
    --------
    >>> for shard in plan_shards([10, 3], stride=4, target=8):
    ...     print([tuple(span) for span in shard])
    [(0, 0, 8)]
    [(0, 8, 10), (1, 0, 3)]
    """
    if any(length < 1 for length in lengths):
        raise CoordinateError(f"a contig must have at least 1 base, got {min(lengths)}")
    whole = [Span(contig, 0, length) for contig, length in enumerate(lengths)]
    return plan_spans(whole, stride=stride, target=target)


def plan_spans(spans: Sequence[Span], *, stride: int, target: int) -> list[tuple[Span, ...]]:
    """Cut spans of contigs into shards of about equal work, as `plan_shards` cuts contigs.

    The grid starts at base 0 of the contig, wherever a span does: long spans are cut at multiples
    of `stride`, and short ones are packed together, in order. Work is counted in the cells that a
    span touches.

    Parameters
    ----------
    spans : sequence of Span
        What the shards are to own.
    stride, target : int
        As in `plan_shards`.

    Returns
    -------
    shards : list of tuple of Span
        Every base of every span once, in order.

    Raises
    ------
    CoordinateError
        If a span is empty or starts below 0, or `stride` or `target` is below 1.

    Examples
    --------
    >>> for shard in plan_spans([Span(0, 6, 17), Span(1, 5, 7)], stride=4, target=8):
    ...     print([tuple(span) for span in shard])
    [(0, 6, 12)]
    [(0, 12, 17)]
    [(1, 5, 7)]
    """
    _check_stride(stride)
    if target < 1:
        raise CoordinateError(f"a shard must hold at least 1 base, got a target of {target}")
    room = max(1, target // stride)
    shards: list[tuple[Span, ...]] = []
    pack: list[Span] = []
    used = 0
    for contig, first, last in spans:
        if not 0 <= first < last:
            raise CoordinateError(f"a span must hold at least 1 base, got {first}-{last}")
        edges = [first, *range((first // stride + room) * stride, last, room * stride), last]
        for start, end in pairwise(edges):
            cells = -(-end // stride) - start // stride
            if used + cells > room:
                if pack:
                    shards.append(tuple(pack))
                pack, used = [], 0
            pack.append(Span(contig, start, end))
            used += cells
    if pack:
        shards.append(tuple(pack))
    return shards


def _check_stride(stride: int) -> None:
    """Refuse a grid that would not advance."""
    if stride < 1:
        raise CoordinateError(f"stride must be at least 1 base, got {stride}")
