"""What a feature's own motif looks like, and which matrices of a catalogue look the same.

    top peaks + sequences  --row_motifs-->  counts about the aligned peaks of each feature row
                           --compare-->     p and q of similarity to each matrix (Tomtom)

A feature row is one feature on one strand: ``2 * feature + (strand < 0)``. Its peaks are aligned by
position alone, in the sense in which the feature was read: column `radius` is the peak itself. Of
overlapping loci and of copies of a repeat only the best counts, or one transposon would be a motif
of fifty bases.

A motif is the stretch of columns that differs most from the composition of the sequences. Rows
whose stretch is short or says little have no motif and are compared with nothing: such stretches
are like many matrices by chance, and Tomtom's p-value, whose null is made of the catalogue's own
columns, does not know how common they are. q is over the matrices, for each row by itself.

Measured on yeast, 3,000 rows of 100 random peaks each, and as many in its most AT- and GC-rich
tenth: no motif above 0.4 bits, so none is compared. Of the first bundled dictionary's 10,083
enriched pairs of rows that can be compared, 893 are similar; with the columns of each matrix
shuffled 36, 57 and 67 are (three shuffles), with the matrices given one another's names 16. So
similarity is evidence for a pair that is enriched already; by itself it says what a motif looks
like.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.contig_codes import ContigCodes
from annotations.errors import OptionError
from annotations.jaspar import Motif
from annotations.motif_scan import PSEUDOCOUNT, background_of
from annotations.motif_windows import one_per_locus
from annotations.numba_threads import numba_threads
from annotations.repeats import COPY_RADIUS, copies

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RADIUS: Final = 25
"""Bases looked at on each side of a peak."""
MIN_LOCI: Final = 20
"""Loci a row's motif needs."""
COLUMN_BITS: Final = 0.25
"""Bits per column that a stretch must exceed to be worth its length."""
MIN_BITS: Final = 4.0
"""Bits a row's motif needs in all to be compared; random peaks reach a tenth of it."""
MIN_WIDTH: Final = 6
"""Columns a row's motif needs to be compared: words of 5 are too like too many matrices."""
MIN_TARGETS: Final = 25
"""Matrices below which Tomtom's p-values depend strongly on which they are."""
MIN_CORRELATION: Final = 0.75
"""Pearson's correlation of the aligned frequencies that a similarity needs."""
REPORTED_Q: Final = 0.1

SIMILARITY_SCHEMA: Final = pa.schema(
    [
        ("feature", pa.uint32()),
        ("strand", pa.int8()),
        ("matrix_id", pa.string()),
        ("similarity_p", pa.float64()),
        ("similarity_q", pa.float64()),
        ("best", pa.bool_()),
    ]
)
"""One row per feature row and matrix; `best` marks the matrix of lowest p of each feature row.

Sorted by feature, + before -, p, matrix id."""

_LOCI_PER_BLOCK: Final = 25_000
_QUERIES_PER_CALL: Final = 2048
_CHECKED_P: Final = 1e-2
_PAIRS_PER_BLOCK: Final = 20_000


class RowMotifs(NamedTuple):
    """Base counts about the aligned peaks of feature rows."""

    rows: Ints
    """Feature rows, shape (n,), ascending."""
    counts: NDArray[np.int32]
    """Shape (n, 4, 2 * radius + 1): A, C, G, T at each place about the peak, in the sense of the
    pass."""
    loci: Ints
    """Loci counted, shape (n,)."""
    start: Ints
    """First column of each row's motif, shape (n,)."""
    end: Ints
    """One past the last; equal to `start` where no column stands out."""
    bits: Floats
    """Information of the motif against `background`, shape (n,), corrected for few loci."""
    background: Floats
    """Frequencies of A, C, G, T in both strands of the sequences, shape (4,)."""

    def motif(self, place: int) -> NDArray[np.int32]:
        """Counts of one row's motif alone, shape (4, width)."""
        return self.counts[place, :, self.start[place] : self.end[place]]

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """Which rows have a motif that is long and clear enough to be compared, shape (n,)."""
        enough: NDArray[np.bool_] = self.bits >= MIN_BITS
        return enough & (self.end - self.start >= MIN_WIDTH)


