"""Activations of a shard as one 64-bit number each, which sort without an index.

    | row: feature and strand | place: number of the base | value: float16 |

A shard finds millions of active bases, window by window. Sorting the numbers
themselves takes a fraction of the time and memory of sorting five columns by an
index: 8 bytes an activation, no gather. `Places` numbers the bases of a shard,
so that the contig and the position share a field.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.active_bases import (
    LARGEST_VALUE,
    Activations,
    SortedActivations,
    concatenate,
    locus_index,
    sort,
)
from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.stretches import to_half
from annotations.types import Span

VALUE_BITS = 16


class Places:
    """Numbers of the bases of some spans: 0, 1, ... in the order of contig and position."""

    def __init__(self, spans: Sequence[Span]) -> None:
        """Number the bases.

        Parameters
        ----------
        spans : sequence of Span
            In any order; no two may overlap.

        Raises
        ------
        CoordinateError
            If a span is reversed or starts below 0, or two overlap.
        """
        ordered = np.array(sorted(spans), dtype=np.int64).reshape(-1, 3)
        contigs, starts, ends = ordered.T
        overlapping = (contigs[1:] == contigs[:-1]) & (starts[1:] < ends[:-1])
        if (starts < 0).any() or (starts > ends).any() or overlapping.any():
            raise CoordinateError("spans must be forward, start at 0 or above, and not overlap")
        sizes = ends - starts
        offsets = np.cumsum(sizes) - sizes
        self._contigs, self._starts, self._ends, self._offsets = contigs, starts, ends, offsets
        self.contig = np.repeat(contigs.astype(np.uint32), sizes)
        """Contig of each place, uint32."""
        self.position = np.arange(int(sizes.sum())) - np.repeat(offsets - starts, sizes)
        """Position of each place, int64."""

    def __len__(self) -> int:
        """Bases in the spans."""
        return len(self.position)

    def number(self, contig: NDArray[Any], position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each base, -1 for one outside the spans.

        Parameters
        ----------
        contig, position : ndarrays of int, of one shape
            The bases; a position may be negative.

        Returns
        -------
        place : ndarray of int64, of that shape
        """
        if not len(self._contigs):
            return np.full(np.shape(position), -1, dtype=np.int64)
        contig = np.asarray(contig)
        first = locus_index(self._contigs.astype(np.uint32), self._starts)
        at = np.searchsorted(first, locus_index(contig, np.maximum(position, 0)), side="right") - 1
        inside = (
            (self._contigs[at] == contig)
            & (self._starts[at] <= position)
            & (position < self._ends[at])
        )
        return np.where(inside, self._offsets[at] + position - self._starts[at], -1)


def pack(
    feature: NDArray[np.uint32],
    place: NDArray[np.int64],
    reverse: NDArray[np.bool_],
    value: NDArray[np.float32],
    *,
    n_places: int,
) -> NDArray[np.uint64]:
    """Activations as numbers that sort by feature, strand (+ first) and place.

    Parameters
    ----------
    feature : ndarray of uint32, shape (n,)
        Index of the feature.
    place : ndarray of int64, shape (n,)
        As `Places.number` gives it; below `n_places`.
    reverse : ndarray of bool, shape (n,)
        Whether the feature was read on strand -.
    value : ndarray of float32, shape (n,)
        Above 0, at most `annotations.active_bases.LARGEST_VALUE`; kept as float16.
    n_places : int
        Bases of the shard.

    Returns
    -------
    packed : ndarray of uint64, shape (n,)

    Raises
    ------
    FormatError
        If a value is not above 0 and at most the largest, NaN included.
    LimitError
        If features and bases together do not fit into 48 bits.
    """
    if not len(value):
        return np.empty(0, dtype=np.uint64)
    low, high = float(value.min()), float(value.max())
    if not (low > 0 and high <= LARGEST_VALUE):
        raise FormatError(
            f"activations must be above 0 and at most {LARGEST_VALUE:g} (float16), "
            f"got values from {low:g} to {high:g}"
        )
    bits = _place_bits(n_places)
    rows = 2 * int(feature.max()) + 2
    if rows.bit_length() + bits + VALUE_BITS > 64:
        raise LimitError(
            f"{rows // 2} features at {n_places} bases are too much for one shard; plan smaller "
            "shards"
        )
    packed = feature.astype(np.uint64)
    packed <<= np.uint64(1)
    packed |= reverse
    packed <<= np.uint64(bits)
    packed |= place.astype(np.uint64)
    packed <<= np.uint64(VALUE_BITS)
    packed |= to_half(value).view(np.uint16)
    return packed


class Unpacked(NamedTuple):
    """Sorted activations, and the place of each."""

    activations: SortedActivations
    """Values are those of the float16 that is stored."""
    place: NDArray[np.int64]
    """Number of the base, as in `Places`, shape (n,)."""


def unpack(parts: Sequence[NDArray[np.uint64]], places: Places) -> Unpacked:
    """Sorted activations from packed ones.

    Parameters
    ----------
    parts : sequence of ndarray of uint64
        As `pack` returns them, in any order.
    places : Places
        Those the activations were packed with.

    Returns
    -------
    unpacked : Unpacked
        All of them, sorted.

    Raises
    ------
    FormatError
        If the same feature has two values at a base.
    """
    packed = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    if not len(packed):
        return Unpacked(sort(concatenate([])), np.empty(0, dtype=np.int64))
    packed.sort()
    value = packed.astype(np.uint16).view(np.float16).astype(np.float32)
    packed >>= np.uint64(VALUE_BITS)
    bits = np.uint64(_place_bits(len(places)))
    place = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    same = packed[1:] == packed[:-1]
    packed >>= bits
    found = SortedActivations(
        feature=(packed >> np.uint64(1)).astype(np.uint32),
        strand=1 - 2 * (packed & np.uint64(1)).astype(np.int8),
        contig=places.contig[place],
        position=places.position[place],
        value=value,
    )
    if same.any():
        _refuse_doubles(found, int(np.flatnonzero(same)[0]), int(same.sum()))
    return Unpacked(found, place)


def _refuse_doubles(found: Activations, at: int, number: int) -> None:
    raise FormatError(
        f"{number} activations are given twice, the first is feature {found.feature[at]} at base "
        f"{found.position[at]} of contig {found.contig[at]}; give every base to one window"
    )


def _place_bits(n_places: int) -> int:
    return max(1, (n_places - 1).bit_length())
