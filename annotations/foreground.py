"""The independent loci of feature rows: of many peaks, the windows that may be counted."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import row_index
from annotations.errors import CoordinateError
from annotations.matched_background import Silence
from annotations.motif_windows import Corpus, one_per_locus
from annotations.repeats import copies
from annotations.tables import column

ROWS_AT_ONCE = 512
"""Feature rows whose peaks are looked at together."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Loci(NamedTuple):
    """Windows about peaks, sorted by feature row, in each row the best first.

    Places are those of the corpus."""

    row: Ints
    peak: Ints
    start: Ints
    gc: Ints
    """G and C in the window."""

    def select(self, chosen: NDArray[np.bool_] | Ints) -> "Loci":
        """Only some of them, or in another order."""
        return Loci(*(column[chosen] for column in self))

    def within(self, rows: Ints) -> "Loci":
        """Those of a sorted block of rows, and of no row between them."""
        first = np.searchsorted(self.row, rows[0])
        last = np.searchsorted(self.row, rows[-1], side="right")
        part = Loci(*(column[first:last] for column in self))
        return part.select(np.isin(part.row, rows))


class Foreground(NamedTuple):
    """The loci that count, and what was left out."""

    loci: Loci
    peaks: Ints
    """Peaks given of each row, shape (rows,)."""
    counts: Ints
    """Loci of each row, shape (rows,)."""
    copies: Ints
    """Loci of each row left out as copies of another, shape (rows,)."""


def foreground(
    peaks: pa.Table, corpus: Corpus, silence: Silence, width: int, *, only: Ints | None = None
) -> Foreground:
    """Choose the loci that count.

    Those whose window lies inside its contig, has no N, has a GC content of which the background
    has a window's weight, overlaps no better one of the row, and is no copy of one.

    Parameters
    ----------
    peaks : pyarrow.Table
        Columns feature, strand, contig, position, value.
    corpus : Corpus
    silence : Silence
    width : int
        Bases of a window.
    only : ndarray of int64, optional
        Feature rows to look at; all by default.

    Returns
    -------
    foreground : Foreground

    Raises
    ------
    CoordinateError
        If a peak names a feature that the activity lacks.
    """
    row = row_index(column(peaks, "feature"), column(peaks, "strand"))
    if row.size and row.max() >= silence.rows:
        raise CoordinateError(
            f"peaks name feature {int(row.max()) // 2}, activity has {silence.rows // 2} features"
        )
    chosen = np.arange(len(row)) if only is None else np.flatnonzero(np.isin(row, only))
    chosen = chosen[np.argsort(row[chosen], kind="stable")]
    bounds = np.searchsorted(row[chosen], np.arange(0, silence.rows + ROWS_AT_ONCE, ROWS_AT_ONCE))
    # nothing is asked across rows: some rows at a time, whatever the number of peaks
    parts = [
        _loci(peaks.take(pa.array(chosen[first:end])), corpus, silence, width)
        for first, end in pairwise(bounds.tolist())
    ]
    loci = Loci(*(np.concatenate(columns) for columns in zip(*(p[0] for p in parts), strict=True)))
    dropped = np.concatenate([row for _, row in parts])
    return Foreground(
        loci,
        np.bincount(row[chosen], minlength=silence.rows),
        np.bincount(loci.row, minlength=silence.rows),
        np.bincount(dropped, minlength=silence.rows),
    )


def _loci(peaks: pa.Table, corpus: Corpus, silence: Silence, width: int) -> tuple[Loci, Ints]:
    """The loci of some rows that count, and the row of each that is left out as a copy."""
    row = row_index(column(peaks, "feature"), column(peaks, "strand"))
    contig, position = (column(peaks, name).astype(np.int64) for name in ("contig", "position"))
    # Best first within each row from here on, so that a place in the arrays is a rank.
    order = np.lexsort((position, contig, -column(peaks, "value"), row))
    row, peak = row[order], corpus.codes.places(contig[order], position[order])
    start = peak - width // 2
    usable = corpus.codes.known(start, width)
    row, peak, start = row[usable], peak[usable], start[usable]
    gc = corpus.codes.gc_of(start, width)
    # A window with less than one background window's weight about its GC has no expectation.
    loci = Loci(row, peak, start, gc).select(silence.weight[row, gc] >= 1)
    rank = np.arange(len(loci.row))
    loci = loci.select(one_per_locus(loci.row, loci.peak, rank, distance=width))
    copy = copies(loci.row, loci.peak, corpus.codes.joined, width)
    return loci.select(~copy), loci.row[copy]


def cpg_ratio(loci: Loci, rows: Ints, corpus: Corpus, width: int) -> Floats:
    """CpG observed over expected in all windows of each row together.

    CpG * bases / (C * G), Gardiner-Garden and Frommer 1987 (J Mol Biol 196:261).

    Parameters
    ----------
    loci : Loci
    rows : ndarray of int64, shape (n,)
        Sorted.
    corpus : Corpus
    width : int
        Bases of a window.

    Returns
    -------
    ratio : ndarray of float64, shape (n,)
        NaN for a row without C or without G, or without loci.
    """
    cytosines, pairs = np.zeros(len(loci.start)), np.zeros(len(loci.start))
    for part, bases in corpus.codes.windows(loci.start, width):
        c = bases == 1
        cytosines[part] = c.sum(axis=1)
        pairs[part] = (c[:, :-1] & (bases[:, 1:] == 2)).sum(axis=1)
    at = np.searchsorted(rows, loci.row)
    total = [
        np.bincount(at, values, minlength=len(rows))
        for values in (pairs, cytosines, loci.gc - cytosines, np.full(len(at), float(width)))
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = total[0] * total[3] / (total[1] * total[2])
    return np.where(np.isfinite(ratio), ratio, np.nan)