def row_motifs(
    peaks: pa.Table,
    sequences: Sequence[NDArray[np.uint8]],
    rows: Ints | None = None,
    *,
    radius: int = RADIUS,
    min_loci: int = MIN_LOCI,
    background: Floats | None = None,
) -> RowMotifs:
    """Count the bases about the peaks of each feature row.

    Parameters
    ----------
    peaks : pyarrow.Table
        The strongest peaks of each feature: columns feature, strand, contig, position, value.
    sequences : sequence of ndarray of uint8
        Base codes of each contig, in order.
    rows : ndarray of int64, optional
        Only these feature rows; by default all.
    radius : int
        Bases on each side of a peak, at least `annotations.repeats.COPY_RADIUS`. Peaks whose
        window leaves its contig or touches a code above 3 are left out, as are all but the best of
        overlapping windows and of copies (`annotations.repeats`).
    min_loci : int
        Rows with fewer loci left are left out.
    background : ndarray of float64, shape (4,), optional
        Of `annotations.motif_scan.background_of`; by default that of `sequences`.

    Returns
    -------
    motifs : RowMotifs

    Raises
    ------
    OptionError
        If `radius` is below that of the test for copies.
    """
    if radius < COPY_RADIUS:
        raise OptionError(f"radius must be at least {COPY_RADIUS}, got {radius}")
    codes = ContigCodes.of(sequences)
    row, peak = _loci(peaks, codes, rows, 2 * radius + 1)
    found, loci = np.unique(row, return_counts=True)
    enough = loci >= min_loci
    kept = np.repeat(enough, loci)
    row, peak, found, loci = row[kept], peak[kept], found[enough], loci[enough]
    counts = _counts(row, peak, codes.joined, np.cumsum(loci) - loci, radius)
    if background is None:
        background = background_of(sequences)
    start, end, bits = _stretches(counts, loci, background)
    return RowMotifs(found, counts, loci, start, end, bits, background)


