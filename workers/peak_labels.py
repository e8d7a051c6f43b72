"""What stands at the top peaks of a computation, as columns beside each peak."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.intervals import overlaps
from annotations.jaspar import MotifCatalogue
from annotations.labels import NearHits, distinct, gene_parts, near_hits
from annotations.memory import return_memory
from annotations.tables import TEXT_ROWS, column

GROUP_PEAKS = 1 << 20
"""Peaks of a row group of the file of peaks, as `pyarrow.parquet.write_table` divides a table."""

BASES_AT_ONCE = 1 << 18
"""Bases whose gene parts are looked up together: text of what lies at them is held meanwhile."""


class GenePlaces(NamedTuple):
    """The bases at which peaks stand, each once, and the gene parts there."""

    of: NDArray[np.int32]
    """Which base each peak stands at, shape (peaks,)."""
    kinds: pa.DictionaryArray
    """As of `annotations.labels.GeneParts`, of each base."""
    names: pa.DictionaryArray
    """The same."""
    primary: NDArray[np.int8]
    """The same, shape (bases,)."""


class LabelledPeaks(NamedTuple):
    """Peaks and what stands there, as numbers: text for every peak would be more than all else."""

    peaks: pa.Table
    """As given."""
    held_out: NDArray[np.bool_]
    """Whether each lies on a contig that discovery does not see."""
    hits: pa.Table
    """As given."""
    near: NearHits
    """The best motif hit near each peak."""
    motif: NDArray[np.int32]
    """Index in the catalogue of the best motif near each peak; -1 for none."""
    genes: GenePlaces | None
    """Gene parts at the peaks."""
    catalogue: MotifCatalogue | None
    """Where the motifs come from; None where none were looked for."""

    @property
    def kind(self) -> NDArray[np.int8] | None:
        """Index in `annotations.labels.KINDS` of the most specific gene part; its length for none.

        Of each peak; None without genes.
        """
        return None if self.genes is None else self.genes.primary[self.genes.of]

    def tables(self) -> Iterator[pa.Table]:
        """The peaks with columns for people, `GROUP_PEAKS` at a time; one empty table of none.

        Yields
        ------
        table : Table
            Columns of the peaks and held_out (whether on a contig that discovery does not see),
            motif_id, motif_name, motif_offset (bases, in the sense of the pass), motif_strand (of
            the sequence), motif_score (log2 odds), motif_threshold_p (the p that the motif's
            threshold attains: the same for all its hits, and not the p of this one), genes (kinds,
            joined by a semicolon) and gene_name; null where nothing stands or is known.
        """
        for first in range(0, max(1, self.peaks.num_rows), GROUP_PEAKS):
            end = min(first + GROUP_PEAKS, self.peaks.num_rows)
            return_memory()
            # what is made on the way to text is several times the text
            table = pa.concat_tables(
                self._part(slice(start, min(start + TEXT_ROWS, end)))
                for start in range(first, max(end, first + 1), TEXT_ROWS)
            )
            return_memory()
            yield table
            del table

    def _part(self, rows: slice) -> pa.Table:
        """Some rows of `tables`."""
        found = self.near.row[rows] >= 0
        hit, motif = pa.array(self.near.row[rows], mask=~found), self.motif[rows]
        index = pa.array(motif, mask=~found)
        motifs = self.catalogue.motifs if self.catalogue is not None else ()
        columns = {
            "motif_id": pa.array([m.matrix_id for m in motifs], pa.string()).take(index),
            "motif_name": pa.array([m.name for m in motifs], pa.string()).take(index),
            "motif_offset": pa.array(self.near.offset[rows].astype(np.int32), mask=~found),
            "motif_strand": self.hits.column("strand").take(hit),
            "motif_score": self.hits.column("score").take(hit),
            "motif_threshold_p": self.hits.column("p").take(hit),
        }
        if self.genes is None:
            columns |= dict.fromkeys(("genes", "gene_name"), pa.nulls(len(found), pa.string()))
        else:
            base = pa.array(self.genes.of[rows])
            columns["genes"] = self.genes.kinds.take(base).cast(pa.string())
            columns["gene_name"] = self.genes.names.take(base).cast(pa.string())
        table = self.peaks.slice(rows.start, len(found)).append_column(
            pa.field("held_out", pa.bool_(), nullable=False), pa.array(self.held_out[rows])
        )
        for name, values in columns.items():
            table = table.append_column(name, values)
        return table


def label_peaks(
    peaks: pa.Table,
    hits: pa.Table,
    catalogue: MotifCatalogue | None,
    genes: GenePlaces | None,
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
    genes : GenePlaces or None
        Of these peaks.
    held_out : collection of int
        Contigs that discovery does not see.

    Returns
    -------
    labelled : LabelledPeaks
        Of each peak, in the order given.
    """
    aside = np.isin(column(peaks, "contig"), list(held_out))
    near = near_hits(
        column(peaks, "contig"), column(peaks, "position"), column(peaks, "strand"), hits
    )
    found = near.row >= 0
    motif = np.full(len(found), -1, np.int32)
    if found.any():
        motif[found] = column(hits, "motif")[near.row[found]]
    return LabelledPeaks(peaks, aside, hits, near, motif, genes, catalogue)


def gene_places(
    peaks: pa.Table, genes: pa.Table, lengths: Sequence[int], directory: Path
) -> GenePlaces:
    """Which gene parts lie at each peak; each base is asked about once, some bases at a time.

    Parameters
    ----------
    peaks : Table
        Columns contig and position.
    genes : Table of `annotations.genes.GENES_SCHEMA`
        Gene parts of the same sequences.
    lengths : sequence of int
        Bases of each contig.
    directory : Path
        As for `annotations.intervals.overlaps`.

    Raises
    ------
    CoordinateError, ToolError
        As `annotations.intervals.overlaps`.
    """
    loci, of = distinct(locus_index(column(peaks, "contig"), column(peaks, "position")))
    kinds, names, primary = [], [], [np.empty(0, np.int8)]
    for first in range(0, max(1, len(loci)), BASES_AT_ONCE):
        own = loci[first : first + BASES_AT_ONCE]
        position = (own & np.uint64(LARGEST_POSITION)).astype(np.int64)
        bases = pa.table(
            {
                "contig": pa.array((own >> np.uint64(32)).astype(np.uint32)),
                "start": pa.array(position),
                "end": pa.array(position + 1),
            }
        )
        found = overlaps(bases, genes, lengths=lengths, directory=directory)
        parts = gene_parts(len(own), found.left, found.right, genes)
        kinds.append(parts.kinds.dictionary_encode())
        names.append(parts.names.dictionary_encode())
        primary.append(parts.primary.astype(np.int8))
        del found, parts
        return_memory()
    return GenePlaces(of, _joined(kinds), _joined(names), np.concatenate(primary))


def _joined(parts: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    """Parts of one column, with one dictionary."""
    return pa.chunked_array(parts).unify_dictionaries().combine_chunks()
