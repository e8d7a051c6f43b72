"""In which gene parts a feature's top peaks lie more often than chance puts them there."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotations.enrichment import MIN_LOCI_PER_FEATURE
from annotations.errors import CoordinateError
from annotations.labels import INTERGENIC, KINDS
from annotations.significance import benjamini_hochberg, binomial_tail
from annotations.tables import column

CONCEPTS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        pa.field("peaks", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("log2_enrichment", pa.float64(), nullable=False),
        pa.field("q", pa.float64(), nullable=False),
    ]
)
"""One row per feature row and gene concept that any of its top peaks lies in."""


def kind_shares(genes: pa.Table, lengths: Sequence[int]) -> dict[str, float]:
    """Share of all bases in each gene concept: what peaks at random places would have.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
    lengths : sequence of int
        Bases of each contig.

    Returns
    -------
    shares : dict of float
        By the names of `annotations.labels.KINDS`, and `INTERGENIC` for bases in none of them.
        Concepts overlap: the shares do not add up to 1.

    Raises
    ------
    CoordinateError
        If there is no base.
    """
    total = sum(lengths)
    if not total:
        raise CoordinateError("the share of a gene concept needs sequence, got 0 bases")
    covered = dict.fromkeys([*KINDS, INTERGENIC], 0)
    contig, start, end = (column(genes, name) for name in ("contig", "start", "end"))
    kind = np.array(genes["kind"].to_pylist(), dtype=object)
    for index, length in enumerate(lengths):
        anywhere = np.zeros(length, bool)
        for name in KINDS:
            inside = np.zeros(length, bool)
            for row in np.flatnonzero((contig == index) & (kind == name)):
                inside[start[row] : end[row]] = True
            covered[name] += int(inside.sum())
            anywhere |= inside
        covered[INTERGENIC] += int((~anywhere).sum())
    return {name: bases / total for name, bases in covered.items()}


def concept_enrichment(
    peaks: pa.Table, shares: Mapping[str, float], *, min_peaks: int = MIN_LOCI_PER_FEATURE
) -> pa.Table:
    """Test each feature row's top peaks for gene concepts.

    The binomial tail of the peaks inside a concept at the concept's share of all bases, BH over
    all pairs tested: every feature row with `min_peaks` and every concept with bases.
    log2_enrichment is log2((inside + 1/2) / (expected + 1/2)), as of the motif matches.

    Parameters
    ----------
    peaks : Table
        Columns feature, strand and genes: kinds joined by a semicolon, empty for none, as
        the peaks.parquet of a result. Rows whose genes are null are not counted.
    shares : mapping of str to float
        As `kind_shares` returns them, of the same sequence.
    min_peaks : int
        Feature rows with fewer peaks are not tested.

    Returns
    -------
    concepts : Table of CONCEPTS_SCHEMA
        Sorted by feature, strand (+ first) and concept in the order of KINDS.
    """
    names = [name for name in (*KINDS, INTERGENIC) if shares.get(name, 0.0) > 0]
    peaks = peaks.filter(pc.is_valid(peaks["genes"]))
    row = 2 * column(peaks, "feature").astype(np.int64) + (column(peaks, "strand") < 0)
    rows, group = np.unique(row, return_inverse=True)
    sets = peaks["genes"].combine_chunks().dictionary_encode()
    member = np.zeros((len(sets.dictionary), len(names)), np.int64)
    for code, kinds in enumerate(sets.dictionary.to_pylist()):
        for kind in kinds.split(";") if kinds else [INTERGENIC]:
            if kind in names:
                member[code, names.index(kind)] = 1
    inside = np.zeros((len(rows), len(names)), np.int64)
    if len(names) and len(rows):
        np.add.at(inside, group, member[sets.indices.to_numpy(zero_copy_only=False)])
    n_peaks = np.bincount(group, minlength=len(rows))
    tested = n_peaks >= min_peaks
    rows, inside, n_peaks = rows[tested], inside[tested], n_peaks[tested]
    expected = n_peaks[:, None] * np.array([shares[name] for name in names])
    n = np.broadcast_to(n_peaks[:, None], inside.shape)
    p = binomial_tail(inside.astype(float), n.astype(float), np.minimum(expected, n))
    q = benjamini_hochberg(p.ravel(), p.size).reshape(p.shape)
    at, which = np.nonzero(inside)
    hits, chance = inside[at, which], expected[at, which]
    return pa.table(
        {
            "feature": (rows[at] // 2).astype(np.uint32),
            "strand": np.where(rows[at] % 2, -1, 1).astype(np.int8),
            "concept": pa.array(names, pa.string()).take(pa.array(which)),
            "peaks": n_peaks[at],
            "share": hits / n_peaks[at],
            "log2_enrichment": np.log2((hits + 0.5) / (chance + 0.5)),
            "q": q[at, which],
        },
        schema=CONCEPTS_SCHEMA,
    )
