"""Which bases a concept is chosen on and which it is tested on."""

from collections.abc import Sequence
from pathlib import Path
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


def split_bases(
    tracks: ConceptTracks,
    discovery: Sequence[int],
    held_out: Sequence[int],
    *,
    path: Path | None = None,
) -> Splits:
    """Divide the bases of some tracks.

    Parameters
    ----------
    tracks : ConceptTracks
    discovery, held_out : sequence of int
        Contigs; the bases of others do not count.
    path : Path, optional
        A file to make for the groups, so that they need not be in memory; removing it frees its
        room once nobody looks at them.

    Returns
    -------
    splits : Splits
        At most two bytes for each base; what takes more is held for one contig at a time.

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
    dtype, n_bases = np.min_scalar_type(ignored), int(tracks.offsets[-1])
    if path is None or not n_bases:
        group = np.empty(n_bases, dtype)
    else:
        group = np.asarray(np.memmap(path, dtype, "w+", shape=(n_bases,)))
    # the group of each class on contigs of neither split, of discovery and held out
    groups = np.full((3, n_classes), ignored, dtype)
    for split in (0, 1):
        groups[1 + split] = np.where(
            tracks.counted, split * n_classes + np.arange(n_classes), ignored
        )
    split_of = np.zeros(n_contigs, np.int64)
    split_of[list(discovery)], split_of[list(held_out)] = 1, 2
    first = np.searchsorted(tracks.starts, tracks.offsets)
    counts = np.zeros(ignored + 1)
    for contig, split in enumerate(split_of.tolist()):
        own = slice(first[contig], first[contig + 1])
        of_stretch = groups[split][tracks.classes[own]]
        lengths = tracks.ends[own] - tracks.starts[own]
        group[tracks.offsets[contig] : tracks.offsets[contig + 1]] = np.repeat(of_stretch, lengths)
        counts += np.bincount(of_stretch, lengths, minlength=ignored + 1)
    sizes = counts[:ignored].reshape(2, n_classes)
    contigs = (tuple(sorted(discovery)), tuple(sorted(held_out)))
    return Splits(contigs, group, ignored, sizes)
