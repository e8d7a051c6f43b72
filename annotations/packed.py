"""Activations of a shard as one 64-bit number each, which sort without an index.

    | row: feature and strand | place: number of the base | value: float16 |

A shard finds millions of active bases, window by window. Sorting the numbers
themselves takes a fraction of the time and memory of sorting five columns by an
index: 8 bytes an activation, no gather. `Places` numbers the bases of a shard,
so that the contig and the position share a field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations import base_kernels
from annotations.active_bases import LARGEST_VALUE, locus_index, owned_mask
from annotations.compiled import compiled
from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.peaks import RADIUS
from annotations.shard_bases import ShardBases
from annotations.statistics import N_BINS, FeatureStatistics, bins_of_halves, check_rows
from annotations.stretches import to_half
from annotations.types import Span

VALUE_BITS = 16


class Places:
    """Numbers of the bases of some spans: 0, 1, ... in the order of contig and position."""

    def __init__(self, spans: Sequence[Span], *, apart: int = 0) -> None:
        """Number the bases.

        Parameters
        ----------
        spans : sequence of Span
            In any order; no two may overlap.
        apart : int
            Numbers left out behind every span, so that bases whose numbers are that close lie in
            one span.

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
        sizes = ends - starts + apart
        offsets = np.cumsum(sizes) - sizes
        self._contigs, self._starts, self._ends, self._offsets = contigs, starts, ends, offsets
        self.contig = np.repeat(contigs.astype(np.uint32), sizes)
        """Contig of each place, uint32; of a number left out, that of the span before."""
        self.position = np.arange(int(sizes.sum())) - np.repeat(offsets - starts, sizes)
        """Position of each place, int64; those of numbers left out go on behind the span."""

    def __len__(self) -> int:
        """Numbers, those left out among them."""
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
        Bases of the shard, with what keeps its spans apart.

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


class Described(NamedTuple):
    """What a shard found."""

    bases: ShardBases
    """The owned active bases; peaks are marked."""
    statistics: FeatureStatistics
    """Of these; the peaks that are marked are counted."""


def describe(
    parts: Sequence[NDArray[np.uint64]],
    places: Places,
    owned: Sequence[Span],
    *,
    lengths: Mapping[int, int],
    n_features: int,
    scanned: Mapping[int, int],
) -> Described:
    """Sort packed activations, keep the owned ones, find their peaks, and count both.

    Peaks are those of `annotations.peaks.find_peaks` and `with_context`, among the values that
    are stored.

    Parameters
    ----------
    parts : sequence of ndarray of uint64
        As `pack` returns them, in any order; those within `RADIUS` bases of the owned ones among
        them.
    places : Places
        Those the activations were packed with; at least `RADIUS` apart.
    owned : sequence of Span
        Bases that are kept; no two may overlap.
    lengths : mapping of int to int
        Bases of each contig of the spans, by its index.
    n_features : int
        Features of the dictionary.
    scanned : mapping of {1, -1} to int
        As in `FeatureStatistics`.

    Returns
    -------
    described : Described

    Raises
    ------
    FormatError
        If the same feature has two values at a base, or is not one of `n_features`, or is active
        at more bases than were scanned.
    """
    packed = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    packed.sort()
    bits = _place_bits(len(places))
    n_rows = 2 * n_features
    check_rows((packed[-1:] >> np.uint64(bits + VALUE_BITS)).astype(np.int64), n_features)
    counts, n_peaks = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    histogram, maximum = np.zeros((n_rows, N_BINS), np.int64), np.zeros(n_rows, np.uint16)
    locus, value = np.empty_like(packed), np.empty(len(packed), np.uint16)
    peak = np.empty(len(packed), np.bool_)
    kept = compiled(base_kernels.describe)(
        packed, bits, _allowed(places, owned, lengths),
        locus_index(places.contig, places.position), RADIUS, bins_of_halves(), counts, histogram,
        maximum, n_peaks, locus, value, peak,
    )  # fmt: skip
    if kept < 0:
        key = int(packed[-1 - kept]) >> VALUE_BITS
        at = key & ((1 << bits) - 1)
        raise FormatError(
            f"feature {key >> bits >> 1} is given two values at base {places.position[at]} of "
            f"contig {places.contig[at]}; give every base to one window"
        )
    return Described(
        ShardBases(counts, locus[:kept], value[:kept], peak[:kept]),
        FeatureStatistics.counted(
            scanned=scanned,
            maximum=maximum.view(np.float16).astype(np.float32),
            histogram=histogram,
            peaks=n_peaks,
        ),
    )


def _allowed(
    places: Places, owned: Sequence[Span], lengths: Mapping[int, int]
) -> NDArray[np.uint8]:
    """What may be at each place; peaks have `RADIUS` bases before them, as they are read."""
    kept = owned_mask(places.contig, places.position, owned)
    length = np.zeros(max(lengths, default=0) + 1, dtype=np.int64)
    length[list(lengths)] = list(lengths.values())
    before = places.position >= RADIUS
    behind = length[places.contig] - 1 - places.position >= RADIUS
    allowed = np.zeros(len(kept), np.uint8)
    allowed[kept] = base_kernels.OWNED
    allowed[kept & before] |= base_kernels.PEAK_FORWARD
    allowed[kept & behind] |= base_kernels.PEAK_REVERSE
    return allowed


def _place_bits(n_places: int) -> int:
    return max(1, (n_places - 1).bit_length())
