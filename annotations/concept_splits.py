"""Which bases a concept is chosen on and which it is tested on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.concept_tracks import ConceptTracks
from annotations.errors import OptionError


class Splits(NamedTuple):
    """Which bases count, and where: discovery is split 0, held-out split 1."""

    contigs: tuple[tuple[int, ...], tuple[int, ...]]
    """Contigs of each split."""
    group: NDArray[np.unsignedinteger[Any]]
    """``split * classes + class`` of each base; `ignored` for those that do not count."""
    ignored: int
    """Twice the number of classes."""
    sizes: NDArray[np.float64]
    """Bases of each class, shape (2, classes)."""


def split_bases(tracks: ConceptTracks, discovery: Sequence[int], held_out: Sequence[int]) -> Splits:
    """Divide the bases of some tracks.

    Parameters
    ----------
    tracks : ConceptTracks
    discovery, held_out : sequence of int
        Contigs; the bases of others do not count.

    Returns
    -------
    splits : Splits
        Two bytes for each base.

    Raises
    ------
    OptionError
        If there is no discovery contig, a contig is given twice, or one is not in `tracks`.
    """
    n_contigs, n_classes = len(tracks.lengths), len(tracks.counted)
    asked = [*discovery, *held_out]
    if not discovery or len(set(asked)) != len(asked) or not set(asked) <= set(range(n_contigs)):
        raise OptionError(
            "concepts need at least one discovery contig, no contig twice and only those of the "
            f"{n_contigs} sequences; got discovery {list(discovery)} and held-out {list(held_out)}"
        )
    ignored = 2 * n_classes
    group = tracks.class_of_bases().astype(np.min_scalar_type(ignored))
    group[~tracks.counted[group]] = ignored
    for contig in range(n_contigs):
        part = group[tracks.offsets[contig] : tracks.offsets[contig + 1]]
        if contig in held_out:
            part[part < ignored] += n_classes
        elif contig not in discovery:
            part[:] = ignored
    sizes = np.bincount(group, minlength=ignored + 1)[:ignored].reshape(2, n_classes)
    contigs = (tuple(sorted(discovery)), tuple(sorted(held_out)))
    return Splits(contigs, group, ignored, sizes.astype(np.float64))
