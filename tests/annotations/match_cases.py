"""Sequences, peaks and hits for the tests of matching."""

import numpy as np
import pyarrow as pa
from scipy import sparse

from annotations.jaspar import Motif
from annotations.motif_scan import HITS_SCHEMA


def isochores(random: np.random.Generator, length: int) -> np.ndarray:
    """Random bases whose GC content drifts between 25 % and 55 % over a few hundred bases."""
    knots = random.uniform(0.25, 0.55, length // 250 + 2)
    gc = np.interp(np.arange(length), np.arange(len(knots)) * 250, knots)
    is_gc, second = random.random(length) < gc, random.random(length) < 0.5
    return np.where(is_gc, np.where(second, 2, 1), np.where(second, 3, 0)).astype(np.uint8)


def peaks_of(rows: list[tuple[int, int, np.ndarray, np.ndarray]]) -> pa.Table:
    """Peaks of (feature, strand, contigs, positions), each list strongest first."""
    parts = []
    for feature, strand, contigs, positions in rows:
        n = len(positions)
        parts.append(
            pa.table(
                {
                    "feature": pa.array([feature] * n, pa.uint32()),
                    "strand": pa.array([strand] * n, pa.int8()),
                    "contig": pa.array(contigs, pa.uint32()),
                    "position": pa.array(positions, pa.int64()),
                    "value": pa.array(np.linspace(9, 1, n), pa.float32()),
                }
            )
        )
    return pa.concat_tables(parts)


def silent(windows: int, features: int) -> sparse.csr_array:
    """Activity of features that never fire."""
    return sparse.csr_array((windows, 2 * features), dtype=np.float32)


def toy_motif() -> Motif:
    """A motif that nobody scans for."""
    return Motif("M.1", "TOY", np.ones((4, 6)), (), (), "fungi", ())


def even_gc(length: int) -> np.ndarray:
    """Random bases of which any 101 in a row hold 50 of G and C: which places of every 101 do is
    fixed. So every window weighs the same and expectations are plain means."""
    random = np.random.default_rng(0)
    is_gc = np.isin(np.arange(length) % 101, random.choice(101, 50, replace=False))
    second = random.random(length) < 0.5
    return np.where(is_gc, np.where(second, 2, 1), np.where(second, 3, 0)).astype(np.uint8)


def hits_at(starts: list[int], width: int = 6) -> pa.Table:
    """Hits of motif 0 on contig 0."""
    n = len(starts)
    return pa.table(
        {
            "motif": [0] * n,
            "contig": [0] * n,
            "start": starts,
            "end": [start + width for start in starts],
            "strand": [1] * n,
            "score": [9.0] * n,
            "p": [1e-4] * n,
        },
        schema=HITS_SCHEMA,
    )
