"""Where a motif stands about the peaks of a feature row: commonest offset, and whether it has one.

An offset is the motif's middle base less the peak, in the sense in which the feature was read:
negative means that the motif came before the peak.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.foreground import Loci
from annotations.motif_windows import Corpus
from annotations.significance import binomial_tail

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEAR: Final = 3
"""Bases about the modal offset that count as being at it."""
HALF_WIDTHS: Final = (1, 4, 10)
"""Half the widths of the bins that `centrality` tries."""

_ROWS_PER_BLOCK: Final = 512


class Positions(NamedTuple):
    """Of each pair."""

    offset: Ints
    """Commonest offset; of equally common ones the nearest to the peak, then the one before it.
    0 for a pair without a hit."""
    share: Floats
    """Share of the loci with the motif that have it within `NEAR` bases of there; NaN without."""
    centrality_p: Floats
    """See `centrality`; NaN without a hit."""


def positions(row: Ints, motif: Ints, loci: Loci, corpus: Corpus, width: int) -> Positions:
    """Where each motif stands about the peaks of each row.

    Parameters
    ----------
    row, motif : ndarray of int64, shape (n,)
        The pairs, none twice.
    loci : Loci
        All of the pairs' rows.
    corpus : Corpus
    width : int
        Bases of a window.

    Returns
    -------
    positions : Positions
    """
    mode = np.zeros(len(row), dtype=np.int64)
    near, with_motif = np.zeros(len(row)), np.zeros(len(row))
    placed = np.ones(len(row))
    order = np.argsort(row, kind="stable")
    rows = np.unique(row)
    for begin in range(0, len(rows), _ROWS_PER_BLOCK):
        block = rows[begin : begin + _ROWS_PER_BLOCK]
        part = loci.within(block)
        of = order[slice(*np.searchsorted(row[order], [block[0], block[-1] + 1]))]
        number = np.full((len(block), corpus.motifs), -1, dtype=np.int64)
        number[np.searchsorted(block, row[of]), motif[of]] = np.arange(len(of))
        locus, hit = corpus.hits_in(part.start, width)
        pair = number[np.searchsorted(block, part.row)[locus], corpus.motif[hit]]
        wanted = pair >= 0
        if not wanted.any():
            continue
        locus, hit, pair = locus[wanted], hit[wanted], pair[wanted]
        reverse = part.row[locus] % 2 == 1
        # Doubled, so that the middle of an even motif is exact until the sense is known.
        doubled = corpus.start[hit] + corpus.end[hit] - 1 - 2 * part.peak[locus]
        offset = np.floor_divide(np.where(reverse, -doubled, doubled), 2)
        mode[of], near[of] = _modes(pair, locus, offset, len(of), width)
        best = _best_hits(pair, locus, corpus, hit)
        pair, locus, hit, reverse = pair[best], locus[best], hit[best], reverse[best]
        with_motif[of] = np.bincount(pair, minlength=len(of))
        size = corpus.end[hit] - corpus.start[hit]
        before = corpus.start[hit] - part.start[locus]
        place = np.where(reverse, width - size - before, before)
        places = np.ones(len(of), dtype=np.int64)
        places[pair] = width - size + 1
        counts = np.bincount(pair * width + place, minlength=len(of) * width)
        placed[of] = centrality(counts.reshape(-1, width), places)
    known = with_motif > 0
    share = np.divide(near, with_motif, out=np.full(len(row), np.nan), where=known)
    return Positions(mode, share, np.where(known, placed, np.nan))


def centrality(counts: NDArray[np.int64], places: Ints) -> Floats:
    """Whether the best hit of each locus keeps to some part of the window.

    As CentriMo's local mode (Bailey and Machanick 2012, NAR 40:e128): of n loci with the motif, k
    have their best hit in a bin of ``2 d + 1`` of the window's places; where the motif stands
    anywhere with equal chance, k is binomial with the share of the places that the bin has. The
    bin with the lowest p is taken, of all bins of the widths `HALF_WIDTHS`, and its p multiplied
    by the number of bins: a feature of a causal model fires beside its motif, not on it, so the
    bin must be searched for, and the search be paid for.

    Parameters
    ----------
    counts : ndarray of int64, shape (pairs, width)
        Loci whose best hit starts at each place of the window.
    places : ndarray of int64, shape (pairs,)
        Places at which the motif fits into the window; the counts beyond are 0.

    Returns
    -------
    p : ndarray of float64, shape (pairs,)
        At most 1; 1 where no bin is narrower than the window.
    """
    total = counts.sum(axis=1).astype(np.float64)
    before = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=before[:, 1:])
    best, tried = np.ones(len(counts)), np.zeros(len(counts))
    for half in HALF_WIDTHS:
        size = 2 * half + 1
        fits = places > size
        if size > counts.shape[1] or not fits.any():
            continue
        # A bin that hangs over the last place holds no more than the last one that does not.
        most = (before[:, size:] - before[:, :-size]).max(axis=1).astype(np.float64)
        p = binomial_tail(most[fits], total[fits], total[fits] * size / places[fits])
        best[fits] = np.minimum(best[fits], p)
        tried += np.where(fits, places - size + 1, 0)
    return np.minimum(best * np.maximum(tried, 1), 1.0)


def _modes(pair: Ints, locus: Ints, offset: Ints, pairs: int, width: int) -> tuple[Ints, Ints]:
    """Commonest offset of each pair, and the loci that have a hit near it."""
    # A palindrome hits twice at one place: a locus has one vote per offset.
    votes = np.unique((pair * (int(locus.max()) + 1) + locus) * (2 * width) + offset + width)
    voter, offset = votes // (2 * width), votes % (2 * width) - width
    of = voter // (int(locus.max()) + 1)
    kinds, count = np.unique(of * (2 * width) + offset + width, return_counts=True)
    kind_of, kind = kinds // (2 * width), kinds % (2 * width) - width
    ranked = np.lexsort((kind, np.abs(kind), -count, kind_of))
    first = ranked[np.flatnonzero(np.diff(kind_of[ranked], prepend=-1))]
    mode = np.zeros(pairs, dtype=np.int64)
    mode[kind_of[first]] = kind[first]
    there = np.unique(voter[np.abs(offset - mode[of]) <= NEAR])
    return mode, np.bincount(there // (int(locus.max()) + 1), minlength=pairs)


def _best_hits(pair: Ints, locus: Ints, corpus: Corpus, hit: Ints) -> Ints:
    """The best hit of each pair and locus; of equal ones any, but not always the first."""
    # Multiplied by 2**64 / golden ratio, places come in an order that knows no left and right.
    lot = corpus.start[hit].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    order = np.lexsort((lot, -corpus.score[hit], locus, pair))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(locus[order]) != 0) | (np.diff(pair[order]) != 0)
    best: Ints = order[new]
    return best
