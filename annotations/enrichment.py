"""Which motifs stand at a feature's peaks more often than its sequences explain.

    peaks   --foreground-->  one window per locus        \\
    corpus  --background_windows-->  where it is silent   >--  find_matches  -->  MatchResult
    hits    --windows_with_hits-->  window x motif       /

A feature row is one feature on one strand: ``2 * feature + (strand < 0)``. For each row and motif:
how many of the row's windows hold the motif (`hits`), how many would if a window's chance depended
on nothing but its GC content (`expected`), and how surprising the difference is (`p`, then `q` by
Benjamini and Hochberg over all tested pairs of the call).

The chance at a GC content comes from windows of the same sequences in which the row is silent,
smoothed over GC by a Gaussian kernel. Shuffled sequence is no substitute: real sequence has order
that no shuffle keeps. Measured on random peaks of a real genome, GC strata of 10 % gave thousands
of false pairs where this kernel gave none.

Coordinates are 0-based and half-open. An offset is the motif's middle base less the peak, in the
sense in which the feature was read: negative means the motif came before the peak.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from annotations.errors import CoordinateError, OptionError
from annotations.jaspar import Motif
from annotations.matched_background import Silence
from annotations.motif_windows import WIDTH, Corpus, Windows, one_per_locus
from annotations.motif_windows import background_windows as background_windows
from annotations.significance import benjamini_hochberg, binomial_tail, predictive_tail

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_LOCI_PER_FEATURE: Final = 30
"""Loci a feature row needs to be tested."""
MIN_BACKGROUND_WINDOWS: Final = 2000
"""Windows, none overlapping another, in which a row must be silent to be tested."""
NEAR: Final = 3
"""Bases about the modal offset that count as being at it."""
REPORTED_Q: Final = 0.1
COPY_RADIUS: Final = 15
"""Two loci of a row with the same bases within this distance of the peak are copies of one."""

MATCHES_SCHEMA: Final = pa.schema(
    [
        ("feature", pa.uint32()),
        ("strand", pa.int8()),
        ("matrix_id", pa.string()),
        ("motif_name", pa.string()),
        ("peaks", pa.int32()),
        ("hits", pa.int32()),
        ("expected", pa.float64()),
        ("log2_enrichment", pa.float64()),
        ("odds_ratio", pa.float64()),
        ("p", pa.float64()),
        ("q", pa.float64()),
        ("offset", pa.int32()),
        ("offset_share", pa.float64()),
        ("gc", pa.float64()),
    ]
)
"""One row per feature row and motif: loci tested, loci with the motif, expectation, effect, test.