def compare(
    motifs: RowMotifs, matrices: Sequence[Motif], pairs: pa.Table | None = None
) -> pa.Table:
    """How like each matrix the motif of each feature row is, by Tomtom.

    Parameters
    ----------
    motifs : RowMotifs
        Rows that are not `comparable` have no similarity to anything.
    matrices : sequence of Motif
        Fewer than `MIN_TARGETS` give an empty table: the p-values would mean nothing.
    pairs : pyarrow.Table, optional
        Columns feature, strand, matrix_id: pairs wanted whatever their q.

    Returns
    -------
    similarities : pyarrow.Table of SIMILARITY_SCHEMA
        Pairs with q of at most `REPORTED_Q`, the best matrix of each comparable row, and of `pairs`
        those whose row is comparable. p is that of the best offset and strand, and 1 where the two
        correlate less than `MIN_CORRELATION` there; q is by Benjamini and Hochberg over the
        matrices, for each row by itself, as Tomtom's own is. With many rows some are like a
        matrix by chance: it says which matrix a row is like, not that rows are like matrices.

    Notes
    -----
    8 bytes per comparable row and matrix are held.
    """
    places = np.flatnonzero(motifs.comparable)
    if not places.size or len(matrices) < MIN_TARGETS:
        return SIMILARITY_SCHEMA.empty_table()
    p = _tomtom(motifs, places, matrices)
    q = _q_of_rows(p)
    chosen = q <= REPORTED_Q
    names = np.array([matrix.matrix_id for matrix in matrices], dtype=object)
    # Of equal p the first by matrix id is the best, as in the order of the table.
    by_id = np.argsort(names, kind="stable")
    best = by_id[p[:, by_id].argmin(axis=1)]
    chosen[np.arange(len(places)), best] = True
    if pairs is not None:
        chosen |= _wanted(pairs, motifs.rows[places], names)
    place, matrix = np.nonzero(chosen)
    value = p[place, matrix]
    row = motifs.rows[places[place]]
    order = np.lexsort((names[matrix].astype(str), value, row))
    place, matrix, value, row = place[order], matrix[order], value[order], row[order]
    return pa.table(
        {
            "feature": (row // 2).astype(np.uint32),
            "strand": (1 - 2 * (row % 2)).astype(np.int8),
            "matrix_id": names[matrix],
            "similarity_p": value.astype(np.float64),
            "similarity_q": q[place, matrix].astype(np.float64),
            "best": best[place] == matrix,
        },
        schema=SIMILARITY_SCHEMA,
    )


def _q_of_rows(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """False discovery rates of each row's p-values, over its columns (Benjamini and Hochberg)."""
    q = np.empty_like(p)
    ranks = p.shape[1] / np.arange(1, p.shape[1] + 1, dtype=np.float32)
    for begin in range(0, len(p), _QUERIES_PER_CALL):
        own = slice(begin, begin + _QUERIES_PER_CALL)
        order = np.argsort(p[own], axis=1, kind="stable")
        stepped = np.take_along_axis(p[own], order, axis=1) * ranks
        least = np.minimum.accumulate(stepped[:, ::-1], axis=1)[:, ::-1]
        np.put_along_axis(q[own], order, np.minimum(least, 1), axis=1)
    return q


def _loci(peaks: pa.Table, codes: ContigCodes, rows: Ints | None, width: int) -> tuple[Ints, Ints]:
    """Feature row and place of each locus that counts, sorted by row, best first."""
    column = {name: peaks[name].to_numpy() for name in ("feature", "strand", "contig", "position")}
    row = 2 * column["feature"].astype(np.int64) + (column["strand"] < 0)
    peak = codes.places(column["contig"], column["position"])
    order = np.lexsort((peak, -peaks["value"].to_numpy(), row))
    if rows is not None:
        order = order[np.isin(row[order], rows)]
    row, peak = row[order], peak[order]
    known = codes.known(peak - width // 2, width)
    row, peak = row[known], peak[known]
    alone = one_per_locus(row, peak, np.arange(len(row)), distance=width)
    row, peak = row[alone], peak[alone]
    single = ~copies(row, peak, codes.joined, width)
    return row[single], peak[single]


def _counts(
    row: Ints, peak: Ints, codes: NDArray[np.uint8], first: Ints, radius: int
) -> NDArray[np.int32]:
    counts = np.zeros((len(first), 4, 2 * radius + 1), dtype=np.int32)
    steps = np.arange(-radius, radius + 1)
    begin = 0
    while begin < len(first):
        # Whole rows, about as many loci as a block may hold.
        stop = int(np.searchsorted(first, first[begin] + _LOCI_PER_BLOCK, side="right"))
        stop = max(begin + 1, stop - 1) if stop < len(first) else stop
        last = int(first[stop]) if stop < len(first) else len(row)
        own = slice(int(first[begin]), last)
        minus = (row[own] % 2).astype(bool)
        seen = codes[peak[own, None] + np.where(minus[:, None], -steps, steps)]
        seen = np.where(minus[:, None], 3 - seen, seen)
        for base in range(4):
            is_base = (seen == base).astype(np.int32)
            counts[begin:stop, base] = np.add.reduceat(is_base, first[begin:stop] - own.start)
        begin = stop
    return counts


def _stretches(
    counts: NDArray[np.int32], loci: Ints, background: Floats
) -> tuple[Ints, Ints, Floats]:
    """The stretch of columns with the largest sum of bits over `COLUMN_BITS`, and its bits.

    Bits are the relative entropy to the background, less its mean for as many loci drawn from the
    background, 3 / (2 ln 2 n) (Schneider et al. 1986).
    """
    n = loci[:, None, None] + PSEUDOCOUNT
    share = (counts + PSEUDOCOUNT * background[:, None]) / n
    bits = (share * np.log2(share / background[:, None])).sum(axis=1)
    bits -= 3 / (2 * np.log(2) * loci[:, None])
    sums = np.zeros((len(loci), counts.shape[2] + 1))
    np.cumsum(bits - COLUMN_BITS, axis=1, out=sums[:, 1:])
    lowest = np.minimum.accumulate(sums, axis=1)
    end = (sums - lowest).argmax(axis=1)
    here = np.arange(len(loci))
    # The last place at which the sum was lowest before the end.
    passed = np.arange(sums.shape[1]) <= end[:, None]
    at_lowest = passed & (sums == lowest[here, end][:, None])
    start = sums.shape[1] - 1 - at_lowest[:, ::-1].argmax(axis=1)
    total = np.zeros_like(sums)
    np.cumsum(bits, axis=1, out=total[:, 1:])
    return start, end, total[here, end] - total[here, start]


def _tomtom(motifs: RowMotifs, places: Ints, matrices: Sequence[Motif]) -> NDArray[np.float32]:
    # numba, which memelite needs, takes seconds to import and only a comparison needs it.
    from memelite import tomtom

    targets = [
        (matrix.counts + PSEUDOCOUNT / 4) / (matrix.counts.sum(axis=0) + PSEUDOCOUNT)
        for matrix in matrices
    ]
    p = np.empty((len(places), len(matrices)), dtype=np.float32)
    added = PSEUDOCOUNT * motifs.background[:, None]
    for begin in range(0, len(places), _QUERIES_PER_CALL):
        block = places[begin : begin + _QUERIES_PER_CALL]
        queries = [
            (motifs.motif(place) + added) / (motifs.loci[place] + PSEUDOCOUNT)
            for place in block.tolist()
        ]
        with numba_threads():
            value, _, offset, _, strand = tomtom(queries, targets)
        query, target = np.nonzero(value <= _CHECKED_P)
        alike = _correlations(
            queries,
            targets,
            (query, target, offset[query, target].astype(int), strand[query, target].astype(int)),
        )
        # Flat columns are near to flat columns: wide vague matrices, CTCF's above all, come out
        # like anything GC-rich. What correlates little where it was aligned is not alike.
        value[query, target] = np.where(alike >= MIN_CORRELATION, value[query, target], 1.0)
        p[begin : begin + len(block)] = value
    return p


def _correlations(
    queries: Sequence[Floats], targets: Sequence[Floats], pairs: tuple[Ints, Ints, Ints, Ints]
) -> Floats:
    """Pearson's correlation of aligned pairs (query, target, offset, strand).

    Column j of the query stands at column j + offset of the target, which is the reverse
    complement of the given one where strand is 1. The mean of a column is always 1/4.
    """
    width = max(query.shape[1] for query in queries)
    widest = max(target.shape[1] for target in targets)
    given = np.full((len(queries), 4, width), np.nan)
    for place, matrix in enumerate(queries):
        given[place, :, : matrix.shape[1]] = matrix - 0.25
    # As much room on both sides of a target as a query may overhang.
    held = np.full((len(targets), 2, 4, 2 * width + widest), np.nan)
    for place, matrix in enumerate(targets):
        held[place, 0, :, width : width + matrix.shape[1]] = matrix - 0.25
        held[place, 1, :, width : width + matrix.shape[1]] = matrix[::-1, ::-1] - 0.25
    found = np.empty(len(pairs[0]))
    for begin in range(0, len(found), _PAIRS_PER_BLOCK):
        own = slice(begin, begin + _PAIRS_PER_BLOCK)
        query, target, offset, strand = (part[own] for part in pairs)
        columns = width + offset[:, None] + np.arange(width)
        left = given[query]
        right = held[target[:, None], strand[:, None], :, columns].transpose(0, 2, 1)
        both = np.isfinite(left) & np.isfinite(right)
        left, right = np.where(both, left, 0.0), np.where(both, right, 0.0)
        norm = np.sqrt((left**2).sum(axis=(1, 2)) * (right**2).sum(axis=(1, 2)))
        found[own] = (left * right).sum(axis=(1, 2)) / np.maximum(norm, 1e-12)
    return found


def _wanted(pairs: pa.Table, rows: Ints, names: NDArray[np.object_]) -> NDArray[np.bool_]:
    row = 2 * pairs["feature"].to_numpy().astype(np.int64) + (pairs["strand"].to_numpy() < 0)
    matrices = {name: place for place, name in enumerate(names.tolist())}
    matrix = np.array([matrices.get(m, -1) for m in pairs["matrix_id"].to_pylist()], dtype=np.int64)
    place = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    known = (rows[place] == row) & (matrix >= 0)
    wanted = np.zeros((len(rows), len(names)), dtype=bool)
    wanted[place[known], matrix[known]] = True
    return wanted
