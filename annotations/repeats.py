"""Which loci of a feature row are copies of one another: repeats count once.

A genome holds some sequences many times over: transposons, telomeres, ribosomal and transfer RNA
genes. A feature that fires at one copy fires at all, and what stands there stands there every time,
by descent and not by any rule. Three tests find copies:

* the same 41 bases about both peaks;
* windows that share more than half of their words of 8 bases, whichever strand they are read on:
  copies shifted against one another, and copies of which about 92 % of the bases still agree;
* windows that share half of the words on one side of the peak, each at the same distance from it:
  copies whose end lies at the peak, such as the ends of transposons.

One motif in two unrelated windows is far from either: 20 shared bases are 13 of 94 words.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import row_index
from annotations.compiled import compiled
from annotations.contig_codes import ContigCodes
from annotations.motif_windows import WIDTH
from annotations.tables import column

Ints = NDArray[np.int64]

COPY_RADIUS: Final = 20
"""Two loci of a row with the same bases within this distance of the peak are copies."""
WORD: Final = 8
"""Bases of a word; two windows that share more than half of their words are copies."""
HALF_WORDS: Final = 22
"""Words that copies share at least on one side of the peak, as 29 equal bases do: more than any one
motif has."""

_FIRST_BASE = 4 ** (WORD - 1)  # what the first base of a word counts, as a digit


def copies(row: Ints, peak: Ints, codes: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Which loci are copies of a better locus of the same row that is none itself.

    Parameters
    ----------
    row : ndarray of int64, shape (n,)
        Sorted; only loci of one row are compared.
    peak : ndarray of int64, shape (n,)
        Places in `codes`; within a row the best locus comes first.
    codes : ndarray of uint8
        Base codes; the window about each peak lies inside and has none above 3.
    width : int
        Bases of a window, odd, at least ``2 * COPY_RADIUS + 1``.

    Returns
    -------
    copy : ndarray of bool, shape (n,)
    """
    copy = _same_centre(row, peak, codes)
    left = np.flatnonzero(~copy)
    start = peak[left] - width // 2
    bounds = np.searchsorted(row[left], np.unique(row[left]), side="right")
    copy[left] = compiled(_near_copies)(bounds, start, codes, width - WORD + 1)
    return copy


def without_copies(
    peaks: pa.Table, sequences: Sequence[NDArray[np.uint8]], *, width: int = WIDTH
) -> pa.Table:
    """The peaks that are no copy of a better one of their feature row.

    Parameters
    ----------
    peaks : Table
        Columns feature, strand, contig, position, value; in any order.
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    width : int
        As for `copies`.

    Returns
    -------
    peaks : Table
        In the order they had. A peak whose window leaves its contig or touches N is compared with
        none, and kept.
    """
    codes = ContigCodes.of(sequences)
    row = row_index(column(peaks, "feature"), column(peaks, "strand"))
    place = codes.places(column(peaks, "contig"), column(peaks, "position"))
    order = np.lexsort((place, -column(peaks, "value"), row))
    order = order[codes.known(place - width // 2, width)[order]]
    kept = np.ones(peaks.num_rows, bool)
    kept[order] = ~copies(row[order], place[order], codes.joined, width)
    return peaks.filter(pa.array(kept))


def _same_centre(row: Ints, peak: Ints, codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    # A polynomial in an odd number, modulo 2**64: other bases hardly ever give the same.
    centre = np.zeros(len(peak), dtype=np.uint64)
    for step in range(-COPY_RADIUS, COPY_RADIUS + 1):
        centre = centre * np.uint64(0x9E3779B97F4A7C15) + codes[peak + step] + np.uint64(1)
    order = np.lexsort((np.arange(len(peak)), centre, row))
    copy = np.zeros(len(peak), dtype=bool)
    copy[order[1:]] = (np.diff(row[order]) == 0) & (np.diff(centre[order].view(np.int64)) == 0)
    return copy


def _near_copies(
    bounds: Ints, start: Ints, codes: NDArray[np.uint8], size: int
) -> NDArray[np.bool_]:
    """Mark loci that share half of all words, or of one side's, with a better one; numba compiles.

    A word is the smaller of its bases and their reverse complement, scattered over 16 bits: two
    windows share about 0.1 words more than they have in common.

    Each word of a row keeps a chain of the loci that have it, so that a new locus meets only loci
    with which it shares a word. Row r has the loci from ``bounds[r - 1]`` to ``bounds[r]``.
    """
    copy = np.zeros(len(start), dtype=np.bool_)
    head = np.full(2**16, -1, dtype=np.int32)
    seen = np.full(2**16, -1, dtype=np.int64)
    own = np.empty(size, dtype=np.int64)
    at = np.empty(size, dtype=np.int64)
    half = (size + WORD - 1) // 2 - WORD + 1
    needed = max(HALF_WORDS, half // 2 + 1)
    begin = 0
    for stop in bounds:
        n = stop - begin
        chain = np.empty(n * size, dtype=np.int64)
        owner = np.empty(n * size, dtype=np.int64)
        word_of = np.empty(n * size, dtype=np.int64)
        step_of = np.empty(n * size, dtype=np.int64)
        links = 0
        distinct = np.zeros(n, dtype=np.int64)
        shared = np.zeros(n, dtype=np.int64)
        before = np.zeros(n, dtype=np.int64)
        after = np.zeros(n, dtype=np.int64)
        for i in range(n):
            count = 0
            forward, reverse = np.int64(0), np.int64(0)
            for base in range(WORD - 1):
                code = np.int64(codes[start[begin + i] + base])
                forward = 4 * forward + code
                reverse = reverse // 4 + (3 - code) * _FIRST_BASE
            for step in range(size):
                code = np.int64(codes[start[begin + i] + step + WORD - 1])
                forward = (4 * forward + code) % (4 * _FIRST_BASE)
                reverse = reverse // 4 + (3 - code) * _FIRST_BASE
                # Fibonacci hashing: the high bits of a multiple of 2**32 / golden ratio.
                word = (min(forward, reverse) * 0x9E3779B1 % 2**32) // 2**16
                if seen[word] == begin + i:
                    continue
                seen[word] = begin + i
                own[count], at[count] = word, step
                count += 1
                link = head[word]
                while link >= 0:
                    shared[owner[link]] += 1
                    if step == step_of[link]:
                        before[owner[link]] += step < half
                        after[owner[link]] += step >= size - half
                    link = chain[link]
            for j in range(i):
                if 2 * shared[j] > count and 2 * shared[j] > distinct[j]:
                    copy[begin + i] = True
                if before[j] >= needed or after[j] >= needed:
                    copy[begin + i] = True
                shared[j] = before[j] = after[j] = 0
            if copy[begin + i]:
                continue
            distinct[i] = count
            for k in range(count):
                chain[links], owner[links], word_of[links] = head[own[k]], i, own[k]
                step_of[links] = at[k]
                head[own[k]] = links
                links += 1
        for link in range(links):
            head[word_of[link]] = -1
        begin = stop
    return copy
