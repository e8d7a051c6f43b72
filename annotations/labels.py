"""What stands at a peak: the best motif hit near it and the kinds of gene part it lies in.

These are descriptions of single places. Whether a motif stands at the peaks of a
feature more often than chance allows is a test, and lives in `annotations.enrichment`.
"""

from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.tables import column

Scalar = TypeVar("Scalar", bound=np.generic)

REACH = 20
"""A motif hit belongs to a peak when its centre is at most this many bases away."""

KINDS = (
    "splice_donor",
    "splice_acceptor",
    "TSS",
    "UTR5",
    "UTR3",
    "CDS",
    "exon",
    "intron",
    "gene",
    "region",
)
"""Gene parts, the most specific first: a peak in several is counted under the first of them."""

INTERGENIC = "intergenic"
"""The kind of a peak that lies in no gene part, where genes are known at all."""

_BASES_AT_ONCE = 32_768  # bounds the memory of the pairs of bases and hits
_MEMBERS_AT_ONCE = 200_000  # that are sorted by `modal`


class NearHits(NamedTuple):
    """The best motif hit near each of some bases; row -1 where there is none."""

    row: NDArray[np.int32]
    """Row of the hit in the table of hits, or -1."""
    offset: NDArray[np.int32]
    """Centre of the hit minus the base, in the sense of the pass; 0 where there is none."""


class GeneParts(NamedTuple):
    """The gene parts at each of some bases."""

    kinds: pa.Array
    """Strings: the kinds, sorted as in `KINDS` and joined by ``;``; empty for none."""
    names: pa.Array
    """Strings: the names of the genes, sorted and joined by ``;``; null for none."""
    primary: NDArray[np.int64]
    """Index in `KINDS` of the most specific kind; ``len(KINDS)`` for none."""


def near_hits(
    contig: NDArray[np.uint32],
    position: NDArray[np.int64],
    strand: NDArray[np.int8],
    hits: pa.Table,
    *,
    reach: int = REACH,
) -> NearHits:
    """The motif hit with the largest log-odds near each base.

    The log-odds of a hit say how much likelier its bases are under the motif than under
    the background, so they can be compared between motifs. Equal ones are told apart by
    distance, then by the order of the hits.

    Parameters
    ----------
    contig, position : ndarray of uint32 and of int64, shape (n,)
        The bases.
    strand : ndarray of int8, shape (n,)
        The strand each was read on, +1 or -1: gives the sign of the offset.
    hits : Table of `annotations.motif_scan.HITS_SCHEMA`
        Motif hits in the same sequences.
    reach : int
        Largest distance between a base and the centre of a hit, in bases.

    Returns
    -------
    hits : NearHits
        One per base.
    """
    if not hits.num_rows or not len(position):
        return NearHits(np.full(len(position), -1, np.int32), np.zeros(len(position), np.int32))
    # twice the centre is whole for hits of even width too
    key = _keys(column(hits, "contig"), column(hits, "start") + column(hits, "end") - 1)
    order = np.argsort(key, kind="stable").astype(np.int32)
    key, score = key[order], column(hits, "score")[order]
    # many features have a peak at the same base: each base is looked at once
    bases, of = distinct(_keys(contig, 2 * position))
    best = np.full(len(bases), -1, dtype=np.int32)
    distance = np.zeros(len(bases), dtype=np.int32)
    for start in range(0, len(bases), _BASES_AT_ONCE):
        part = slice(start, start + _BASES_AT_ONCE)
        at = bases[part]
        first = np.searchsorted(key, at - 2 * reach, side="left")
        last = np.searchsorted(key, at + 2 * reach, side="right")
        base = np.repeat(np.arange(len(at)), last - first)
        hit = np.arange(len(base)) + np.repeat(last - np.cumsum(last - first), last - first)
        ranked = np.lexsort((order[hit], np.abs(key[hit] - at[base]), -score[hit], base))
        chosen = ranked[np.flatnonzero(np.diff(base[ranked], prepend=-1))]
        best[part][base[chosen]] = order[hit[chosen]]
        distance[part][base[chosen]] = key[hit[chosen]] - at[base[chosen]]
    return NearHits(best[of], strand * distance[of] // 2)


def _keys(contig: NDArray[np.uint32], twice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places as one number each, from twice the position."""
    keys = contig.astype(np.int64)
    keys <<= 40
    keys += twice
    return keys


def distinct(values: NDArray[Scalar]) -> tuple[NDArray[Scalar], NDArray[np.int32]]:
    """The different values, sorted, and which of them each is: `numpy.unique` in half the memory.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Fewer than 2**31.

    Returns
    -------
    different : ndarray, shape (m,)
    of : ndarray of int32, shape (n,)

    Examples
    --------
    >>> [found.tolist() for found in distinct(np.array([7, 3, 7]))]
    [[3, 7], [1, 0, 1]]
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    new = np.ones(len(values), bool)
    new[1:] = ascending[1:] != ascending[:-1]
    of = np.empty(len(values), np.int32)
    of[order] = np.cumsum(new, dtype=np.int32) - np.int32(1)
    return ascending[new], of


def gene_parts(
    n_bases: int, base: NDArray[np.int64], part: NDArray[np.int64], genes: pa.Table
) -> GeneParts:
    """Name the gene parts at each base from its overlaps.

    Parameters
    ----------
    n_bases : int
        How many bases there are.
    base, part : ndarray of int64, shape (overlaps,)
        Pairs as `annotations.intervals.overlaps` gives them: which base, which row of `genes`.
    genes : Table of `annotations.genes.GENES_SCHEMA`
        The gene parts.

    Returns
    -------
    parts : GeneParts
        One per base. A kind that is not in `KINDS` is left out.
    """
    kind_of = {kind: i for i, kind in enumerate(KINDS)}
    kind = np.array([kind_of.get(k, -1) for k in genes.column("kind").to_pylist()], dtype=np.int64)
    known = kind[part] >= 0
    sets = np.zeros(n_bases, dtype=np.int64)
    np.bitwise_or.at(sets, base[known], np.left_shift(1, kind[part[known]]))
    primary = np.full(n_bases, len(KINDS), dtype=np.int64)
    np.minimum.at(primary, base[known], kind[part[known]])
    seen, code = np.unique(sets, return_inverse=True)
    words = [";".join(k for i, k in enumerate(KINDS) if bits >> i & 1) for bits in seen.tolist()]
    return GeneParts(
        kinds=pa.array(words, pa.string()).take(pa.array(code)),
        names=_joined_names(n_bases, base, part, genes),
        primary=primary,
    )


def _joined_names(
    n_bases: int, base: NDArray[np.int64], part: NDArray[np.int64], genes: pa.Table
) -> pa.Array:
    """The different names at each base, sorted and joined by a semicolon; null for none."""
    names, code = np.unique(
        np.array(genes.column("name").fill_null("").to_pylist(), dtype=object).astype(str),
        return_inverse=True,
    )
    named = (names != "")[code[part]]  # not the names of all overlaps: text of one width
    pairs = np.unique(base[named] * len(names) + code[part[named]])  # by base, then by name
    found, sizes = np.unique(pairs // max(1, len(names)), return_counts=True)
    lists = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)),
        pa.array(names, pa.string()).take(pa.array(pairs % max(1, len(names)))),
    )
    row = np.zeros(n_bases, dtype=np.int64)
    row[found] = np.arange(len(found))
    missing = np.ones(n_bases, dtype=bool)
    missing[found] = False
    return pc.binary_join(lists, ";").take(pa.array(row, mask=missing))


