"""The largest activation of each feature row in each window, a few rows in memory at a time.

activations.parquet  --window_cells-->  stored: two files, row after row  --columns-->  some rows
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from annotations.activations import Cells

Ints = NDArray[np.int64]

ENTRIES: Final = 250_000
"""Active windows of some rows that are looked at together."""

_WINDOW, _VALUE = np.dtype(np.int32), np.dtype(np.float32)


class WindowActivity:
    """Activations of feature rows in windows, in memory or in files; silent windows are left out.

    Parameters
    ----------
    windows : int
        How many windows there are.
    bounds : ndarray of int64, shape (rows + 1,)
        Entry at which each row begins, and the end.
    window, value : ndarray of int32 and of float32, shape (entries,), or binary file of as many
        Of each entry the window, ascending within a row, and the value, which is above 0.
    """

    def __init__(
        self,
        windows: int,
        bounds: Ints,
        window: NDArray[np.int32] | BinaryIO,
        value: NDArray[np.float32] | BinaryIO,
    ) -> None:
        self.shape = (windows, len(bounds) - 1)
        self.counts: Ints = np.diff(bounds)
        """Windows in which each row is active, shape (rows,)."""
        self._bounds, self._window, self._value = bounds, window, value

    @classmethod
    def of(cls, activity: "WindowActivity | sparse.sparray | sparse.spmatrix") -> "WindowActivity":
        """A sparse array of shape (windows, rows) as one of these; one of these as it is."""
        if isinstance(activity, WindowActivity):
            return activity
        columns = sparse.csc_array(activity, dtype=np.float32, copy=True)
        columns.sum_duplicates()
        columns.eliminate_zeros()
        bounds = columns.indptr.astype(np.int64)
        return cls(activity.shape[0], bounds, columns.indices.astype(_WINDOW), columns.data)

    def columns(self, rows: Ints) -> sparse.csc_array:
        """Some rows, ascending.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)

        Returns
        -------
        columns : csc_array of float32, shape (windows, n)
        """
        bounds = np.concatenate([[0], np.cumsum(self.counts[rows])])
        window, value = np.empty(bounds[-1], _WINDOW), np.empty(bounds[-1], _VALUE)
        # rows that follow each other are read at once
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for first, last in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            if first < last:
                own = slice(bounds[first], bounds[last])
                begin = int(self._bounds[rows[first]])
                _read(self._window, begin, window[own])
                _read(self._value, begin, value[own])
        return sparse.csc_array((value, window, bounds), shape=(self.shape[0], len(rows)))


@contextmanager
def stored(
    sizes: Sequence[int], rows: int, cells: Iterable[Cells], folder: Path
) -> Iterator[tuple[WindowActivity, ...]]:
    """Activations in some sets of windows, in files; the cells are gone through once for all sets.

    Parameters
    ----------
    sizes : sequence of int
        Windows of each set; in the cells the sets follow each other.
    rows : int
        How many there are.
    cells : iterable of `annotations.activations.Cells`
        Those of `annotations.activations.window_cells`.
    folder : Path
        Existing; its files are open while the context lasts, and gone afterwards.

    Yields
    ------
    activities : tuple of WindowActivity
        Of each set.
    """
    past = np.cumsum(sizes, dtype=np.int64)
    counts = np.zeros((len(sizes), rows), np.int64)
    with TemporaryDirectory(dir=folder, prefix="windows-") as made, ExitStack() as opened:
        files = [
            (
                opened.enter_context((Path(made) / f"windows{number}").open("w+b")),
                opened.enter_context((Path(made) / f"values{number}").open("w+b")),
            )
            for number in range(len(sizes))
        ]
        for part in cells:
            active = part.value > 0
            of = np.searchsorted(past, part.window, side="right")
            for number, (window, value) in enumerate(files):
                own = active & (of == number)
                counts[number] += np.bincount(part.row[own], minlength=rows)
                first = past[number] - sizes[number]
                window.write((part.window[own] - first).astype(_WINDOW).tobytes())
                value.write(part.value[own].astype(_VALUE).tobytes())
        yield tuple(
            WindowActivity(size, np.concatenate([[0], np.cumsum(count)]), *own)
            for size, count, own in zip(sizes, counts, files, strict=True)
        )


def parts(counts: Ints) -> list[slice]:
    """Cut a list of rows or pairs so that each part has about `ENTRIES` entries, or one of them.

    Parameters
    ----------
    counts : ndarray of int64, shape (n,)
        Entries of each.
    """
    if not len(counts):
        return []
    part = np.cumsum(counts) // ENTRIES
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(counts)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def _read(source: NDArray[Any] | BinaryIO, first: int, into: NDArray[Any]) -> None:
    """Copy entries from `first` on."""
    if isinstance(source, np.ndarray):
        into[:] = source[first : first + len(into)]
        return
    source.seek(first * into.itemsize)
    source.readinto(into.view(np.uint8).data)  # type: ignore[attr-defined]
