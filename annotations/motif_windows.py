"""Windows of a corpus and the motif hits that lie wholly inside them.

    sequences + hits  --Corpus.of-->  Corpus  --hits_in-->  (window, hit) pairs

The contigs are laid end to end with one N between them, so that a place is one number and no window
without N crosses from one contig to the next. Coordinates are 0-based and half-open.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int64]

BACKGROUND_WINDOWS: Final = 20_000
WIDTH: Final = 101
"""Bases of a window, centred on its peak; odd."""


class Windows(NamedTuple):
    """Windows of a corpus, as columns."""

    contig: NDArray[np.uint32]
    start: Ints
    end: Ints


class Corpus(NamedTuple):
    """Sequences laid end to end, and the motif hits on them in order of their starts."""

    codes: NDArray[np.uint8]
    offsets: Ints
    """Where each contig starts; one more than there are contigs."""
    unknown: NDArray[np.signedinteger]
    """Bases that are not ACGT before each place."""
    gc: NDArray[np.signedinteger]
    """G and C before each place."""
    motif: NDArray[np.int32]
    """Motif of each hit."""
    start: Ints
    end: Ints
    score: NDArray[np.float32]
    before: NDArray[np.signedinteger]
    """Hits that start before each place."""
    previous: Ints
    """Start of the last hit of the same motif before each hit, -1 for the first; on both strands,
    so that of two hits at one place one has the other before it."""
    motifs: int
    """Number of motifs, whether they occur or not."""

    @classmethod
    def of(cls, sequences: Sequence[NDArray[np.uint8]], hits: pa.Table, motifs: int) -> "Corpus":
        """Lay out base codes and the hits of `annotations.motif_scan.scan` on them."""
        gap = np.array([4], dtype=np.uint8)
        codes = np.concatenate([gap[:0], *(part for c in sequences for part in (c, gap))])
        offsets = np.cumsum([0, *(len(c) + 1 for c in sequences)], dtype=np.int64)
        shift = offsets[hits["contig"].to_numpy()]
        start = shift + hits["start"].to_numpy()
        order = np.argsort(start, kind="stable")
        start, motif = start[order], hits["motif"].to_numpy()[order].astype(np.int32)
        by_motif = np.argsort(motif, kind="stable")
        same = np.diff(motif[by_motif], prepend=-1) == 0
        previous = np.full(len(start), -1, dtype=np.int64)
        previous[by_motif[same]] = start[by_motif[np.flatnonzero(same) - 1]]
        before: NDArray[np.signedinteger] = np.zeros(
            len(codes) + 1, dtype=np.int32 if len(start) < 2**31 else np.int64
        )
        np.cumsum(np.bincount(start, minlength=len(codes)), out=before[1:])
        return cls(
            codes=codes,
            offsets=offsets,
            unknown=running_count(codes > 3),
            gc=running_count((codes == 1) | (codes == 2)),
            motif=motif,
            start=start,
            end=(shift + hits["end"].to_numpy())[order],
            score=hits["score"].to_numpy()[order],
            before=before,
            previous=previous,
            motifs=motifs,
        )

    def gc_of(self, start: Ints, width: int) -> Ints:
        """G and C in the windows of `width` bases that start at these places."""
        return (self.gc[start + width] - self.gc[start]).astype(np.int64)

    def hits_in(self, start: Ints, width: int) -> tuple[Ints, Ints]:
        """Pairs (index of the window, index of the hit) of hits wholly inside windows."""
        first = self.before[start].astype(np.int64)
        counts = self.before[start + width] - first
        window = np.repeat(np.arange(len(start)), counts)
        hit = np.arange(len(window)) + np.repeat(first - np.cumsum(counts) + counts, counts)
        inside = self.end[hit] <= start[window] + width
        return window[inside], hit[inside]

    def first_hits_in(self, start: Ints, width: int) -> tuple[Ints, Ints]:
        """As `hits_in`, but of the hits of one motif in a window only the first."""
        window, hit = self.hits_in(start, width)
        # The last hit before it is as wide: it lies in the window too if it starts there.
        first = self.previous[hit] < start[window]
        return window[first], hit[first]

    def motifs_in(self, start: Ints, width: int) -> sparse.csr_array:
        """Float64 array of shape (windows, motifs): 1 where a window holds a motif."""
        window, hit = self.first_hits_in(start, width)
        return sparse.csr_array(
            (np.ones(len(hit)), (window, self.motif[hit])), shape=(len(start), self.motifs)
        )


def running_count(true: NDArray[np.bool_]) -> NDArray[np.signedinteger]:
    """How many are true before each place; one longer than its argument."""
    # A genome has one number per base here: half the bytes wherever they are enough.
    dtype = np.int32 if len(true) < 2**31 else np.int64
    count: NDArray[np.signedinteger] = np.zeros(len(true) + 1, dtype=dtype)
    np.cumsum(true, dtype=dtype, out=count[1:])
    return count


def background_windows(
    sequences: Sequence[NDArray[np.uint8]],
    *,
    n: int = BACKGROUND_WINDOWS,
    width: int = WIDTH,
    seed: int = 0,
) -> Windows:
    """Random windows of a corpus, none overlapping another and none touching N.

    Parameters
    ----------
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    n : int
        Windows wanted; a short corpus gives fewer.
    width : int
        Bases of a window.
    seed : int
        Equal seeds give equal windows.

    Returns
    -------
    windows : Windows
        Sorted by contig and start.
    """
    random = np.random.default_rng(seed)
    contigs, starts = [], []
    for number, codes in enumerate(sequences):
        spare = len(codes) % width
        first = int(random.integers(0, spare + 1)) if len(codes) >= width else len(codes)
        tiles = np.arange(first, len(codes) - width + 1, width, dtype=np.int64)
        unknown = running_count(codes > 3)
        tiles = tiles[unknown[tiles + width] == unknown[tiles]]
        contigs.append(np.full(len(tiles), number, dtype=np.uint32))
        starts.append(tiles)
    contig = np.concatenate([*contigs, np.empty(0, np.uint32)])
    start = np.concatenate([*starts, np.empty(0, np.int64)])
    if len(start) > n:
        chosen = np.sort(random.choice(len(start), n, replace=False))
        contig, start = contig[chosen], start[chosen]
    return Windows(contig, start, start + width)


def one_per_locus(group: Ints, position: Ints, rank: Ints, *, distance: int) -> NDArray[np.bool_]:
    """Choose positions at least `distance` apart within each group, the best rank first.

    Parameters
    ----------
    group, position, rank : ndarray of int64, shape (n,)
        Only positions of one group are compared; a lower rank is better.
    distance : int
        Positions closer than this to a better chosen one are left out.

    Returns
    -------
    chosen : ndarray of bool, shape (n,)

    Examples
    --------
    >>> one_per_locus(np.zeros(3, int), np.array([0, 60, 120]), np.arange(3), distance=101).tolist()
    [True, False, True]
    """
    chosen = np.zeros(len(group), dtype=bool)
    left = np.lexsort((position, group))
    while left.size:
        # In each run of neighbours the best is safe; whatever is near it goes, the rest goes on.
        new = np.ones(len(left), dtype=bool)
        new[1:] = (np.diff(group[left]) != 0) | (np.diff(position[left]) >= distance)
        run = np.cumsum(new) - 1
        order = np.lexsort((rank[left], run))
        best = left[order[np.flatnonzero(np.diff(run[order], prepend=-1))]]
        chosen[best] = True
        left = left[np.abs(position[left] - position[best[run]]) >= distance]
    return chosen
