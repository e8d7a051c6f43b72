"""A finished result as files that people and other programs read.

The result of a computation numbers its contigs; here they get the names the user gave.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotations.errors import StorageError
from annotations.memory import return_memory
from annotations.tables import column, with_contig_names, write_tsv
from annotations.tracks import write_peaks_bed
from annotations.types import Contig

CONTIGS_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("refget", pa.string(), nullable=False),
    ]
)
"""The contigs of a result, in order."""


def export(folder: Path, contigs: Sequence[Contig]) -> list[Path]:
    """Write the tables of a result as text.

    Parameters
    ----------
    folder : Path
        Holds the files of `workers.merge.merge`; the new files are put beside them.
    contigs : sequence of Contig
        Those of the submission, in order, with the user's names.

    Returns
    -------
    written : list of Path
        features.tsv, peaks.tsv, peaks.bed, matches.tsv, concepts.tsv, contigs.tsv and
        contigs.parquet.

    Raises
    ------
    StorageError
        If a file of the result is missing.
    """
    names = [contig.name for contig in contigs]
    listed = pa.table(
        [
            pa.array(names, pa.string()),
            pa.array([contig.length for contig in contigs], pa.int64()),
            pa.array([contig.digest for contig in contigs], pa.string()),
        ],
        schema=CONTIGS_SCHEMA,
    )
    for name in ("features", "matches", "concepts"):
        write_tsv(_read(folder, name), folder / f"{name}.tsv")
    # few different texts, many peaks
    peaks = _read(folder, "peaks", dictionary=True)
    write_tsv(with_contig_names(peaks, names), folder / "peaks.tsv")
    return_memory()
    write_peaks_bed(for_bed(peaks, _read(folder, "features")), names, folder / "peaks.bed")
    write_tsv(listed, folder / "contigs.tsv")
    pq.write_table(listed, folder / "contigs.parquet")
    return [
        folder / name
        for name in (
            "features.tsv",
            "peaks.tsv",
            "peaks.bed",
            "matches.tsv",
            "concepts.tsv",
            "contigs.tsv",
            "contigs.parquet",
        )
    ]


def read_contigs(path: Path) -> list[Contig]:
    """The contigs of a result, as `export` wrote them to contigs.parquet."""
    return [Contig(*row.values()) for row in pq.read_table(path).to_pylist()]


def for_bed(peaks: pa.Table, features: pa.Table) -> pa.Table:
    """Peaks with the label columns of a BED file: label, motif and gene."""
    known = features.filter(features.column("label").is_valid())
    keys = column(known, "feature").astype(np.int64) * 2 + (column(known, "strand") < 0)
    wanted = column(peaks, "feature").astype(np.int64) * 2 + (column(peaks, "strand") < 0)
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))
    if len(keys):
        index = pa.array(order[at], mask=keys[order][at] != wanted)
        # a dictionary: the same text stands at many peaks
        label = known.column("label").combine_chunks().dictionary_encode().take(index)
    else:
        label = pa.nulls(len(wanted), pa.string())
    return (
        peaks.append_column("label", label)
        .append_column("motif", peaks.column("motif_name"))
        .append_column("gene", peaks.column("gene_name"))
    )


def _read(folder: Path, name: str, *, dictionary: bool = False) -> pa.Table:
    """A table of a result; where asked for, with text as indices into the different ones."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise StorageError(f"the result has no {path.name}; it is cut or was not finished")
    schema = pq.read_schema(path) if dictionary else pa.schema([])
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.read_table(path, read_dictionary=text)
