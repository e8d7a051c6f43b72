"""Loci in which a TF may be bound, and what its matrix and the model's expectation say of them.

A locus is a bin of ten bases in non-coding sequence without repeats; it is positive where a
binding site of the TF lies within 20 bases of its middle. An instance is a hit of the TF's matrix
there; it is bound where a site lies within 25 bases of its middle.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.expectation import composition
from annotations.jaspar import Motif
from annotations.motif_scan import log_odds, scan
from workers.evidence.data import YeastContig
from workers.evidence.reading import BIN
from workers.pipeline import N_CODE
from workers.training.gate import BOUND_DISTANCE, Locations, core_columns, one_per_locus
from workers.training.report import LOCATION_DISTANCE, MOTIF_DISTANCE

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCK = 20_000
"""Bases of a block of the bootstrap."""
NEAR_BINS = 1
"""An instance is scored by a feature's bin at its middle and this many on each side."""
MARGIN_BINS = 2
"""Bins read on each side of the loci."""
WIDEST = 64
"""Unknown bases put on each side of a contig, so that every matrix fits."""


class Loci(NamedTuple):
    """The bins of one contig in which loci lie."""

    contig: YeastContig
    usable: Bools
    """Shape (length // BIN,)."""
    read: Bools
    """Those and the bins about them."""
    first_place: int
    """Added to a bin's number, so that bins of several contigs have numbers far apart."""
    first_block: int
    """Number of the contig's first block of the bootstrap."""

    @property
    def bins(self) -> Ints:
        """Numbers of the usable bins."""
        return np.flatnonzero(self.usable)

    @property
    def place(self) -> Ints:
        """Their numbers over several contigs."""
        return self.bins + self.first_place

    @property
    def block(self) -> Ints:
        """Their blocks of the bootstrap."""
        return self.first_block + self.bins * BIN // BLOCK


