"""Windows of a corpus and the motif hits that lie wholly inside them.

    sequences + hits  --Corpus.of-->  Corpus  --hits_in-->  (window, hit) pairs

Places are those of `annotations.contig_codes`. Nothing here has a number for each base: a genome
costs its codes, which may lie in a file. Coordinates are 0-based and half-open.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from annotations.contig_codes import ContigCodes, N

Ints = NDArray[np.int64]

BACKGROUND_WINDOWS: Final = 20_000
WIDTH: Final = 101
"""Bases of a window, centred on its peak; odd."""

_TILES_AT_ONCE = 100_000


class Windows(NamedTuple):
    """Windows of a corpus, as columns."""

    contig: NDArray[np.uint32]
    start: Ints
    end: Ints


class Corpus(NamedTuple):
    """Sequences laid end to end, and the motif hits on them in order of their starts."""

    codes: ContigCodes
    motif: NDArray[np.int32]
    """Motif of each hit."""
    start: Ints
    end: Ints
    score: NDArray[np.float32]
    previous: Ints
    """Start of the last hit of the same motif before each hit, -1 for the first; on both strands,
    so that of two hits at one place one has the other before it."""
    motifs: int
    """Number of motifs, whether they occur or not."""

    @classmethod
    def of(cls, sequences: Sequence[NDArray[np.uint8]], hits: pa.Table, motifs: int) -> "Corpus":
        """Lay out base codes and the hits of `annotations.motif_scan.scan` on them."""
        codes = ContigCodes.of(sequences)
        shift = codes.offsets[hits["contig"].to_numpy()]
        start = shift + hits["start"].to_numpy()
        order = np.argsort(start, kind="stable")
        start, motif = start[order], hits["motif"].to_numpy()[order].astype(np.int32)
        by_motif = np.argsort(motif, kind="stable")
        same = np.diff(motif[by_motif], prepend=-1) == 0
        previous = np.full(len(start), -1, dtype=np.int64)
        previous[by_motif[same]] = start[by_motif[np.flatnonzero(same) - 1]]
        return cls(
            codes=codes,
            motif=motif,
            start=start,
            end=(shift + hits["end"].to_numpy())[order],
            score=hits["score"].to_numpy()[order],
            previous=previous,
            motifs=motifs,
        )

    def hits_in(self, start: Ints, width: int) -> tuple[Ints, Ints]:
        """Pairs (index of the window, index of the hit) of hits wholly inside windows."""
        first = np.searchsorted(self.start, start)
        counts = np.searchsorted(self.start, start + width) - first
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
    firsts, known = [], []
    for codes in sequences:
        spare = len(codes) % width
        first = int(random.integers(0, spare + 1)) if len(codes) >= width else len(codes)
        firsts.append(first)
        known.append(_known_tiles(codes[first:], width))
    before = np.concatenate([[0], np.cumsum([tiles.sum() for tiles in known], dtype=np.int64)])
    total = int(before[-1])
    chosen = (
        np.sort(random.choice(total, n, replace=False))
        if total > n
        else np.arange(total, dtype=np.int64)
    )
    contig = np.searchsorted(before, chosen, side="right") - 1
    start = np.empty(len(chosen), np.int64)
    for number in np.unique(contig).tolist():
        own = contig == number
        tile = np.flatnonzero(known[number])[chosen[own] - before[number]]
        start[own] = firsts[number] + width * tile
    return Windows(contig.astype(np.uint32), start, start + width)


def _known_tiles(codes: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Which windows that follow each other from the first base on touch no N."""
    tiles = codes[: len(codes) // width * width].reshape(-1, width)
    known = np.empty(len(tiles), bool)
    for first in range(0, len(tiles), _TILES_AT_ONCE):
        part = slice(first, first + _TILES_AT_ONCE)
        known[part] = (tiles[part] < N).all(axis=1)
    return known


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
