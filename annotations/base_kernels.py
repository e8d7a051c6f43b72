"""Loops over millions of active bases, which numba compiles (`annotations.compiled`).

Each has a twin in NumPy or plain Python in the tests. Values are the bits of positive float16,
which are in the order of the numbers they stand for.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Halves = NDArray[np.uint16]
Levels = NDArray[np.uint32]

OWNED, PEAK_FORWARD, PEAK_REVERSE = 1, 2, 4
"""What may be at a place: an active base that is kept, and a peak on either strand."""


def describe(
    packed: NDArray[np.uint64],
    place_bits: int,
    allowed: NDArray[np.uint8],
    locus_of: NDArray[np.uint64],
    radius: int,
    bin_of: Ints,
    counts: Ints,
    histogram: NDArray[np.int64],
    maximum: Halves,
    n_peaks: Ints,
    locus: NDArray[np.uint64],
    value: Halves,
    peak: NDArray[np.bool_],
) -> int:
    """Keep the owned ones of sorted packed bases, mark their peaks, count both.

    Parameters
    ----------
    packed : ndarray of uint64, shape (n,)
        Sorted, as of `annotations.packed`.
    place_bits : int
        Bits of a place; those of different spans, and of different rows, are more than `radius`
        apart.
    allowed : ndarray of uint8
        Of each place: `OWNED`, `PEAK_FORWARD` and `PEAK_REVERSE`.
    locus_of : ndarray of uint64
        Of each place.
    radius : int
        As in `annotations.peaks`.
    bin_of : ndarray of int64, shape (65536,)
        Bin of a value's bits.
    counts, histogram, maximum, n_peaks
        Written, one row each; as in `annotations.statistics.FeatureStatistics`, and the kept
        bases of each row.
    locus, value, peak : ndarrays, shape (n,)
        Written from the start: the kept bases in order.

    Returns
    -------
    kept : int
        How many; -1 - i where packed base i has the row and place of the one before it.
    """
    n = len(packed)
    mask = (np.int64(1) << place_bits) - 1
    kept = 0
    before = np.int64(-1)
    for i in range(n):
        key = np.int64(packed[i] >> np.uint64(16))
        if key == before:
            return -1 - i
        before = key
        at = key & mask
        flags = allowed[at]
        if not flags & OWNED:
            continue
        row = key >> place_bits
        own = np.uint16(packed[i] & np.uint64(0xFFFF))
        is_peak = flags & (PEAK_REVERSE if row & 1 else PEAK_FORWARD) != 0
        j = i + 1
        while is_peak and j < n and np.int64(packed[j] >> np.uint64(16)) - key <= radius:
            is_peak = np.uint16(packed[j] & np.uint64(0xFFFF)) <= own
            j += 1
        j = i - 1
        # of equal values the leftmost is the peak
        while is_peak and j >= 0 and key - np.int64(packed[j] >> np.uint64(16)) <= radius:
            is_peak = np.uint16(packed[j] & np.uint64(0xFFFF)) < own
            j -= 1
        locus[kept] = locus_of[at]
        value[kept] = own
        peak[kept] = is_peak
        kept += 1
        counts[row] += 1
        histogram[row, bin_of[own]] += 1
        maximum[row] = max(maximum[row], own)
        n_peaks[row] += is_peak
    return kept


def scatter(
    row: NDArray[np.int32],
    locus: NDArray[np.uint64],
    value: Halves,
    peak: NDArray[np.bool_],
    begin: Ints,
    into: tuple[NDArray[np.int32], NDArray[np.uint64], Halves, NDArray[np.bool_]],
) -> bool:
    """Bases put in order of their rows, those of a row as they come.

    Parameters
    ----------
    row, locus, value, peak : ndarrays, shape (n,)
    begin : ndarray of int64
        Where each row begins; written.
    into : ndarrays like the first four
        Written.

    Returns
    -------
    ordered : bool
        Whether no base stands in its row before one of a smaller or equal locus.
    """
    into_row, into_locus, into_value, into_peak = into
    ordered = True
    first = begin.copy()
    for i in range(len(row)):
        own = row[i]
        at = begin[own]
        begin[own] = at + 1
        ordered &= at == first[own] or into_locus[at - 1] < locus[i]
        into_row[at] = own
        into_locus[at] = locus[i]
        into_value[at] = value[i]
        into_peak[at] = peak[i]
    return ordered


def stretches(
    row: NDArray[np.int32],
    locus: NDArray[np.uint64],
    feature_of: NDArray[np.uint32],
    strand_of: NDArray[np.int8],
    first: NDArray[np.int32],
    feature: NDArray[np.uint32],
    strand: NDArray[np.int8],
    contig: NDArray[np.uint32],
    start: Ints,
) -> int:
    """Stretches of consecutive bases among bases sorted by row and locus.

    Parameters
    ----------
    row, locus : ndarrays, shape (n,)
    feature_of, strand_of : ndarrays
        Of each row.
    first, feature, strand, contig, start : ndarrays, shape (n,)
        Written from the start, one item each stretch: index of its first base, and columns.

    Returns
    -------
    found : int
        Stretches.
    """
    found = 0
    for i in range(len(row)):
        if i > 0 and row[i] == row[i - 1] and locus[i] == locus[i - 1] + np.uint64(1):
            continue
        first[found] = i
        feature[found] = feature_of[row[i]]
        strand[found] = strand_of[row[i]]
        contig[found] = locus[i] >> np.uint64(32)
        start[found] = np.int64(locus[i] & np.uint64(0xFFFFFFFF))
        found += 1
    return found


def count_levels(row: Ints, level: Levels, slot: Ints, histogram: NDArray[np.int64]) -> None:
    """Count the levels of the rows that have a slot.

    Parameters
    ----------
    row, level : ndarrays, shape (n,)
    slot : ndarray of int64
        Of each row; -1 where it is not counted.
    histogram : ndarray of int64, shape (slots, levels)
        Written.
    """
    for i in range(len(row)):
        own = slot[row[i]]
        if own >= 0:
            histogram[own, level[i]] += 1


def reach_level(
    row: Ints, level: Levels, slot: Ints, least: Ints, reached: NDArray[np.bool_]
) -> None:
    """Which items have at least the level of their row's slot; all of a row without one.

    Parameters
    ----------
    row, level, slot
        As in `count_levels`.
    least : ndarray of int64, shape (slots,)
    reached : ndarray of bool, shape (n,)
        Written.
    """
    for i in range(len(row)):
        own = slot[row[i]]
        reached[i] = own < 0 or level[i] >= least[own]
