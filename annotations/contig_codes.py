"""Base codes of contigs laid end to end, so that a place is one number.

    contig, position  --offsets-->  place  --windows-->  bases about it

One N stands behind each contig: no window without N crosses from one to the next. The codes may lie
in a file, and then only what is looked at is in memory: nothing here copies the whole of them, or
makes an array with a number for each base. Coordinates are 0-based and half-open.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from annotations.errors import CoordinateError

Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

N: Final = 4
"""What stands behind each contig."""

_WINDOWS_AT_ONCE = 16_384


class ContigCodes(Sequence[Codes]):
    """The base codes of contigs, one after the other in one array; as a sequence, of each contig.

    Parameters
    ----------
    joined : ndarray of uint8, shape (bases + contigs,)
        The codes, `N` behind each contig.
    lengths : sequence of int
        Bases of each contig.
    """

    def __init__(self, joined: Codes, lengths: Sequence[int]) -> None:
        self.joined = joined
        self.offsets: Ints = np.cumsum([0, *(length + 1 for length in lengths)], dtype=np.int64)
        """Place at which each contig begins; one more than there are contigs."""

    @classmethod
    def of(cls, sequences: Sequence[Codes]) -> "ContigCodes":
        """Lay out the codes of contigs; what is laid out already stays as it is."""
        if isinstance(sequences, ContigCodes):
            return sequences
        return cls.filled([len(codes) for codes in sequences], sequences)

    @classmethod
    def filled(
        cls, lengths: Sequence[int], parts: Iterable[Codes], path: Path | None = None
    ) -> "ContigCodes":
        """Lay out codes that come one contig after the other.

        Parameters
        ----------
        lengths : sequence of int
            Bases of each contig.
        parts : iterable of ndarray of uint8
            The codes of each contig; one is in memory at a time.
        path : Path, optional
            A file to make for them; removing it frees its room once nobody looks at them.

        Raises
        ------
        CoordinateError
            If a contig has another number of bases.
        """
        size = sum(lengths) + len(lengths)
        if path is None or not size:
            joined = np.empty(size, np.uint8)
        else:
            joined = np.asarray(np.memmap(path, np.uint8, "w+", shape=(size,)))
        found = cls(joined, lengths)
        for part, start, end in zip(parts, found.offsets[:-1], found.offsets[1:], strict=True):
            if len(part) != end - start - 1:
                raise CoordinateError(f"a contig of {end - start - 1} bases has {len(part)} codes")
            joined[start : end - 1], joined[end - 1] = part, N
        return found

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Codes: ...
    @overload
    def __getitem__(self, index: slice) -> list[Codes]: ...
    def __getitem__(self, index: int | slice) -> Codes | list[Codes]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self.joined[self.offsets[at] : self.offsets[at + 1] - 1]

    def places(self, contig: NDArray[Any], position: NDArray[Any]) -> Ints:
        """The place of each base."""
        places: Ints = self.offsets[contig.astype(np.int64)] + position.astype(np.int64)
        return places

    def known(self, start: Ints, width: int) -> NDArray[np.bool_]:
        """Which windows of `width` bases that start at these places have no N; any place at all."""
        known = (start >= 0) & (start + width <= len(self.joined))
        inside = np.flatnonzero(known)
        for part, bases in self.windows(start[inside], width):
            known[inside[part]] = (bases < N).all(axis=1)
        return known

    def gc_of(self, start: Ints, width: int) -> Ints:
        """G and C in the windows of `width` bases that start at these places."""
        gc = np.zeros(len(start), np.int64)
        for part, bases in self.windows(start, width):
            gc[part] = ((bases == 1) | (bases == 2)).sum(axis=1)
        return gc

    def windows(self, start: Ints, width: int) -> Iterator[tuple[slice, Codes]]:
        """Windows of `width` bases, some at a time: which, and their codes, shape (some, width)."""
        if not len(start):
            return
        every = sliding_window_view(self.joined, width)
        for first in range(0, len(start), _WINDOWS_AT_ONCE):
            part = slice(first, first + _WINDOWS_AT_ONCE)
            yield part, every[start[part]]