def loci_of(contigs: Sequence[YeastContig]) -> list[Loci]:
    """Usable bins: all ten bases known, non-coding, in no repeat and no region left unread."""
    found = []
    place = block = 0
    for contig in contigs:
        n = len(contig.bases) // BIN
        left_out = contig.coding | contig.repeat | contig.unread | (contig.bases == N_CODE)
        usable = ~left_out[: n * BIN].reshape(n, BIN).any(1)
        found.append(Loci(contig, usable, widened(usable, MARGIN_BINS), place, block))
        place += n + 1000
        block += -(-len(contig.bases) // BLOCK)
    return found


def n_blocks(loci: Sequence[Loci]) -> int:
    """Blocks of the bootstrap over some contigs."""
    return loci[-1].first_block + -(-len(loci[-1].contig.bases) // BLOCK)


def widened(bins: Bools, by: int) -> Bools:
    """Bins at most `by` bins from one that is set.

    Examples
    --------
    >>> widened(np.array([False, False, False, True, False]), 1).tolist()
    [False, False, True, True, True]
    """
    out = bins.copy()
    for step in range(1, by + 1):
        out[step:] |= bins[:-step]
        out[:-step] |= bins[step:]
    return out


def near_locations(loci: Loci, locations: Locations, tf: str) -> Bools:
    """Whether a binding site lies within `LOCATION_DISTANCE` of the middle of each usable bin."""
    none = np.zeros(0, np.int64)
    known = locations.get(loci.contig.name, {}).get(tf.lower(), none)
    middle = loci.bins * BIN + (BIN - 1) / 2
    return nearest(middle, known) <= LOCATION_DISTANCE


def nearest(places: NDArray[np.floating], known: Ints) -> Floats:
    """Bases from each place to the nearest of the sorted known ones; infinite without one.

    Examples
    --------
    >>> nearest(np.array([1.0, 9.5]), np.array([0, 4])).tolist()
    [1.0, 5.5]
    """
    if not len(known):
        return np.full(len(places), np.inf)
    after = np.searchsorted(known, places).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    return np.asarray(np.minimum(np.abs(known[after] - places), np.abs(known[before] - places)))


class Signals(NamedTuple):
    """What a matrix and the model say of some places; each shape (n,)."""

    pwm: Floats
    """Log-odds of the best placement, in bits."""
    expectation: Floats
    """Mean of log2 p/q over the core columns of that placement: the letters that stand there."""
    expected_motif: Floats
    """Largest mean of log-odds over what the model expects, not over what stands there."""


def motif_signals(
    loci: Loci, motif: Motif, background: Floats, log2_p: NDArray[np.float32] | None
) -> Signals:
    """Signals of the usable bins of a contig: the best placement whose middle lies in the bin.

    Parameters
    ----------
    loci : Loci
    motif : Motif
    background : float64 array, shape (4,)
        Of the log-odds.
    log2_p : float32 array, shape (length, 4), optional
        What the model expects; without it the two signals that need it are 0.
    """
    width = motif.width
    matrix = log_odds(motif.counts, background) / 1000
    strands = (matrix, matrix[::-1, ::-1])
    bases = loci.contig.bases
    padded = np.full(len(bases) + 2 * WIDEST, N_CODE, np.uint8)
    padded[WIDEST:-WIDEST] = bases
    starts = loci.bins[:, None] * BIN + np.arange(BIN) - width // 2 + WIDEST
    pwm = np.stack([_summed(np.vstack([m, m.min(0)]), padded, starts) for m in strands])
    # placements of both strands beside each other, shape (bins, 2 * BIN)
    pwm = np.concatenate(pwm, axis=1)
    best = pwm.argmax(1)
    rows = np.arange(len(best))
    if log2_p is None:
        return Signals(pwm[rows, best], np.zeros(len(best)), np.zeros(len(best)))
    gain = np.zeros(len(padded))
    gain[WIDEST:-WIDEST] = gained(bases, log2_p)
    core = core_columns(motif)
    gains = [gain[starts[..., None] + columns].mean(-1) for columns in (core, width - 1 - core)]
    p = np.zeros((len(padded), 4))
    p[WIDEST:-WIDEST] = np.exp2(np.nan_to_num(log2_p, nan=-np.inf))
    hoped = np.stack([sum(p[starts + j] @ m[:, j] for j in range(width)) for m in strands])
    return Signals(
        pwm[rows, best],
        np.concatenate(gains, axis=1)[rows, best],
        hoped.max((0, 2)),
    )


def gained(bases: NDArray[np.uint8], log2_p: NDArray[np.float32]) -> Floats:
    """log2 p/q of the letter that stands at each base, q the local composition; 0 if unsaid."""
    q = composition(bases, 0, len(bases))
    at = np.arange(len(bases))
    letter = np.minimum(bases, 3)
    bits = log2_p[at, letter].astype(np.float64) - np.log2(q[at, letter])
    return np.asarray(np.where((bases == N_CODE) | np.isnan(bits), 0.0, bits))


def _summed(matrix: Floats, codes: NDArray[np.uint8], starts: Ints) -> Floats:
    """Sum of a matrix (5, width) over the bases from each start on."""
    total = np.zeros(starts.shape)
    for column in range(matrix.shape[1]):
        total += matrix[codes[starts + column], column]
    return total


class Sites(NamedTuple):
    """Instances of one matrix in the loci of some contigs, one per locus."""

    contig: Ints
    """Index among the contigs."""
    bin: Ints
    """Of the middle."""
    start: Ints
    strand: NDArray[np.int8]
    score: Floats
    bound: Bools
    block: Ints


def instances(
    loci: Sequence[Loci], motif: Motif, background: Floats, locations: Locations, tf: str
) -> Sites:
    """Instances of a matrix that lie whole in usable bins, and which of them are bound."""
    sequences = []
    for one in loci:
        mask = np.zeros(len(one.contig.bases), bool)
        mask[: len(one.usable) * BIN] = np.repeat(one.usable, BIN)
        sequences.append(np.where(mask, one.contig.bases, N_CODE).astype(np.uint8))
    found = one_per_locus(scan(sequences, [motif], background=background), motif.width)
    middle = found.start + (motif.width - 1) / 2
    bound = np.zeros(len(middle), bool)
    block = np.zeros(len(middle), np.int64)
    none = np.zeros(0, np.int64)
    for index, one in enumerate(loci):
        here = found.contig == index
        known = locations.get(one.contig.name, {}).get(tf.lower(), none)
        bound[here] = nearest(middle[here], known) <= BOUND_DISTANCE
        block[here] = one.first_block + found.start[here] // BLOCK
    at = (middle // BIN).astype(np.int64)
    return Sites(found.contig, at, found.start, found.strand, found.score, bound, block)


def near_hits(loci: Loci, motifs: Sequence[Motif], background: Floats) -> Bools:
    """Whether a hit of a matrix lies within `MOTIF_DISTANCE` of the middle of each usable bin."""
    bases = loci.contig.bases
    hits = scan([bases], tuple(motifs), background=background)
    edges = np.zeros(len(bases) + 1, np.int64)
    first = np.clip(hits["start"].to_numpy() - MOTIF_DISTANCE, 0, len(bases))
    past = np.clip(hits["end"].to_numpy() + MOTIF_DISTANCE, 0, len(bases))
    np.add.at(edges, first, 1)
    np.add.at(edges, past, -1)
    covered = np.cumsum(edges[:-1]) > 0
    return np.asarray(covered[loci.bins * BIN + BIN // 2])


def site_expectation(sites: Sites, motif: Motif, gains: Mapping[int, Floats]) -> Floats:
    """Mean of log2 p/q over the core columns of each instance.

    Parameters
    ----------
    sites : Sites
    motif : Motif
    gains : mapping of int to float64 array
        `gained` of each contig by its index.
    """
    core = core_columns(motif)
    columns = np.where(sites.strand[:, None] > 0, core, motif.width - 1 - core)
    out = np.zeros(len(sites.start))
    for index, gain in gains.items():
        here = sites.contig == index
        out[here] = gain[sites.start[here][:, None] + columns[here]].mean(1)
    return out
