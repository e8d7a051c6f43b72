"""Files of a run's result that browsers of genomes read.

    Result --FILES[name]--> genes.bb, sequence.2bit, ...                one of each run
           --peaks_bigbed, peaks_bigwig, app.catalog.signal_file--> of some feature rows

Like `app.catalog` it knows no database and no HTTP. The contigs are called as the result's are:
`app.catalog.renamed` gives a result other names of them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.errors import StateError, StorageError
from annotations.gene_track import write_gene_models_bed, write_genes_bigbed
from annotations.peak_track import write_peaks_bigbed
from annotations.peaks import PEAKS_SCHEMA
from annotations.pieces import PieceFile
from annotations.sequence_files import (
    chrom_sizes,
    fasta_index,
    pieces_index,
    read_codes,
    write_named_fasta,
    write_pieces_fasta,
)
from annotations.tables import replacing
from annotations.tracks import write_peaks_bigwig
from annotations.twobit import write_2bit, write_2bit_of_pieces
from app import catalog, expectation
from app.catalog import Result
from app.expectation import EXPECTATION_FILES
from app.feature_rows import FeatureRow
from app.run_hub import about_page


def rows_filter(rows: Sequence[FeatureRow]) -> pc.Expression:
    """The lines of a table that are of some feature rows; at least one is given."""
    return reduce(or_, (row.lines for row in rows))


def peaks_bigbed(result: Result, path: Path, *, rows: Sequence[FeatureRow] | None = None) -> None:
    """Write top peaks as bigBed: of all features, or of some feature rows.

    Parameters
    ----------
    result : Result
        The files.
    path : Path
        Made or replaced; its folder exists.
    rows : sequence of FeatureRow, optional
        Only these.
    """
    chosen = None if rows is None else rows_filter(rows)
    peaks = result.table("peaks", filters=chosen)
    features = result.table("features", filters=chosen)
    write_peaks_bigbed(peaks, features, result.names, result.lengths, path)


def peaks_bigwig(result: Result, path: Path, *, row: FeatureRow) -> None:
    """Write the values of a feature row's top peaks as bigWig: 0 at every other base.

    Parameters
    ----------
    result : Result
        The files.
    path : Path
        Made or replaced; its folder exists.
    row : FeatureRow
        One that has no peak gives a track of 0.
    """
    peaks = result.table("peaks", filters=rows_filter([row]), columns=PEAKS_SCHEMA.names)
    write_peaks_bigwig(path, peaks, result.names, result.lengths, spans=result.spans)


def _genes(result: Result) -> pa.Table:
    if result.genes is None:
        raise StateError(
            "this run has no gene annotation; submit the sequences again with one (GenBank, GFF3, "
            "GTF or BED)"
        )
    return pq.read_table(result.genes)


def _sequences(result: Result) -> Path:
    if result.sequences is None:
        raise StorageError("the sequences of this run are not stored here")
    return result.sequences


def _genes_bigbed(result: Result, path: Path) -> None:
    write_genes_bigbed(_genes(result), result.names, result.lengths, path)


def _genes_bed(result: Result, path: Path) -> None:
    write_gene_models_bed(_genes(result), result.names, path)


def _two_bit(result: Result, path: Path) -> None:
    if result.spans is not None:
        with PieceFile(_sequences(result)) as source:
            write_2bit_of_pieces(path, result.names, source)
        return
    stored = [str(index) for index in range(len(result.names))]
    write_2bit(path, result.names, read_codes(_sequences(result), stored, result.lengths))


def _fasta(result: Result, path: Path) -> None:
    if result.spans is not None:
        write_pieces_fasta(_sequences(result), path, result.names)
        return
    write_named_fasta(_sequences(result), path, result.names)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _fasta_index(result: Result, path: Path) -> None:
    if result.spans is not None:
        _write(path, pieces_index(_sequences(result), result.names))
        return
    _write(path, fasta_index(result.names, result.lengths))


def _chrom_sizes(result: Result, path: Path) -> None:
    _write(path, chrom_sizes(result.names, result.lengths))


def _provenance(result: Result, path: Path) -> None:
    record = catalog.named_provenance(result)
    _write(path, json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _about(result: Result, path: Path) -> None:
    _write(path, about_page(result))


class TrackFile(NamedTuple):
    """A file that there is one of for each run."""

    content_type: str
    what: str
    """For the interface's document."""
    make: Callable[[Result, Path], None]
    """Writes it, whole or not at all."""
    on_genomes: bool = False
    """Whether it comes with the names of a genome that browsers know, too."""


BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"

FILES: Final[Mapping[str, TrackFile]] = {
    "genes.bb": TrackFile(
        BINARY, "Genes as bigBed, BED12 with the transcript.", _genes_bigbed, True
    ),
    "genes.bed": TrackFile(TEXT, "Genes as BED12.", _genes_bed, True),
    "sequence.2bit": TrackFile(BINARY, "The sequences as 2bit; IUPAC codes are N.", _two_bit),
    "sequence.fa": TrackFile(
        TEXT,
        "The sequences as FASTA, 80 bases a line; of a run over regions what it read, by locus.",
        _fasta,
    ),
    "sequence.fa.fai": TrackFile(TEXT, "The index of sequence.fa.", _fasta_index),
    "chrom.sizes": TrackFile(TEXT, "Names and lengths of the sequences.", _chrom_sizes),
    "provenance.json": TrackFile(JSON, "Who made the result, from what.", _provenance),
    "about.html": TrackFile(HTML, "What the tracks show, for people.", _about),
}
"""Files of a run by name."""

EXPECTATION_TRACKS: Final[Mapping[str, TrackFile]] = {
    name: TrackFile(
        BINARY,
        f"{file.what.format(sides='given the bases that its model reads')}, bigWig; of a run with "
        "the option expectation.",
        partial(expectation.track_file, track=file.track),
        True,
    )
    for name, file in EXPECTATION_FILES.items()
}
"""Files by name that only a run with the option expectation has."""
