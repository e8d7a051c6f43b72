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

Beside the test stand the position of the motif about the peaks, how well activation predicts the
motif in windows that nobody chose, and what else might explain a match. To confirm pairs found
elsewhere, `find_matches` takes them as `pairs`: they alone are tested, and all are reported.

Coordinates are 0-based and half-open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from annotations.errors import CoordinateError, OptionError, UnknownNameError
from annotations.foreground import Foreground, Loci, cpg_ratio, foreground
from annotations.jaspar import Motif
from annotations.match_table import MATCHES_SCHEMA as MATCHES_SCHEMA
from annotations.match_table import matches_table
from annotations.matched_background import Silence
from annotations.memory import return_memory
from annotations.motif_position import positions
from annotations.motif_scan import information_content
from annotations.motif_windows import WIDTH, Corpus, Windows
from annotations.motif_windows import background_windows as background_windows
from annotations.power import Power as Power
from annotations.power import power_of, too_short
from annotations.prediction import predict
from annotations.repeats import COPY_RADIUS
from annotations.significance import benjamini_hochberg, binomial_tail, family_q, predictive_tail
from annotations.window_activity import WindowActivity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_LOCI_PER_FEATURE: Final = 30
"""Loci a feature row needs to be tested."""
MIN_LOCI_PER_PAIR: Final = 10
"""Loci it needs where only given pairs are tested: held-out contigs are few, and so are the tests.
With 10 loci of which 4 hold a motif that 2 in 100 windows have, p is below 1e-4."""
MIN_BACKGROUND_WINDOWS: Final = 2000
"""Windows, none overlapping another, in which a row must be silent to be tested."""
REPORTED_Q: Final = 0.1

_ROWS_PER_BLOCK = 512
_REFINED_P = 0.01


class MatchResult(NamedTuple):
    """Matches, and what they were chosen from."""

    table: pa.Table
    """MATCHES_SCHEMA: all pairs with q <= `REPORTED_Q`, and the best pair of each tested row; or
    the given pairs, all of them."""
    power: Power
    tested_pairs: int
    """Size of the family over which q was computed."""


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """What a caller may change; the defaults are the measured ones."""

    width: int = WIDTH
    """Bases of a window; odd, and the width of the background windows too."""
    min_loci: int = MIN_LOCI_PER_FEATURE
    min_pair_loci: int = MIN_LOCI_PER_PAIR
    """Instead of `min_loci` where only given pairs are tested."""
    min_background: int = MIN_BACKGROUND_WINDOWS
    reported_q: float = REPORTED_Q

    def __post_init__(self) -> None:
        """Refuse what cannot be tested."""
        if self.width % 2 == 0 or self.width < 2 * COPY_RADIUS + 1:
            raise OptionError(
                f"width must be odd and at least {2 * COPY_RADIUS + 1}, got {self.width}"
            )
        least = min(self.min_loci, self.min_pair_loci, self.min_background)
        if least < 1 or not 0 <= self.reported_q <= 1:
            raise OptionError(
                "min_loci, min_pair_loci and min_background must be at least 1 and reported_q in "
                f"[0, 1], got {self.min_loci}, {self.min_pair_loci}, {self.min_background}, "
                f"{self.reported_q:g}"
            )


