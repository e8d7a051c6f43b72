"""What a feature's page draws: its motif over a matrix, and where a motif stands at its peaks.

own motif, matrix --lay_over--> Overlay --overlay_svg--> logos in the same columns
bases about peaks, matrix --motif_positions--> how many peaks have it at each distance
examples of an atlas --peak_histogram--> how the activations of all its peaks spread
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.jaspar import Motif
from annotations.logos import Placed, aligned_logos_svg
from annotations.motif_alignment import align, differences, turned
from annotations.motif_scan import background_of_counts
from annotations.motif_similarity import MIN_CORRELATION
from annotations.sequences import encode_bases
from app.feature_views import OwnMotif
from app.figure_data import motif_sites


class Overlay(NamedTuple):
    """A matrix over a feature's own motif."""

    first: int
    """Offset of the matrix's first column from the peak, in the sense of the pass."""
    reverse: bool
    """Whether its reverse complement stands there."""
    correlation: float
    """Of the columns that overlap."""
    alike: bool
    """Whether it lies where both are most alike; if not, where it stands at most peaks."""


class Positions(NamedTuple):
    """Where a motif stands about the peaks of a feature row."""

    loci: int
    """Peaks that were looked at."""
    with_motif: int
    """Peaks that have it anywhere in their window."""
    offsets: NDArray[np.int64]
    """Of its middle base from the peak, in the sense of the pass: one for each bar."""
    counts: NDArray[np.int64]
    """Peaks that have it there, same shape; one that has it twice counts at both."""


def lay_over(own: OwnMotif, matrix: Motif, offset: int | None) -> Overlay:
    """Where a matrix lies over a feature's own motif.

    Parameters
    ----------
    own : OwnMotif
    matrix : Motif
    offset : int or None
        Of its middle base from the peak, at most peaks that have it; None where it is not known.

    Returns
    -------
    overlay : Overlay
        Where they are most alike if their correlation there is `MIN_CORRELATION` or more, as the
        test of similarity asks; else at `offset`, in the sense that fits better there.
    """
    found = align(own.counts, matrix.counts)
    if found.correlation >= MIN_CORRELATION or offset is None:
        return Overlay(own.offset + found.first, found.reverse, found.correlation, True)
    first = offset - (matrix.width - 1) // 2
    given, back = (
        _correlation(own, turned(matrix.counts) if reverse else matrix.counts, first)
        for reverse in (False, True)
    )
    return Overlay(first, back > given, max(given, back), False)


def overlay_svg(own: OwnMotif, matrix: Motif, overlay: Overlay, *, name: str) -> str:
    """Logos of a feature's own motif and of a matrix, one over the other in the same columns.

    Parameters
    ----------
    own : OwnMotif
    matrix : Motif
    overlay : Overlay
        As from `lay_over`.
    name : str
        Of the feature row.
    """
    sense = ", reverse complement" if overlay.reverse else ""
    said = f"{matrix.name} {matrix.matrix_id}{sense}"
    counts = turned(matrix.counts) if overlay.reverse else matrix.counts
    return aligned_logos_svg(
        [
            Placed(own.counts, own.offset, f"peaks of {name}"),
            Placed(counts, overlay.first, said),
        ],
        title=f"the motif of the peaks of {name} over {said}; 0 is the peak",
    )


def motif_positions(
    windows: Sequence[str], motif: Motif, background: NDArray[np.float64]
) -> Positions:
    """How many peaks have a motif at each distance.

    Parameters
    ----------
    windows : sequence of str
        Bases about each peak in the sense of the pass, all of one odd length, the peak in their
        middle.
    motif : Motif
    background : ndarray of float64, shape (4,)
        That its threshold is of.

    Returns
    -------
    positions : Positions
        A bar for each distance at which the motif fits into the window.
    """
    width = len(windows[0]) if windows else 0
    middle = width // 2
    before, after = (motif.width - 1) // 2, motif.width // 2
    offsets = np.arange(before - middle, middle - after + 1)
    # N between the windows: no motif stands across two of them
    codes = encode_bases("N".join(windows).encode())
    found: set[tuple[int, int]] = set()
    for site in motif_sites(codes, motif, background):
        # a palindrome stands twice at one place: a peak has one vote for each
        found.add((site.start // (width + 1), site.start % (width + 1) + before - middle))
    counts = np.zeros(len(offsets), dtype=np.int64)
    for _, offset in found:
        counts[offset - offsets[0]] += 1
    return Positions(len(windows), len({of for of, _ in found}), offsets, counts)


def gc_background(gc: float) -> NDArray[np.float64]:
    """Frequencies of A, C, G, T at a GC content, shape (4,)."""
    return background_of_counts(np.array([1 - gc, gc, gc, 1 - gc]) / 2)


def _correlation(
    own: OwnMotif, counts: NDArray[np.float64] | NDArray[np.int32], first: int
) -> float:
    """Correlation of a matrix at an offset with a feature's own motif; 0 where none overlap."""
    place = first - own.offset
    low, high = max(0, place), min(own.counts.shape[1], place + counts.shape[1])
    if high <= low:
        return 0.0
    here = differences(own.counts)[:, low:high]
    there = differences(counts)[:, low - place : high - place]
    norm = float(np.sqrt((here**2).sum() * (there**2).sum()))
    return float((here * there).sum()) / norm if norm else 0.0
