"""The independent loci of feature rows: of many peaks, the windows that may be counted."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.errors import CoordinateError
from annotations.matched_background import Silence
from annotations.motif_windows import Corpus, one_per_locus
from annotations.repeats import copies

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
    column = {name: peaks[name].to_numpy() for name in ("feature", "strand", "contig", "position")}
    row = 2 * column["feature"].astype(np.int64) + (column["strand"] < 0)
    if row.size and row.max() >= silence.rows:
        raise CoordinateError(
            f"peaks name feature {int(row.max()) // 2}, activity has {silence.rows // 2} features"
        )
    value = peaks["value"].to_numpy()
    contig, position = column["contig"].astype(np.int64), column["position"].astype(np.int64)
    if only is not None:
        wanted = np.isin(row, only)
        row, contig, position, value = (x[wanted] for x in (row, contig, position, value))
    given = np.bincount(row, minlength=silence.rows)
    # Best first within each row from here on, so that a place in the arrays is a rank.
    order = np.lexsort((position, contig, -value, row))
    row, contig, position = row[order], contig[order], position[order]
    peak = corpus.codes.places(contig, position)
    start = peak - width // 2
    usable = corpus.codes.known(start, width)
    row, peak, start = row[usable], peak[usable], start[usable]
    gc = corpus.codes.gc_of(start, width)
    # A window with less than one background window's weight about its GC has no expectation.
    loci = Loci(row, peak, start, gc).select(silence.weight[row, gc] >= 1)
    rank = np.arange(len(loci.row))
    loci = loci.select(one_per_locus(loci.row, loci.peak, rank, distance=width))
    copy = copies(loci.row, loci.peak, corpus.codes.joined, width)
    dropped = np.bincount(loci.row[copy], minlength=silence.rows)
    loci = loci.select(~copy)
    return Foreground(loci, given, np.bincount(loci.row, minlength=silence.rows), dropped)


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
