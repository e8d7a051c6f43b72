"""Whether there is enough sequence and there are enough loci for a test, and if not, what lacks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.foreground import Foreground
from annotations.matched_background import Silence
from annotations.motif_windows import Windows


class Power(NamedTuple):
    """Whether there was enough sequence and were enough loci for a test."""

    tested: bool
    loci: int
    """What there was: of background windows, of loci of the richest feature row, or of
    windows in which a row with enough loci is silent."""
    needed: int
    """What it takes of these."""
    reason: str
    """Why nothing was tested; empty if something was."""


def power_of(
    found: Foreground,
    rich: NDArray[np.bool_],
    able: NDArray[np.bool_],
    background: Windows,
    silence: Silence,
    needed: int,
    width: int,
    min_background: int,
) -> Power:
    """Whether any row can be tested, and if not, what is missing.

    Parameters
    ----------
    found : Foreground
    rich, able : ndarray of bool, shape (rows,)
        Rows with enough loci, and those of them silent in enough windows.
    background : Windows
    silence : Silence
    needed, width, min_background : int
        Loci a row needs, bases of a window, and windows in which a row must be silent.
    """
    windows = len(background.start)
    if windows < min_background:
        return too_short(background, width, min_background)
    if able.any():
        return Power(True, windows, min_background, "")
    if rich.any():
        silent = int(silence.windows[rich].max())
        return Power(
            False,
            silent,
            min_background,
            f"none of the {int(rich.sum())} feature rows with {needed} independent loci is "
            f"silent in {min_background} background windows; the best is in {silent}",
        )
    best = int(np.argmax(found.counts)) if found.counts.size else 0
    richest = int(found.counts.max(initial=0))
    given = int(found.peaks[best]) if found.peaks.size else 0
    return Power(
        False,
        richest,
        needed,
        f"no feature row has {needed} independent loci; the richest has {richest}, of {given} "
        f"peaks. A peak counts if its window of {width} bases lies inside its sequence, "
        "has no N and a GC content the background has, overlaps no window of a stronger peak of "
        "the row and is no copy of one",
    )


def too_short(background: Windows, width: int, min_background: int) -> Power:
    """What to say of sequences with too few background windows."""
    windows = len(background.start)
    return Power(
        False,
        windows,
        min_background,
        f"the sequences hold {windows} independent windows of {width} bases, none "
        f"overlapping another and none with N; a test needs {min_background}, that is at "
        f"least {min_background * width:,} bases",
    )
