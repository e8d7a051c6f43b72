"""How often a motif is expected in windows of a given GC content where a feature is silent."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from annotations.motif_windows import Corpus, Windows
from annotations.window_activity import WindowActivity, parts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GC_SD: Final = 0.01
"""Standard deviation of the GC kernel, as a share of the window."""


class Silence(NamedTuple):
    """The background, and for each feature row the part of it in which the row is silent."""

    activity: WindowActivity
    """Of shape (background windows, rows)."""
    gc: Ints
    """G and C of each background window."""
    held: sparse.csr_array
    """Motifs of each background window."""
    held_by_gc: Floats
    """Shape (width + 1, motifs): background windows with the motif."""
    silent_by_gc: Floats
    """Shape (rows, width + 1): background windows in which the row is silent."""
    kernel: Floats
    """Shape (width + 1, width + 1): weight of a background window, 1 at equal GC."""
    weight: Floats
    """Shape (rows, width + 1): silent windows about each GC, weighted by the kernel."""

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        background: Windows,
        activity: WindowActivity,
        width: int,
    ) -> "Silence":
        """Count background windows by GC; `activity` has shape (windows, rows)."""
        start = corpus.codes.places(background.contig, background.start)
        gc, held = corpus.codes.gc_of(start, width), corpus.motifs_in(start, width)
        strata = sparse.csr_array(
            (np.ones(len(gc)), (np.arange(len(gc)), gc)), shape=(len(gc), width + 1)
        )
        silent = np.tile(strata.sum(axis=0), (activity.shape[1], 1))
        for part in parts(activity.counts):
            own = np.arange(part.start, part.stop)
            silent[part] -= (_active(activity, own) @ strata).toarray()
        grid = np.arange(width + 1) / width
        kernel = np.exp(-0.5 * ((grid[:, None] - grid) / GC_SD) ** 2)
        return cls(
            activity=activity,
            gc=gc,
            held=held,
            held_by_gc=(strata.T @ held).toarray(),
            silent_by_gc=silent,
            kernel=kernel,
            weight=silent @ kernel,
        )

    @property
    def rows(self) -> int:
        """Feature rows."""
        return int(self.silent_by_gc.shape[0])

    @property
    def windows(self) -> Floats:
        """Windows in which each row is silent."""
        total: Floats = self.silent_by_gc.sum(axis=1)
        return total

    def expected(self, rows: Ints, local: Ints, gc: Ints) -> tuple[Floats, Floats]:
        """Expected loci with each motif, shape (rows, motifs), and background windows behind it.

        Locus i belongs to ``rows[local[i]]`` and has ``gc[i]`` G and C; its `weight` is not 0.
        Each locus takes the kernel-weighted mean over the silent windows, so each silent window
        has one weight per row that depends on its GC only. All windows are summed by GC first,
        then those in which the row is active are taken out. Of weights w the effective number of
        windows is ``sum(w)**2 / sum(w**2)`` (Kish).
        """
        bins = self.kernel.shape[0]
        loci = np.bincount(local * bins + gc, minlength=len(rows) * bins).reshape(-1, bins)
        weight = self.weight[rows]
        by_gc = np.divide(loci, weight, out=np.zeros_like(weight), where=loci > 0) @ self.kernel
        expected: Floats = by_gc @ self.held_by_gc
        for part in parts(self.activity.counts[rows]):
            active = _active(self.activity, rows[part])
            taken = np.repeat(np.arange(active.shape[0]), np.diff(active.indptr))
            active.data = by_gc[part][taken, self.gc[active.indices]]
            expected[part] -= (active @ self.held).toarray()
        spread = (by_gc**2 * self.silent_by_gc[rows]).sum(axis=1)
        windows: Floats = loci.sum(axis=1) ** 2 / spread
        return expected, windows


def _active(activity: WindowActivity, rows: Ints) -> sparse.csr_array:
    """1.0 where a row is active in a window, shape (rows, windows)."""
    active = activity.columns(rows).T
    return sparse.csr_array(
        (np.ones(len(active.data)), active.indices, active.indptr), shape=active.shape
    )