def find_matches(
    peaks: pa.Table,
    hits: pa.Table,
    sequences: Sequence[NDArray[np.uint8]],
    activity: WindowActivity | sparse.sparray | sparse.spmatrix,
    *,
    motifs: Sequence[Motif],
    background: Windows,
    options: MatchOptions | None = None,
    pairs: pa.Table | None = None,
    occurring: int | None = None,
) -> MatchResult:
    """Test every motif at the peaks of every feature row that has enough of them.

    Parameters
    ----------
    peaks : pyarrow.Table
        The strongest peaks of each feature: columns feature, strand, contig, position, value.
        Of peaks whose windows overlap only the strongest counts, as of copies of one repeat;
        windows that leave their contig, touch N or have a GC content the background lacks do not.
    hits : pyarrow.Table
        Of `annotations.motif_scan.scan` with the same sequences and motifs; those at the peaks and
        in the background windows are enough, with `occurring`.
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    activity : WindowActivity or scipy sparse array, shape (background windows, 2 * features)
        Largest activation, float32, of each feature row in each window, of
        `annotations.activations.window_maxima`; 0 or absent where the row is silent.
    motifs : sequence of Motif
        What the `motif` column of `hits` counts.
    background : Windows
        As `background_windows` returns them, `options.width` wide.
    options : MatchOptions, optional
    pairs : pyarrow.Table, optional
        Columns feature, strand, matrix_id: test these alone and report all of them. Where a row
        has fewer than `options.min_pair_loci` loci, or is silent in too few windows, the test
        and what follows from the loci are null.
    occurring : int, optional
        How many of the motifs occur anywhere in the sequences; by default those of `hits`.

    Returns
    -------
    result : MatchResult
        Tested pairs are the tested rows times the motifs that occur anywhere in the sequences; or
        those of `pairs` that could be tested. The columns `similarity_*`, `similar_to`,
        `held_out_*`, `causal_*` and `cluster` are null, `evidence` is empty.

    Raises
    ------
    CoordinateError
        If `activity` has not one row per background window, or these have another width, or a
        peak or a pair names a feature that it lacks.
    UnknownNameError
        If a pair names a matrix that is not among `motifs`.
    """
    options = options or MatchOptions()
    activity = WindowActivity.of(activity)
    if activity.shape[0] != len(background.start):
        raise CoordinateError(
            f"activity must have one row for each of the {len(background.start)} background "
            f"windows, got {activity.shape[0]}"
        )
    if (background.end - background.start != options.width).any():
        raise CoordinateError(f"background windows must be {options.width} bases wide")
    if pairs is None and len(background.start) < options.min_background:
        return _empty(too_short(background, options.width, options.min_background))
    corpus = Corpus.of(sequences, hits, len(motifs))
    del hits  # the corpus has them in arrays
    return_memory()
    silence = Silence.of(corpus, background, activity, options.width)
    asked = None if pairs is None else _Asked.of(pairs, motifs, silence.rows)
    found = foreground(
        peaks, corpus, silence, options.width, only=None if asked is None else asked.row
    )
    del peaks
    needed = options.min_loci if asked is None else options.min_pair_loci
    rich = found.counts >= needed
    able = rich & (silence.windows >= options.min_background)
    power = power_of(
        found,
        rich,
        able,
        background,
        silence,
        needed=needed,
        width=options.width,
        min_background=options.min_background,
    )
    if asked is None:
        if not power.tested:
            return _empty(power)
        if occurring is None:
            occurring = len(np.unique(corpus.motif))
        tested, tested_pairs, q = _discover(found.loci, able, corpus, silence, options, occurring)
    else:
        tested, tested_pairs, q = _confirm(asked, found, able, corpus, silence, options)
    columns = _columns(tested, q, found, able, corpus, silence, motifs, options)
    order = np.lexsort((tested.motif, tested.row, tested.p, q))
    return MatchResult(matches_table(columns, order), power, tested_pairs)


