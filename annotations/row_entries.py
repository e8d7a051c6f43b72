"""The active bases of one feature row after the other, from a file of activations."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.activations import stretch_groups
from annotations.active_bases import row_index
from annotations.errors import StorageError
from annotations.stretches import stretch_sizes, stretch_values
from annotations.tables import column


class RowEntries(NamedTuple):
    """The active bases of one feature row."""

    row: int
    """``2 * feature + (strand < 0)``."""
    place: NDArray[np.int64]
    """Bases, contigs laid end to end, ascending; shape (n,)."""
    code: NDArray[np.uint16]
    """Bits of the float16 values; these sort as the values do; shape (n,)."""


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
        shift = offsets[contig] + start - (ends - sizes)
        place = np.repeat(shift, sizes) + np.arange(ends[-1])
        code = stretch_values(table).view(np.uint16)
        last = np.append(np.flatnonzero(np.diff(row)), len(row) - 1)
        begin = 0
        for at in last.tolist():
            part = RowEntries(int(row[at]), place[begin : ends[at]], code[begin : ends[at]])
            if pending and pending[0].row != part.row:
                yield _joined(pending)
                pending = []
            pending.append(part)
            begin = int(ends[at])
    if pending:
        yield _joined(pending)


def _joined(parts: Sequence[RowEntries]) -> RowEntries:
    if len(parts) == 1:
        return parts[0]
    return RowEntries(
        parts[0].row,
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.code for part in parts]),
    )
