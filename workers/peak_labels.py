"""What stands at the top peaks of a computation, as columns beside each peak."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.jaspar import MotifCatalogue
from annotations.labels import gene_parts, near_hits
from annotations.tables import column


class LabelledPeaks(NamedTuple):
    """Peaks and what stands there."""

    table: pa.Table
    """The peaks, with columns held_out (whether on a contig that discovery does not see),
    motif_id, motif_name, motif_offset (bases, in the sense of the pass), motif_strand (of the
    sequence), motif_score (log2 odds), motif_threshold_p (the p that the motif's threshold
    attains: the same for all its hits, and not the p of this one), genes (kinds, joined by a
    semicolon) and gene_name; null where nothing stands or is known."""
    motif: NDArray[np.int64]
    """Index in the catalogue of the best motif near each peak; -1 for none."""
    kind: NDArray[np.int64] | None
    """Index in `annotations.labels.KINDS` of the most specific gene part; its length for none."""
    catalogue: MotifCatalogue | None
    """Where the motifs come from; None where none were looked for."""


class GenePlaces(NamedTuple):
    """The bases at which peaks stand, each once, and the gene parts there."""

    number: int
    """How many bases there are."""
    of: NDArray[np.int64]
    """Which base each peak stands at, shape (peaks,)."""
    place: NDArray[np.int64]
    """Base of each overlap, shape (overlaps,)."""
    part: NDArray[np.int64]
    """Row of the gene part of each overlap, shape (overlaps,)."""


def label_peaks(
    peaks: pa.Table,
    hits: pa.Table,
    catalogue: MotifCatalogue | None,
    genes: pa.Table | None,
    places: GenePlaces | None,
    *,
    held_out: Collection[int] = (),
) -> LabelledPeaks:
    """Put the best motif hit and the gene parts beside each peak.

    Parameters
    ----------
    peaks : Table of `annotations.peaks.TOP_PEAKS_SCHEMA`
        The peaks.
    hits : Table of `annotations.motif_scan.HITS_SCHEMA`
        Motif hits of the same sequences; empty where no motifs were looked for.
    catalogue : MotifCatalogue or None
        What `hits` index.
    genes : Table of `annotations.genes.GENES_SCHEMA` or None
        Gene parts of the same sequences.
    places : GenePlaces or None
        The bases of `peaks`, and the rows of `genes` that lie there.
    held_out : collection of int
        Contigs that discovery does not see.

    Returns
    -------
    labelled : LabelledPeaks
        One row per peak, in the order given.
    """
    aside = np.isin(column(peaks, "contig"), list(held_out))
    peaks = peaks.append_column(pa.field("held_out", pa.bool_(), nullable=False), pa.array(aside))
    table, motif = _with_motifs(peaks, hits, catalogue)
    if genes is None or places is None:
        nothing = pa.nulls(peaks.num_rows, pa.string())
        table = table.append_column("genes", nothing).append_column("gene_name", nothing)
        return LabelledPeaks(table, motif, None, catalogue)
    parts = gene_parts(places.number, places.place, places.part, genes)
    of = pa.array(places.of)
    table = table.append_column("genes", parts.kinds.take(of))
    table = table.append_column("gene_name", parts.names.take(of))
    return LabelledPeaks(table, motif, parts.primary[places.of], catalogue)


def _with_motifs(
    peaks: pa.Table, hits: pa.Table, catalogue: MotifCatalogue | None
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Peaks with the columns of the best motif hit, and the index of its motif."""
    near = near_hits(
        column(peaks, "contig"), column(peaks, "position"), column(peaks, "strand"), hits
    )
    found = near.row >= 0
    rows = pa.array(near.row, mask=~found)
    motif = np.where(found, -1, -1)
    if found.any():
        motif[found] = column(hits, "motif")[near.row[found]]
    motifs = catalogue.motifs if catalogue is not None else ()
    index = pa.array(motif, mask=~found)
    columns = {
        "motif_id": pa.array([m.matrix_id for m in motifs], pa.string()).take(index),
        "motif_name": pa.array([m.name for m in motifs], pa.string()).take(index),
        "motif_offset": pa.array(near.offset.astype(np.int32), mask=~found),
        "motif_strand": hits.column("strand").take(rows),
        "motif_score": hits.column("score").take(rows),
        "motif_threshold_p": hits.column("p").take(rows),
    }
    for name, values in columns.items():
        peaks = peaks.append_column(name, values)
    return peaks, motif