`log2_enrichment` is log2((hits + 1/2) / (expected + 1/2)) and the odds ratio has 1/2 added to each
count; `offset` is the commonest offset and `offset_share` the share of the loci with the motif that
have it within `NEAR` bases of there; `gc` is the mean GC of the row's windows.
Sorted by q, then p, then feature, strand and matrix id."""

_ROWS_PER_BLOCK = 512
_REFINED_P = 0.01


class Power(NamedTuple):
    """Whether there was enough sequence and were enough loci for a test."""

    tested: bool
    loci: int
    """What there was: of background windows, of loci of the richest feature row, or of
    windows in which a row with enough loci is silent."""
    needed: int
    """What it takes of these."""
    reason: str
    """Why nothing was tested; empty if something was."""


class MatchResult(NamedTuple):
    """Matches, and what they were chosen from."""

    table: pa.Table
    """MATCHES_SCHEMA: all pairs with q <= `REPORTED_Q`, and the best pair of each tested row."""
    power: Power
    tested_pairs: int
    """Size of the family over which q was computed."""


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """What a caller may change; the defaults are the measured ones."""

    width: int = WIDTH
    """Bases of a window; odd, and the width of the background windows too."""
    min_loci: int = MIN_LOCI_PER_FEATURE
    min_background: int = MIN_BACKGROUND_WINDOWS
    reported_q: float = REPORTED_Q

    def __post_init__(self) -> None:
        """Refuse what cannot be tested."""
        if self.width % 2 == 0 or self.width < 2 * COPY_RADIUS + 1:
            raise OptionError(
                f"width must be odd and at least {2 * COPY_RADIUS + 1}, got {self.width}"
            )
        if self.min_loci < 1 or self.min_background < 1 or not 0 <= self.reported_q <= 1:
            raise OptionError(
                "min_loci and min_background must be at least 1 and reported_q in [0, 1], "
                f"got {self.min_loci}, {self.min_background}, {self.reported_q:g}"
            )


def find_matches(
    peaks: pa.Table,
    hits: pa.Table,
    sequences: Sequence[NDArray[np.uint8]],
    activity: sparse.csr_array | sparse.csr_matrix,
    *,
    motifs: Sequence[Motif],
    background: Windows,
    options: MatchOptions | None = None,
) -> MatchResult:
    """Test every motif at the peaks of every feature row that has enough of them.

    Parameters
    ----------
    peaks : pyarrow.Table
        The strongest peaks of each feature: columns feature, strand, contig, position, value.
        Of peaks whose windows overlap only the strongest counts, as of copies of one repeat;
        windows that leave their contig, touch N or have a GC content the background lacks do not.
    hits : pyarrow.Table
        Of `annotations.motif_scan.scan` with the same sequences and motifs.
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    activity : scipy sparse array, shape (background windows, 2 * features)
        Not zero where a feature row is active in a window.
    motifs : sequence of Motif
        What the `motif` column of `hits` counts.
    background : Windows
        As `background_windows` returns them, `options.width` wide.
    options : MatchOptions, optional

    Returns
    -------
    result : MatchResult
        Tested pairs are the tested rows times the motifs that occur anywhere in the sequences.

    Raises
    ------
    CoordinateError
        If `activity` has not one row per background window, or these have another width.
    """
    options = options or MatchOptions()
    if activity.shape[0] != len(background.start):
        raise CoordinateError(
            f"activity must have one row for each of the {len(background.start)} background "
            f"windows, got {activity.shape[0]}"
        )
    if (background.end - background.start != options.width).any():
        raise CoordinateError(f"background windows must be {options.width} bases wide")
    if len(background.start) < options.min_background:
        return _underpowered(
            len(background.start),
            options.min_background,
            f"the sequences hold {len(background.start)} independent windows of {options.width} "
            f"bases without N; a test needs {options.min_background}",
        )
    corpus = Corpus.of(sequences, hits, len(motifs))
    silence = Silence.of(corpus, background, activity, options.width)
    loci = _foreground(peaks, corpus, silence, options)
    counts = np.bincount(loci.row, minlength=silence.rows)
    rich = np.flatnonzero(counts >= options.min_loci)
    if not rich.size:
        richest = int(counts.max(initial=0))
        return _underpowered(
            richest,
            options.min_loci,
            f"no feature row has {options.min_loci} independent loci; the richest has {richest}",
        )
    tested = rich[silence.windows[rich] >= options.min_background]
    if not tested.size:
        silent = int(silence.windows[rich].max())
        return _underpowered(
            silent,
            options.min_background,
            f"none of the {len(rich)} feature rows with {options.min_loci} independent loci is "
            f"silent in {options.min_background} background windows; the best is in {silent}",
        )
    loci = loci.select(np.isin(loci.row, tested))
    tested_pairs = len(tested) * len(np.unique(corpus.motif))
    # q needs the p of every pair, all else only those that can be reported: q is never below p.
    every_p, kept, candidates = [], [], []
    for block in np.split(tested, np.arange(_ROWS_PER_BLOCK, len(tested), _ROWS_PER_BLOCK)):
        pairs = _test_block(block, loci.within(block), corpus, silence, options.width)
        possible = (pairs.p <= options.reported_q) | _best_of_row(pairs)
        every_p.append(pairs.p)
        kept.append(possible)
        candidates.append(pairs.select(possible))
    pairs = _Pairs.joined(candidates)
    q = benjamini_hochberg(np.concatenate(every_p), tested_pairs)[np.concatenate(kept)]
    reported = (q <= options.reported_q) | _best_of_row(pairs)
    pairs = pairs.select(reported)
    offsets = _offsets(pairs, loci, corpus, options.width)
    table = _matches_table(pairs, q[reported], offsets, loci, motifs, options.width)
    return MatchResult(
        table, Power(True, len(background.start), options.min_background, ""), tested_pairs
    )


class _Loci(NamedTuple):
    """Foreground windows, sorted by feature row; places are those of the corpus."""

    row: Ints
    peak: Ints
    start: Ints
    gc: Ints
    """G and C in the window."""

    def select(self, chosen: NDArray[np.bool_] | Ints) -> "_Loci":
        """Only some of them, or in another order."""
        return _Loci(*(column[chosen] for column in self))

    def within(self, rows: Ints) -> "_Loci":
        """Those of a sorted block of rows."""
        first = np.searchsorted(self.row, rows[0])
        last = np.searchsorted(self.row, rows[-1], side="right")
        return _Loci(*(column[first:last] for column in self))


class _Pairs(NamedTuple):
    """Feature rows and motifs that meet at least once, as columns."""

    row: Ints
    motif: Ints
    hits: Floats
    n: Floats
    expected: Floats
    p: Floats

    @classmethod
    def joined(cls, parts: Sequence["_Pairs"]) -> "_Pairs":
        columns: list[NDArray[Any]] = [np.concatenate(c) for c in zip(*parts, strict=True)]
        return cls(*columns)

    def select(self, chosen: NDArray[np.bool_]) -> "_Pairs":
        columns: list[NDArray[Any]] = [column[chosen] for column in self]
        return _Pairs(*columns)


def _foreground(peaks: pa.Table, corpus: Corpus, silence: Silence, options: MatchOptions) -> _Loci:
    column = {name: peaks[name].to_numpy() for name in ("feature", "strand", "contig", "position")}
    row = 2 * column["feature"].astype(np.int64) + (column["strand"] < 0)
    if row.size and row.max() >= silence.rows:
        raise CoordinateError(
            f"peaks name feature {int(row.max()) // 2}, activity has {silence.rows // 2} features"
        )
    # Best first from here on, so that a place in the arrays is a rank.
    order = np.lexsort((column["position"], column["contig"], -peaks["value"].to_numpy()))
    row, contig = row[order], column["contig"].astype(np.int64)[order]
    peak = corpus.offsets[contig] + column["position"].astype(np.int64)[order]
    start = peak - options.width // 2
    inside = start >= corpus.offsets[contig]
    inside &= start + options.width < corpus.offsets[contig + 1]
    row, peak, start = row[inside], peak[inside], start[inside]
    known = corpus.unknown[start + options.width] == corpus.unknown[start]
    row, peak, start = row[known], peak[known], start[known]
    gc = corpus.gc_of(start, options.width)
    # A window with less than one background window's weight about its GC has no expectation.
    matched = silence.weight[row, gc] >= 1
    loci = _Loci(row, peak, start, gc).select(matched)
    rank = np.arange(len(loci.row))
    loci = loci.select(one_per_locus(loci.row, loci.peak, rank, distance=options.width))
    loci = loci.select(_first_copies(loci, corpus))
    return loci.select(np.argsort(loci.row, kind="stable"))


def _first_copies(loci: _Loci, corpus: Corpus) -> NDArray[np.bool_]:
    """Leave out loci whose bases about the peak a better locus of the same row has too."""
    word = np.zeros(len(loci.peak), dtype=np.uint64)
    for step in range(-COPY_RADIUS, COPY_RADIUS + 1):
        word = word * np.uint64(4) + corpus.codes[loci.peak + step]
    order = np.lexsort((np.arange(len(word)), word, loci.row))
    repeated = (np.diff(loci.row[order]) == 0) & (np.diff(word[order].view(np.int64)) == 0)
    first = np.ones(len(word), dtype=bool)
    first[order[1:]] = ~repeated
    return first


def _test_block(rows: Ints, loci: _Loci, corpus: Corpus, silence: Silence, width: int) -> _Pairs:
    """Counts, expectations and p of some rows; pairs without a hit, whose p is 1, are left out."""
    local = np.searchsorted(rows, loci.row)
    n = np.bincount(local, minlength=len(rows)).astype(np.float64)
    held = corpus.motifs_in(loci.start, width).tocoo()
    cells = local[held.row] * corpus.motifs + held.col
    hits = np.bincount(cells, minlength=len(rows) * corpus.motifs).reshape(len(rows), -1)
    expected, windows = silence.expected(rows, local, loci.gc)
    row, motif = np.nonzero(hits)
    pairs = _Pairs(
        row=rows[row],
        motif=motif,
        hits=hits[row, motif].astype(np.float64),
        n=n[row],
        expected=np.clip(expected[row, motif], 0, n[row]),
        p=np.ones(len(row)),
    )
    p = binomial_tail(pairs.hits, pairs.n, pairs.expected)
    # The finer test costs more and its p is hardly ever smaller: it is spent where p is small.
    small = np.flatnonzero(p < _REFINED_P)
    seen = pairs.expected[small] / pairs.n[small] * windows[row[small]]
    p[small] = predictive_tail(pairs.hits[small], pairs.n[small], seen, windows[row[small]])
    return pairs._replace(p=p)


def _best_of_row(pairs: _Pairs) -> NDArray[np.bool_]:
    """The pair of each row with the lowest p, then with the most hits over expectation."""
    order = np.lexsort((-_log2_enrichment(pairs), pairs.p, pairs.row))
    best = np.zeros(len(order), dtype=bool)
    best[order[np.flatnonzero(np.diff(pairs.row[order], prepend=-1))]] = True
    return best


def _log2_enrichment(pairs: _Pairs) -> Floats:
    enrichment: Floats = np.log2((pairs.hits + 0.5) / (pairs.expected + 0.5))
    return enrichment


def _offsets(
    pairs: _Pairs, loci: _Loci, corpus: Corpus, width: int
) -> tuple[NDArray[np.int32], Floats]:
    """Commonest offset of each pair, and the share of its loci with a hit about there."""
    keys = pairs.row * corpus.motifs + pairs.motif
    order = np.argsort(keys)
    mode, share = np.zeros(len(keys), dtype=np.int32), np.zeros(len(keys))
    rows = np.unique(pairs.row)
    for block in np.split(rows, np.arange(_ROWS_PER_BLOCK, len(rows), _ROWS_PER_BLOCK)):
        part = loci.within(block)
        locus, hit = corpus.hits_in(part.start, width)
        key = part.row[locus] * corpus.motifs + corpus.motif[hit]
        place = np.minimum(np.searchsorted(keys, key, sorter=order), len(keys) - 1)
        wanted = keys[order[place]] == key
        locus, hit, pair = locus[wanted], hit[wanted], order[place[wanted]]
        # Doubled, so that the middle of an even motif is exact until the sense is known.
        sense = 1 - 2 * (part.row[locus] % 2)
        doubled = (corpus.start[hit] + corpus.end[hit] - 1 - 2 * part.peak[locus]) * sense
        offset = np.floor_divide(doubled, 2)
        # A palindrome hits twice at one place: a locus has one vote per offset.
        pair, locus, offset = np.unique(np.stack([pair, locus, offset]), axis=1)
        votes, count = np.unique(np.stack([pair, offset]), axis=1, return_counts=True)
        ranked = np.lexsort((votes[1], np.abs(votes[1]), -count, votes[0]))
        first = ranked[np.flatnonzero(np.diff(votes[0][ranked], prepend=-1))]
        mode[votes[0][first]] = votes[1][first]
        near = np.abs(offset - mode[pair]) <= NEAR
        there = np.unique(np.stack([pair[near], locus[near]]), axis=1)[0]
        share += np.bincount(there, minlength=len(keys))
    return mode, share / pairs.hits


def _matches_table(
    pairs: _Pairs,
    q: Floats,
    offsets: tuple[NDArray[np.int32], Floats],
    loci: _Loci,
    motifs: Sequence[Motif],
    width: int,
) -> pa.Table:
    rows, first, n = np.unique(loci.row, return_index=True, return_counts=True)
    mean_gc = np.add.reduceat(loci.gc, first) / n / width
    missed, unexpected = pairs.n - pairs.hits, pairs.n - pairs.expected
    odds = (pairs.hits + 0.5) * (unexpected + 0.5) / ((missed + 0.5) * (pairs.expected + 0.5))
    order = np.lexsort((pairs.motif, pairs.row, pairs.p, q))
    columns: dict[str, NDArray[Any]] = {
        "feature": (pairs.row // 2).astype(np.uint32),
        "strand": (1 - 2 * (pairs.row % 2)).astype(np.int8),
        "matrix_id": np.array([motif.matrix_id for motif in motifs], dtype=object)[pairs.motif],
        "motif_name": np.array([motif.name for motif in motifs], dtype=object)[pairs.motif],
        "peaks": pairs.n.astype(np.int32),
        "hits": pairs.hits.astype(np.int32),
        "expected": pairs.expected,
        "log2_enrichment": _log2_enrichment(pairs),
        "odds_ratio": odds,
        "p": pairs.p,
        "q": q,
        "offset": offsets[0],
        "offset_share": offsets[1],
        "gc": mean_gc[np.searchsorted(rows, pairs.row)],
    }
    return pa.table({k: v[order] for k, v in columns.items()}, schema=MATCHES_SCHEMA)


def _underpowered(loci: int, needed: int, reason: str) -> MatchResult:
    return MatchResult(MATCHES_SCHEMA.empty_table(), Power(False, loci, needed, reason), 0)
