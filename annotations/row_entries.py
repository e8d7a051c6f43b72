"""The active bases of one feature row after the other, from a file of activations."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.activations import stretch_groups
from annotations.active_bases import row_index
from annotations.errors import StorageError
from annotations.stretches import stretch_sizes, stretch_values
from annotations.tables import column

BASES_AT_ONCE = 1 << 18
"""Active bases of a row whose places are in memory together."""


class RowEntries(NamedTuple):
    """The active bases of one feature row."""

    row: int
    """``2 * feature + (strand < 0)``."""
    start: NDArray[np.int64]
    """First base of each stretch, contigs laid end to end, ascending; shape (stretches,)."""
    size: NDArray[np.int32]
    """Bases of each stretch, shape (stretches,)."""
    code: NDArray[np.uint16]
    """Bits of the float16 values; these sort as the values do; shape (n,)."""

    @property
    def place(self) -> NDArray[np.int64]:
        """Bases, contigs laid end to end, ascending; shape (n,)."""
        return self._places(np.cumsum(self.size, dtype=np.int64), 0, len(self.code))

    def parts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint16]]]:
        """Places and codes of `BASES_AT_ONCE` bases at most: of a dense row, one after the other.

        The places of a row that is active everywhere are four times its codes, and what is
        computed from them as much again.
        """
        past = np.cumsum(self.size, dtype=np.int64)
        for low in range(0, len(self.code), BASES_AT_ONCE):
            high = min(low + BASES_AT_ONCE, len(self.code))
            yield self._places(past, low, high), self.code[low:high]

    def _places(self, past: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
        """The places of the bases in [low, high) of the row's own; `past` counts them."""
        first, last = np.searchsorted(past, [low, high - 1], side="right").tolist()
        some = slice(first, last + 1)
        before = past[some] - self.size[some]
        counts = np.minimum(past[some], high) - np.maximum(before, low)
        return np.repeat(self.start[some] - before, counts) + np.arange(low, high)


def row_entries(
    activations: ActivationSource, lengths: Sequence[int], n_features: int
) -> Iterator[RowEntries]:
    """The active bases of each feature row that has any, in order.

    Parameters
    ----------
    activations : ActivationSource
        A file of `annotations.activations.merge_stretches`; one row group is in memory, and one
        feature row.
    lengths : sequence of int
        Bases of each contig.
    n_features : int
        Features of the dictionary.

    Yields
    ------
    entries : RowEntries

    Raises
    ------
    StorageError
        If the file is not one of activations, of a larger dictionary or of other sequences.
    """
    size_of = np.array(lengths, np.int64)
    offsets = np.concatenate([[0], np.cumsum(size_of)])
    pending: list[RowEntries] = []
    for table in stretch_groups(activations):
        row = row_index(column(table, "feature"), column(table, "strand"))
        contig, start, sizes = column(table, "contig"), column(table, "start"), stretch_sizes(table)
        if not len(row):
            continue
        if int(row.max()) >= 2 * n_features or int(contig.max()) >= len(size_of):
            raise StorageError(
                f"{activations.name} holds feature {int(row.max()) // 2} and contig "
                f"{int(contig.max())}, but there are {n_features} features and {len(size_of)} "
                "contigs; give the dictionary and the sequences it was computed with"
            )
        if (start + sizes > size_of[contig]).any():
            raise StorageError(
                f"{activations.name} goes beyond the end of a contig; give the lengths of the "
                "sequences it was computed with"
            )
        ends = np.cumsum(sizes)
        bases = sizes.astype(np.int32)
        place = offsets[contig] + start
        code = stretch_values(table).view(np.uint16)
        last = np.append(np.flatnonzero(np.diff(row)), len(row) - 1)
        first = begin = 0
        for at in last.tolist():
            own = slice(first, at + 1)
            part = RowEntries(int(row[at]), place[own], bases[own], code[begin : ends[at]])
            if pending and pending[0].row != part.row:
                yield _joined(pending)
            pending.append(part)
            first, begin = at + 1, int(ends[at])
    if pending:
        yield _joined(pending)


def _joined(parts: list[RowEntries]) -> RowEntries:
    """The parts of a row as one; the list is used up."""
    if len(parts) == 1:
        return parts.pop()
    row = parts[0].row
    columns: list[list[NDArray[Any]]] = [
        [part.start for part in parts],
        [part.size for part in parts],
        [part.code for part in parts],
    ]
    parts.clear()
    # of a dense row both would be large: the parts of a column go as soon as it is one
    joined = []
    for own in columns:
        joined.append(np.concatenate(own))
        own.clear()
    return RowEntries(row, *joined)