class _Asked(NamedTuple):
    """The pairs of a caller."""

    row: Ints
    motif: Ints

    @classmethod
    def of(cls, pairs: pa.Table, motifs: Sequence[Motif], rows: int) -> "_Asked":
        place = {motif.matrix_id: at for at, motif in enumerate(motifs)}
        ids = pairs["matrix_id"].to_pylist()
        unknown = sorted({i for i in ids if i not in place})
        if unknown:
            raise UnknownNameError(
                f"{len(unknown)} matrices of the pairs are not among the {len(motifs)} motifs, "
                f"{unknown[0]!r} among them; give the catalogue the pairs were found with"
            )
        feature = pairs["feature"].to_numpy().astype(np.int64)
        row = 2 * feature + (pairs["strand"].to_numpy() < 0)
        if row.size and row.max() >= rows:
            raise CoordinateError(
                f"a pair names feature {int(row.max()) // 2}, activity has {rows // 2} features"
            )
        key = np.unique(row * max(1, len(motifs)) + np.array([place[i] for i in ids], np.int64))
        return cls(key // max(1, len(motifs)), key % max(1, len(motifs)))


class _Pairs(NamedTuple):
    """Feature rows and motifs, as columns; NaN where a pair was not tested."""

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

    def select(self, chosen: NDArray[np.bool_] | Ints) -> "_Pairs":
        columns: list[NDArray[Any]] = [column[chosen] for column in self]
        return _Pairs(*columns)


def _discover(
    loci: Loci,
    able: NDArray[np.bool_],
    corpus: Corpus,
    silence: Silence,
    options: MatchOptions,
    occurring: int,
) -> tuple[_Pairs, int, Floats]:
    """The pairs worth a report out of all, the number of all, and their q."""
    rows = np.flatnonzero(able)
    tested_pairs = len(rows) * occurring
    # q needs the p of every pair, all else only those that can be reported: q is never below p.
    every_p, filled = np.empty(tested_pairs), 0
    candidates = []
    for block in _blocks(rows):
        pairs = _test_block(block, loci.within(block), corpus, silence, options.width)
        every_p[filled : filled + len(pairs.p)] = pairs.p
        filled += len(pairs.p)
        candidates.append(pairs.select((pairs.p <= options.reported_q) | _best_of_row(pairs)))
    pairs = _Pairs.joined(candidates)
    q = family_q(pairs.p, every_p[:filled], tested_pairs)
    reported = (q <= options.reported_q) | _best_of_row(pairs)
    return pairs.select(reported), tested_pairs, q[reported]


def _confirm(
    asked: _Asked,
    found: Foreground,
    able: NDArray[np.bool_],
    corpus: Corpus,
    silence: Silence,
    options: MatchOptions,
) -> tuple[_Pairs, int, Floats]:
    """The pairs asked for, the number of those that could be tested, and their q."""
    missing = np.full(len(asked.row), np.nan)
    n = found.counts[asked.row].astype(float)
    pairs = _Pairs(*asked, missing.copy(), n, missing.copy(), missing.copy())
    can = able[asked.row]
    rows = np.unique(asked.row[can])
    if rows.size:
        tested = _Pairs.joined(
            [
                _test_block(block, found.loci.within(block), corpus, silence, options.width, asked)
                for block in _blocks(rows)
            ]
        )
        for column, values in zip(pairs[2:], tested[2:], strict=True):
            column[can] = values
    q = np.full(len(asked.row), np.nan)
    q[can] = benjamini_hochberg(pairs.p[can], int(can.sum()))
    return pairs, int(can.sum()), q


def _blocks(rows: Ints) -> list[Ints]:
    return np.split(rows, np.arange(_ROWS_PER_BLOCK, len(rows), _ROWS_PER_BLOCK))


def _test_block(
    rows: Ints,
    loci: Loci,
    corpus: Corpus,
    silence: Silence,
    width: int,
    asked: _Asked | None = None,
) -> _Pairs:
    """Counts, expectations and p of some rows, in order of row and motif.

    Of all pairs with a hit, for without one p is 1; or of those asked for.
    """
    local = np.searchsorted(rows, loci.row)
    n = np.bincount(local, minlength=len(rows)).astype(np.float64)
    locus, hit = corpus.first_hits_in(loci.start, width)
    cells = local[locus] * corpus.motifs + corpus.motif[hit]
    hits = np.bincount(cells, minlength=len(rows) * corpus.motifs).reshape(len(rows), -1)
    expected, windows = silence.expected(rows, local, loci.gc)
    if asked is None:
        row, motif = np.nonzero(hits)
    else:
        wanted = np.isin(asked.row, rows)
        row, motif = np.searchsorted(rows, asked.row[wanted]), asked.motif[wanted]
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
    """The pair of each row with the lowest p, then with the most hits over expectation.

    The pairs of a row stand together.
    """
    best = np.zeros(len(pairs.row), dtype=bool)
    first = np.flatnonzero(np.diff(pairs.row, prepend=-1))
    if len(first):
        lowest = np.repeat(np.minimum.reduceat(pairs.p, first), np.diff([*first, len(best)]))
        tied = np.flatnonzero(pairs.p == lowest)
        tied = tied[np.lexsort((-_log2_enrichment(pairs.select(tied)), pairs.row[tied]))]
        best[tied[np.flatnonzero(np.diff(pairs.row[tied], prepend=-1))]] = True
    return best


def _log2_enrichment(pairs: _Pairs) -> Floats:
    enrichment: Floats = np.log2((pairs.hits + 0.5) / (pairs.expected + 0.5))
    return enrichment


def _columns(
    pairs: _Pairs,
    q: Floats,
    found: Foreground,
    able: NDArray[np.bool_],
    corpus: Corpus,
    silence: Silence,
    motifs: Sequence[Motif],
    options: MatchOptions,
) -> dict[str, NDArray[Any]]:
    """What is known of the pairs, named as in `MATCHES_SCHEMA`."""
    rows = np.unique(pairs.row)
    at = np.searchsorted(rows, pairs.row)
    loci = found.loci.select(np.isin(found.loci.row, rows))
    total = np.bincount(np.searchsorted(rows, loci.row), loci.gc, minlength=len(rows))
    missed, unexpected = pairs.n - pairs.hits, pairs.n - pairs.expected
    odds = (pairs.hits + 0.5) * (unexpected + 0.5) / ((missed + 0.5) * (pairs.expected + 0.5))
    # What rests on too few loci is not shown as a figure.
    untested = ~able[pairs.row]
    place = positions(pairs.row, pairs.motif, loci, corpus, options.width)
    with np.errstate(divide="ignore", invalid="ignore"):
        gc = total / found.counts[rows] / options.width
        repeats = found.copies[rows] / (found.copies[rows] + found.counts[rows])
    columns: dict[str, NDArray[Any]] = {
        "expected": pairs.expected,
        "log2_enrichment": _log2_enrichment(pairs),
        "odds_ratio": odds,
        "p": pairs.p,
        "q": q,
        "hits": pairs.hits,
        "offset": np.where(pairs.hits > 0, place.offset, np.nan),
        "offset_share": place.share,
        "centrality_p": place.centrality_p,
        "gc": gc[at],
        "cpg": cpg_ratio(loci, rows, corpus, options.width)[at],
        "repeat_share": repeats[at],
    }
    columns = {name: np.where(untested, np.nan, values) for name, values in columns.items()}
    information = np.array([information_content(motif) for motif in motifs])
    background = np.divide(silence.held_by_gc.sum(axis=0), max(1, silence.held.shape[0]))
    columns |= {
        "feature": (pairs.row // 2).astype(np.uint32),
        "strand": (1 - 2 * (pairs.row % 2)).astype(np.int8),
        "matrix_id": np.array([m.matrix_id for m in motifs], dtype=object)[pairs.motif],
        "motif_name": np.array([m.name for m in motifs], dtype=object)[pairs.motif],
        "peaks": pairs.n.astype(np.int32),
        "information_content": information[pairs.motif],
        "background_rate": background[pairs.motif],
    }
    if silence.held.shape[0] >= options.min_background:
        prediction = predict(silence.activity, silence.held, pairs.row, pairs.motif)
        columns |= {
            "auroc": prediction.auroc,
            "auroc_p": prediction.p,
            "auprc": prediction.auprc,
            "prevalence": prediction.prevalence,
        }
    return columns


def _empty(power: Power) -> MatchResult:
    return MatchResult(MATCHES_SCHEMA.empty_table(), power, 0)
