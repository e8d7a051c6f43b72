"""Stretches of places, and which intervals touch one."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class NearPlaces(NamedTuple):
    """Stretches, sorted; none touches another."""

    start: Ints
    end: Ints

    @classmethod
    def of(cls, start: Ints, width: int) -> Self:
        """The stretches that windows of `width` bases cover together.

        Parameters
        ----------
        start : ndarray of int64, shape (n,)
            Where the windows begin, in any order.
        width : int
        """
        start = np.unique(start)
        first = np.diff(start, prepend=-width) > width
        first[:1] = True
        return cls(start[first], start[np.append(first[1:], True)[: len(start)]] + width)

    def touched(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """Which intervals have a base in a stretch.

        Parameters
        ----------
        start, end : ndarray of int64, shape (m,)
            Half-open, not empty.
        """
        at = np.searchsorted(self.end, start, side="right")
        touched = at < len(self.start)
        touched[touched] = self.start[at[touched]] < end[touched]
        return touched
