"""Gene models of any format, and the intervals that follow from them.

    exons and CDS of a transcript --gene_table--> exon, intron, CDS, UTR, splice site, TSS rows

Coordinates are 0-based and half-open. What is not known gives no row: no splice site, UTR or TSS
without a strand, and no TSS where the annotated transcript begins with its start codon or is
marked as incomplete at its 5' end, since the true start is then elsewhere.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa

Interval = tuple[int, int]
"""Start and end on a contig, 0-based and half-open."""

KINDS = (
    "gene",
    "exon",
    "intron",
    "CDS",
    "UTR5",
    "UTR3",
    "splice_donor",
    "splice_acceptor",
    "TSS",
    "region",
)
"""Kinds of interval. `splice_donor` is the first and `splice_acceptor` the last 2 bases of an
intron in the sense of the gene, `TSS` the first base of a transcript, `region` a row of a BED file
that says nothing about genes."""

MIN_INTRON = 10
"""Bases; a shorter gap between exons is a frameshift or ribosomal slippage, not an intron."""

SPLICE_SITE = 2
"""Bases of a splice donor or acceptor."""

GENES_SCHEMA = pa.schema(
    [
        pa.field("contig", pa.uint32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("transcript", pa.string(), nullable=False),
    ]
)
"""Gene intervals. `contig` is the index in the submission, `strand` +1, -1 or 0 (unknown), `kind`
one of `KINDS`, `name` the gene's symbol or id, `transcript` the transcript's id or empty."""

_SKIPPED = b"skipped"


class Transcript(NamedTuple):
    """One transcript, on one strand of one contig."""

    contig: int
    strand: int
    """+1, -1 or 0 (unknown)."""
    name: str
    """Of its gene."""
    transcript: str
    """Its own id; may be empty."""
    exons: tuple[Interval, ...]
    """At least one, in any order; may touch or overlap."""
    cds: tuple[Interval, ...] = ()
    """Coding pieces, stop codon included; empty if not coding."""
    open_start: bool = False
    """Whether the source says that the 5' end lies further out."""
    spliced: bool = True
    """Whether gaps between the exons are introns. In a pseudogene of which only coding pieces are
    annotated they are what broke it, such as an insertion element."""


class Row(NamedTuple):
    """One row of `GENES_SCHEMA`."""

    contig: int
    start: int
    end: int
    strand: int
    kind: str
    name: str
    transcript: str


@dataclass
class GeneModels:
    """What a reader of one format hands over."""

    transcripts: list[Transcript] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """Rows that stand as they are: genes, regions, unattached exons and introns."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Entries that were left out, by reason."""


def gene_table(models: GeneModels) -> pa.Table:
    """All intervals of the models as one table.

    Returns
    -------
    genes : pyarrow.Table
        `GENES_SCHEMA`, sorted by all of its columns, each row once. `skipped_entries` reads from
        it what was left out.
    """
    rows = set(models.rows)
    for transcript in models.transcripts:
        rows.update(transcript_rows(transcript))
    columns = list(zip(*sorted(rows), strict=True)) or [()] * len(GENES_SCHEMA)
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, GENES_SCHEMA, strict=True)],
        schema=GENES_SCHEMA,
    )
    return table.replace_schema_metadata({_SKIPPED: json.dumps(dict(models.skipped)).encode()})


def skipped_entries(genes: pa.Table) -> dict[str, int]:
    """How many entries of the source were left out of a table of `gene_table`, by reason."""
    stored = (genes.schema.metadata or {}).get(_SKIPPED, b"{}")
    return {str(reason): int(count) for reason, count in json.loads(stored).items()}


def transcript_rows(transcript: Transcript) -> Iterator[Row]:
    """The exon, intron, CDS, UTR, splice site and TSS rows of one transcript."""

    def row(interval: Interval, kind: str) -> Row:
        return Row(
            transcript.contig,
            *interval,
            transcript.strand,
            kind,
            transcript.name,
            transcript.transcript,
        )

    blocks = merged(transcript.exons)
    for exon in blocks:
        yield row(exon, "exon")
    for coding in merged(transcript.cds):
        yield row(coding, "CDS")
    for (_, start), (end, _) in pairwise(blocks):
        if end - start < MIN_INTRON or not transcript.spliced:
            continue
        yield row((start, end), "intron")
        if transcript.strand:
            low, high = (start, start + SPLICE_SITE), (end - SPLICE_SITE, end)
            donor, acceptor = (low, high) if transcript.strand > 0 else (high, low)
            yield row(donor, "splice_donor")
            yield row(acceptor, "splice_acceptor")
    if not transcript.strand:
        return
    left, right = _outside_cds(blocks, transcript.cds)
    utr5, utr3 = (left, right) if transcript.strand > 0 else (right, left)
    for piece in utr5:
        yield row(piece, "UTR5")
    for piece in utr3:
        yield row(piece, "UTR3")
    if not transcript.open_start and (utr5 or not transcript.cds):
        first = blocks[0][0] if transcript.strand > 0 else blocks[-1][1] - 1
        yield row((first, first + 1), "TSS")


def _outside_cds(
    exons: list[Interval], cds: tuple[Interval, ...]
) -> tuple[list[Interval], list[Interval]]:
    """Pieces of exons left of the first and right of the last coding base; none without CDS."""
    if not cds:
        return [], []
    first, last = min(start for start, _ in cds), max(end for _, end in cds)
    left = [(start, min(end, first)) for start, end in exons if start < first]
    right = [(max(start, last), end) for start, end in exons if end > last]
    return left, right


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Sorted union of intervals; those that touch become one.

    Examples
    --------
    >>> merged([(8, 9), (0, 3), (3, 5), (4, 6)])
    [(0, 6), (8, 9)]
    """
    union: list[Interval] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union
