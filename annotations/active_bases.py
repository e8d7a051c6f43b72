"""Sparse activations in memory: one row per active base, five arrays of one length.

Coordinates are 0-based on the forward strand, whichever strand was read. `strand` is
+1 or -1 (int8). Sorted means by feature, strand, contig, position; strand + comes before
strand -, as in `row_index`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import CoordinateError, FormatError
from annotations.types import Span

LARGEST_VALUE = 65504.0
"""Largest value a float16 holds; a larger activation is refused, never clipped."""

LARGEST_POSITION = 2**32 - 1
"""Positions must fit beside a contig in 64 bits."""


class Activations(NamedTuple):
    """Active features of bases: five arrays of one length, a row per (feature, strand, base)."""

    feature: NDArray[np.uint32]
    """Index of the feature in its dictionary."""
    strand: NDArray[np.int8]
    """Strand the feature was read on: +1 or -1."""
    contig: NDArray[np.uint32]
    """Index of the contig in its submission."""
    position: NDArray[np.int64]
    """Base of the contig, 0-based, forward coordinates."""
    value: NDArray[np.float32]
    """Activation: above 0, at most `LARGEST_VALUE`."""


class SortedActivations(Activations):
    """Activations that `check` accepts, sorted, no base of a feature twice; made by `sort`.

    A mark that saves the proof: functions that need this order take it as given.
    """

    __slots__ = ()


DTYPES = tuple(map(np.dtype, ("uint32", "int8", "uint32", "int64", "float32")))
"""The dtype of each array."""


def check(activations: Activations) -> None:
    """Refuse arrays that are not activations.

    Parameters
    ----------
    activations : Activations
        Any rows.

    Raises
    ------
    FormatError
        If lengths or dtypes differ from those stated, or a value is not above 0 and at most
        `LARGEST_VALUE` (so not NaN either), or a strand is not +1 or -1.
    CoordinateError
        If a position is negative or above `LARGEST_POSITION`.
    """
    columns: tuple[NDArray[Any], ...] = activations
    for name, values, dtype in zip(Activations._fields, columns, DTYPES, strict=True):
        if values.dtype != dtype or values.shape != activations.value.shape or values.ndim != 1:
            raise FormatError(
                f"{name} of activations must be a {dtype} array of shape "
                f"{activations.value.shape}, got {values.dtype} {values.shape}"
            )
    if not len(activations.value):
        return
    low, high = float(activations.value.min()), float(activations.value.max())
    if not (low > 0 and high <= LARGEST_VALUE):
        raise FormatError(
            f"activations must be above 0 and at most {LARGEST_VALUE:g} (float16), "
            f"got values from {low:g} to {high:g}"
        )
    if (np.abs(activations.strand) != 1).any():
        raise FormatError("strand of activations must be +1 or -1")
    first, last = int(activations.position.min()), int(activations.position.max())
    if first < 0 or last > LARGEST_POSITION:
        raise CoordinateError(
            f"positions must be from 0 to {LARGEST_POSITION}, got {first} to {last}"
        )


def concatenate(parts: Sequence[Activations]) -> Activations:
    """All rows of several activations, in the order given; no parts give no rows.

    Parameters
    ----------
    parts : sequence of Activations
        Any rows.

    Returns
    -------
    activations : Activations
        In the dtypes of `Activations`.
    """
    columns: list[Any] = [np.empty(0, dtype=dtype) for dtype in DTYPES]
    if parts:
        columns = [np.concatenate([part[i] for part in parts]) for i in range(len(DTYPES))]
    return Activations(*columns)


def select(activations: Activations, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Activations:
    """Some rows of activations, chosen by a mask or by their indices.

    Parameters
    ----------
    activations : Activations
        Any rows.
    rows : ndarray of bool, shape (n,), or of int, shape (chosen,)
        Which rows, and in which order.

    Returns
    -------
    activations : Activations
        The chosen rows.
    """
    # a mask keeps the order
    kept = isinstance(activations, SortedActivations) and rows.dtype == np.bool_
    made = SortedActivations if kept else Activations
    feature, strand, contig, position, value = activations
    return made(feature[rows], strand[rows], contig[rows], position[rows], value[rows])


def sort(activations: Activations) -> SortedActivations:
    """Rows sorted by feature, strand, contig and position; sorted input is returned as it is.

    Parameters
    ----------
    activations : Activations
        As `check` accepts them.

    Returns
    -------
    activations : SortedActivations
        No (feature, strand, base) twice.

    Raises
    ------
    FormatError, CoordinateError
        As `check`, and if the same feature has two values at a base.
    """
    if isinstance(activations, SortedActivations):
        return activations
    check(activations)
    row = row_index(activations.feature, activations.strand)
    locus = locus_index(activations.contig, activations.position)
    order = sorting_order(row, locus)
    if order is not None:
        activations, row, locus = select(activations, order), row[order], locus[order]
    same = (row[1:] == row[:-1]) & (locus[1:] == locus[:-1])
    if same.any():
        at = int(np.flatnonzero(same)[0])
        raise FormatError(
            f"{int(same.sum())} activations are given twice, the first is feature "
            f"{activations.feature[at]} at base {activations.position[at]} of contig "
            f"{activations.contig[at]}; give every base to one window"
        )
    return SortedActivations(*activations)


def owned_mask(
    contig: NDArray[np.uint32], position: NDArray[np.int64], owned: Sequence[Span]
) -> NDArray[np.bool_]:
    """Which bases lie in one of some spans.

    Parameters
    ----------
    contig, position : ndarray of uint32 and of int64, shape (n,)
        The bases.
    owned : sequence of Span
        In any order; no two may overlap.

    Returns
    -------
    inside : ndarray of bool, shape (n,)
        One per base.

    Raises
    ------
    CoordinateError
        If a span is reversed or starts below 0, or two overlap.
    """
    if not owned:
        return np.zeros(len(position), dtype=bool)
    spans = np.array(sorted(owned), dtype=np.int64)
    contigs, starts, ends = spans.T
    overlapping = (contigs[1:] == contigs[:-1]) & (starts[1:] < ends[:-1])
    if (starts < 0).any() or (starts > ends).any() or overlapping.any():
        raise CoordinateError("owned spans must be forward, start at 0 or above, and not overlap")
    at = (
        np.searchsorted(
            locus_index(contigs.astype(np.uint32), starts),
            locus_index(contig, position),
            side="right",
        )
        - 1
    )
    # at -1 (before every span) the last span is compared, whose start lies beyond
    inside = (contigs[at] == contig) & (starts[at] <= position) & (position < ends[at])
    return np.asarray(inside, dtype=bool)


def row_index(feature: NDArray[np.uint32], strand: NDArray[np.int8]) -> NDArray[np.int64]:
    """Row of a (feature, strand): twice the feature, and 1 more on strand -1."""
    return feature.astype(np.int64) * 2 + (strand < 0)


def locus_index(contig: NDArray[np.uint32], position: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Rank of (contig, position): the contig in the high 32 bits, the position in the low."""
    return (contig.astype(np.uint64) << np.uint64(32)) | position.astype(np.uint64)


def sorting_order(row: NDArray[np.int64], locus: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """Indices that sort by row, then locus; None if the input is sorted."""
    if len(row) < 2:
        return None
    ascending = (row[1:] > row[:-1]) | ((row[1:] == row[:-1]) & (locus[1:] >= locus[:-1]))
    if ascending.all():
        return None
    position = locus & np.uint64(LARGEST_POSITION)
    contig = locus >> np.uint64(32)
    bits = [int(values.max()).bit_length() for values in (contig, position)]
    if int(row.max()).bit_length() + sum(bits) > 64:
        return np.lexsort((locus, row))
    # one 64-bit key sorts several times faster than two keys
    key = (
        (row.astype(np.uint64) << np.uint64(sum(bits))) | (contig << np.uint64(bits[1])) | position
    )
    return np.argsort(key, kind="stable")
