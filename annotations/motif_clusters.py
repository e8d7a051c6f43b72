"""Groups of matrices that stand for the same binding pattern.

Many matrices of JASPAR say the same: six GATA factors, eleven FOS and JUN dimers. A feature that
matches one matches all, which is one finding. The clusters are made as JASPAR makes its own (RSAT
matrix-clustering): the similarity of two matrices is Ncor, and clusters are joined by average
linkage while their mean Ncor is at least 0.6.

    Ncor = the largest, over both strands and all offsets with at least 5 bases of overlap, of
           Pearson's correlation of the overlapping frequencies x overlap / union

The overlap has to be whole where a matrix is narrower than 5 bases. JASPAR adds a lower bound on
the correlation itself (0.8), which Ncor >= 0.6 makes nearly idle; it is left out.

A cluster is named after its most central matrix: that with the largest mean Ncor to the others,
dimers only where there is nothing else, then the first by matrix id. "GATA6 cluster" means matrices
like that of GATA6, not that GATA6 binds. Where two clusters would have one name, both carry the
matrix id too.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from annotations.jaspar import Motif

Floats = NDArray[np.float64]

MIN_NCOR: Final = 0.6
"""Mean Ncor of two clusters down to which they are joined."""
MIN_OVERLAP: Final = 5
"""Bases that two matrices must share, or the whole of the narrower."""

_making = threading.Lock()


class MotifClusters(NamedTuple):
    """Which motifs belong together."""

    labels: NDArray[np.int64]
    """Cluster of each motif, shape (n,); numbered in the order of their first motifs. Read-only."""
    names: tuple[str, ...]
    """Name of each cluster, such as "GATA6 cluster"."""

    def name_of(self, motif: int) -> str:
        """Name of the cluster to which a motif, by its place, belongs."""
        return self.names[int(self.labels[motif])]


def cluster_motifs(motifs: Sequence[Motif]) -> MotifClusters:
    """Clusters of motifs by JASPAR's method.

    Parameters
    ----------
    motifs : sequence of Motif

    Returns
    -------
    clusters : MotifClusters
        The same object for equal motifs; a thousand take a few seconds the first time.
    """
    key = tuple((m.matrix_id, m.name, m.counts.tobytes(), m.width) for m in motifs)
    # Two requests at once would otherwise both compute what one of them could wait for.
    with _making:
        return _cluster(key)


def motif_correlations(motifs: Sequence[Motif]) -> Floats:
    """Ncor of every two motifs.

    Parameters
    ----------
    motifs : sequence of Motif

    Returns
    -------
    ncor : ndarray of float64, shape (n, n)
        Symmetric, 1 on the diagonal, at most 1; 0 where no overlap correlates positively.
    """
    by_width: dict[int, list[int]] = {}
    for place, motif in enumerate(motifs):
        by_width.setdefault(motif.width, []).append(place)
    least = min([MIN_OVERLAP, *by_width])
    forward, reverse = {}, {}
    for width, places in by_width.items():
        counts = np.stack([motifs[place].counts for place in places])
        shares = counts / counts.sum(axis=1, keepdims=True)
        forward[width] = _slices(shares, least)
        reverse[width] = _slices(shares[:, ::-1, ::-1], least)
    ncor = np.zeros((len(motifs), len(motifs)))
    for first, rows in by_width.items():
        for second, columns in by_width.items():
            if first <= second:
                best = np.maximum(
                    _best(forward[first], forward[second], first, second),
                    _best(forward[first], reverse[second], first, second),
                )
                ncor[np.ix_(rows, columns)] = best
                ncor[np.ix_(columns, rows)] = best.T
    # A matrix and itself, and the rounding of a correlation of 1.
    ncor = np.minimum(np.maximum(ncor, ncor.T), 1.0)
    np.fill_diagonal(ncor, 1.0)
    return ncor


@lru_cache(maxsize=16)
def _cluster(key: tuple[tuple[str, str, bytes, int], ...]) -> MotifClusters:
    motifs = [
        Motif(matrix_id, name, np.frombuffer(counts).reshape(4, width), (), (), "", ())
        for matrix_id, name, counts, width in key
    ]
    ncor = motif_correlations(motifs)
    found = np.zeros(len(motifs), dtype=np.int64)
    if len(motifs) > 1:
        tree = linkage(squareform(1 - ncor, checks=False), method="average")
        # The least slack keeps a mean of exactly MIN_NCOR from falling to rounding.
        found = fcluster(tree, 1 - MIN_NCOR + 1e-9, criterion="distance").astype(np.int64)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    labels = rank[inverse]
    labels.flags.writeable = False
    centres = [_centre(np.flatnonzero(labels == label), ncor, motifs) for label in range(len(rank))]
    shared = Counter(motif.name.casefold() for motif in centres)
    names = tuple(
        f"{motif.name} cluster"
        if shared[motif.name.casefold()] == 1
        else f"{motif.name} ({motif.matrix_id}) cluster"
        for motif in centres
    )
    return MotifClusters(labels, names)


def _centre(members: NDArray[np.intp], ncor: Floats, motifs: Sequence[Motif]) -> Motif:
    closeness = ncor[np.ix_(members, members)].mean(axis=1).round(9)
    ranked = sorted(
        ("::" in motifs[member].name, -close, motifs[member].matrix_id, member)
        for member, close in zip(members.tolist(), closeness.tolist(), strict=True)
    )
    return motifs[int(ranked[0][3])]


def _slices(shares: Floats, least: int) -> dict[tuple[int, int], Floats]:
    """Each stretch (start, length) of motifs of one width, flat, centred and of norm 1.

    The dot product of two of them is Pearson's correlation; stretches without variance are 0.
    """
    width = shares.shape[2]
    found = {}
    for length in range(least, width + 1):
        for start in range(width - length + 1):
            part = shares[:, :, start : start + length].reshape(len(shares), -1)
            # The four frequencies of a base sum to 1, so the mean is 1/4 whatever the motif.
            part = part - 0.25
            norm = np.linalg.norm(part, axis=1, keepdims=True)
            found[start, length] = np.divide(part, norm, out=np.zeros_like(part), where=norm > 1e-9)
    return found


def _best(
    left: dict[tuple[int, int], Floats],
    right: dict[tuple[int, int], Floats],
    first: int,
    second: int,
) -> Floats:
    """Largest Ncor of motifs of width `first` and of width `second`, over all offsets."""
    best = np.zeros((len(left[0, first]), len(right[0, second])))
    least = min(MIN_OVERLAP, first, second)
    for offset in range(least - first, second - least + 1):
        length = min(first, second - offset) - max(0, -offset)
        part = left[max(0, -offset), length] @ right[max(0, offset), length].T
        np.maximum(best, part * (length / (first + second - length)), out=best)
    return best
