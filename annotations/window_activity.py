"""The largest activation of each feature row in each window, a few rows in memory at a time.

activations.parquet  --window_cells-->  stored: two files, row after row  --columns-->  some rows
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from annotations.activations import Cells

Ints = NDArray[np.int64]

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

    @classmethod
    def stored(cls, windows: int, rows: int, cells: Iterable[Cells], folder: Path) -> "Stored":
        """Put cells into files of a folder, which the caller removes.

        Parameters
        ----------
        windows, rows : int
            How many there are.
        cells : iterable of `annotations.activations.Cells`
            Those of `annotations.activations.window_cells`.
        folder : Path
            Existing.

        Returns
        -------
        activity : Stored
            A context: its files are open within.
        """
        counts = np.zeros(rows, np.int64)
        paths = folder / "windows", folder / "values"
        with paths[0].open("wb") as window, paths[1].open("wb") as value:
            for part in cells:
                active = part.value > 0
                counts += np.bincount(part.row[active], minlength=rows)
                window.write(part.window[active].astype(_WINDOW).tobytes())
                value.write(part.value[active].astype(_VALUE).tobytes())
        bounds = np.concatenate([[0], np.cumsum(counts)])
        return Stored(windows, bounds, paths[0].open("rb"), paths[1].open("rb"))

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


class Stored(WindowActivity):
    """One whose entries are in files, open while the context lasts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for source in (self._window, self._value):
            if not isinstance(source, np.ndarray):
                source.close()


def _read(source: NDArray[Any] | BinaryIO, first: int, into: NDArray[Any]) -> None:
    """Copy entries from `first` on."""
    if isinstance(source, np.ndarray):
        into[:] = source[first : first + len(into)]
        return
    source.seek(first * into.itemsize)
    source.readinto(into.view(np.uint8).data)  # type: ignore[attr-defined]
