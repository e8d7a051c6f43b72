"""Gene annotation of a submission: BED, BED12, GFF3 or GTF -> one table of intervals.

Names of contigs must be those of the sequences. They are never matched by guessing: a `chr` prefix
that only one side has is said in the error.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import BinaryIO, Literal

import pyarrow as pa

from annotations.compression import lines
from annotations.contig_aliases import ContigNames
from annotations.errors import FormatError
from annotations.gene_formats import Line, Placement, read_bed
from annotations.gff import read_gff3, read_gtf
from annotations.transcripts import GENES_SCHEMA, KINDS, MIN_INTRON, gene_table, skipped_entries
from annotations.types import Contig

__all__ = ["GENES_SCHEMA", "KINDS", "MIN_INTRON", "gene_table", "read_genes", "skipped_entries"]

MAX_BYTES = 2_000_000_000
"""Decompressed bytes of an annotation file; the human GTF of GENCODE has 1.5 GB."""

WHAT = "annotation file"
"""What messages call the file."""

Format = Literal["bed", "gff3", "gtf"]

_EXTENSIONS: dict[str, Format] = {".bed": "bed", ".bed12": "bed", ".gff3": "gff3", ".gtf": "gtf"}
_READERS = {"bed": read_bed, "gff3": read_gff3, "gtf": read_gtf}


def read_genes(
    source: BinaryIO | Path,
    contigs: Sequence[Contig],
    *,
    filename: str | None = None,
    max_bytes: int = MAX_BYTES,
    names: ContigNames | None = None,
) -> pa.Table:
    """Read a gene annotation, plain, gzip or bgzip.

    Parameters
    ----------
    source : binary file or Path
        Read to its end.
    contigs : sequence of Contig
        The sequences annotated; their order numbers the contigs of the table.
    filename : str, optional
        As the user calls the file: `.bed`, `.gff3` or `.gtf` (and `.gz` or `.bgz`) says the
        format. Any other name, and `.gff`, which is used for both, leaves it to the first line.
        The name of `source` if that is a path.
    max_bytes : int
        Decompressed bytes allowed.
    names : ContigNames, optional
        Of `contigs`, with what else they are called.

    Returns
    -------
    genes : pyarrow.Table
        `GENES_SCHEMA`, sorted by (contig, start, end). `skipped_entries` says what of the file
        is not in it and why, lines on contigs that `contigs` do not have among it.

    Raises
    ------
    FormatError
        If a line is malformed (with its number), no line lies on the sequences, or nothing in the
        file is a gene interval; and as `annotations.compression.chunks`.
    CoordinateError
        If an interval is reversed or outside its contig (with the line number).
    LimitError
        If the file is larger than `max_bytes`.
    """
    if filename is None:
        filename = source.name if isinstance(source, Path) else ""
    text = lines(source, max_bytes=max_bytes, what=WHAT)
    layout = _EXTENSIONS.get(_extension(filename))
    if layout is None:
        layout, text = _told_from_content(text)
    placement = Placement(contigs, names=names)
    genes = gene_table(_READERS[layout](text, placement))
    placement.require_match()
    if not genes.num_rows:
        raise FormatError(
            "the annotation file holds no genes, transcripts, exons or CDS on the sequences"
        )
    return genes


def _extension(filename: str) -> str:
    path = PurePath(filename.lower())
    return (path.with_suffix("") if path.suffix in {".gz", ".bgz"} else path).suffix


def _told_from_content(text: Iterator[Line]) -> tuple[Format, Iterator[Line]]:
    """The format of a file by its first line of data, and the lines again."""
    seen: list[Line] = []
    for number, line in text:
        seen.append((number, line))
        if line.startswith("##gff-version 3"):
            return "gff3", chain(seen, text)
        if line.strip() and not line.startswith(("#", "track", "browser")):
            return _format_of(number, line), chain(seen, text)
    raise FormatError("the annotation file holds no intervals")


def _format_of(number: int, line: str) -> Format:
    if line.startswith("LOCUS"):
        raise FormatError(
            "the annotation file is GenBank; send it as the sequence file, its features are read "
            "from there"
        )
    fields = line.split("\t")
    if len(fields) == 9 and fields[3].isdigit() and fields[4].isdigit():
        return "gtf" if re.match(r'\s*[\w.-]+ +"', fields[8]) else "gff3"
    columns = line.split()
    if len(columns) >= 3 and columns[1].isdigit() and columns[2].isdigit():
        return "bed"
    raise FormatError(f"line {number} of the annotation file is not BED, BED12, GFF3 or GTF")