def modal(
    group: NDArray[np.int64], code: NDArray[np.signedinteger], n_groups: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most frequent code of each group, and its share of the group.

    Parameters
    ----------
    group, code : ndarray of int64, and of int, shape (n,)
        The group and the code (at least 0) of each member; a negative code counts in the
        size of the group, but is never the answer.
    n_groups : int
        Groups are 0 .. `n_groups` - 1.

    Returns
    -------
    code : ndarray of int64, shape (n_groups,)
        The most frequent, the smallest of equals; -1 for a group without any.
    share : ndarray of float64, shape (n_groups,)
        Its members over all of the group, in [0, 1].

    Examples
    --------
    >>> modal(np.array([0, 0, 0, 1]), np.array([5, 5, 2, -1]), 3)
    (array([ 5, -1, -1]), array([0.66666667, 0.        , 0.        ]))
    """
    sizes = np.bincount(group, minlength=n_groups)
    n_codes = int(code.max(initial=0)) + 1
    best = np.full(n_groups, -1, dtype=np.int64)
    share = np.zeros(n_groups, dtype=np.float64)
    for part in _whole_groups(group):
        counted = np.flatnonzero(code[part] >= 0) + part.start
        pairs, counts = np.unique(group[counted] * n_codes + code[counted], return_counts=True)
        groups, codes = np.divmod(pairs, n_codes)
        order = np.lexsort((codes, -counts, groups))
        groups, codes, counts = groups[order], codes[order], counts[order]
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        best[groups[first]] = codes[first]
        share[groups[first]] = counts[first] / sizes[groups[first]]
    return best, share


def _whole_groups(group: NDArray[np.int64]) -> list[slice]:
    """Cut members by their groups, about `_MEMBERS_AT_ONCE` at a time; one part if not sorted."""
    if (group[1:] < group[:-1]).any():
        return [slice(0, len(group))]
    starts = np.unique(np.searchsorted(group, group[::_MEMBERS_AT_ONCE])).tolist()
    return [slice(a, b) for a, b in pairwise([*starts, len(group)])]
