"""Interval concepts of a genome: which of exon, start codon, ChIP peak, ... each base lies in.

    genes --gene_tracks-->  ConceptTracks  <--bed_tracks-- intervals of a user (and background)

A label is a concept and an orientation, seen from a pass over one strand: "same" is a base in an
interval on the strand that is read, "opposite" on the other one, "either" in any, those
without a strand among them. Coordinates are 0-based and half-open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.compression import lines
from annotations.errors import CoordinateError, FormatError
from annotations.gene_formats import Placement, read_bed
from annotations.genes import MAX_BYTES
from annotations.tables import check_columns, column
from annotations.types import Contig

Orientation = Literal["same", "opposite", "either"]
ORIENTATIONS: Final[tuple[Orientation, ...]] = ("same", "opposite", "either")

INTERGENIC: Final = "intergenic"
BED: Final = "bed"
"""The concept of a user's intervals that were given no other name."""

GENE_CONCEPTS: Final = (
    "start_codon",
    "stop_codon",
    "splice_donor",
    "splice_acceptor",
    "exon_first_base",
    "exon_last_base",
    "TSS",
    "UTR5",
    "UTR3",
    "CDS",
    "exon",
    "intron",
    "gene",
    "region",
    INTERGENIC,
)
"""Concepts of a gene annotation, the most specific first. Coding ends and the first and last
bases of exons follow from the CDS and exon rows; `INTERGENIC` is a base in none of the others."""

INTERVALS_SCHEMA: Final = pa.schema(
    [
        pa.field("contig", pa.uint32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
    ]
)
"""Intervals of a user: `strand` +1, -1 or 0 (none given)."""

_CODON = 3
_STRANDS = (1, -1, 0)  # a concept has one bit for intervals of each


class Label(NamedTuple):
    """What a base is asked about."""

    concept: str
    orientation: Orientation


@dataclass(frozen=True, eq=False)
class ConceptTracks:
    """The concepts at every base of some sequences, as few different sets ("classes")."""

    labels: tuple[Label, ...]
    """Every label that some base has, by concept, then in the order of `ORIENTATIONS`."""
    lengths: tuple[int, ...]
    """Bases of each contig."""
    starts: NDArray[np.int64]
    """First base of each stretch of one class; contigs lie end to end; shape (stretches,)."""
    classes: NDArray[np.uint16]
    """Class of each stretch, shape (stretches,)."""
    members: NDArray[np.bool_]
    """Whether a class has a label on a pass over strand + and -, shape (2, classes, labels)."""
    counted: NDArray[np.bool_]
    """Whether bases of a class take part at all, shape (classes,); all do without a background."""

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Place of the first base of each contig, and of the end; shape (contigs + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """End of each stretch, shape (stretches,)."""
        return np.append(self.starts[1:], self.offsets[-1])

    def class_of_bases(self) -> NDArray[np.uint16]:
        """Class of every base, shape (bases,): two bytes each."""
        return np.repeat(self.classes, self.ends - self.starts)

    def intervals(
        self, label: int, reverse: int, contigs: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends, as places, of the intervals of a label; those that touch are one.

        Parameters
        ----------
        label : int
            Index in `labels`.
        reverse : {0, 1}
            Strand of the pass: + or -.
        contigs : sequence of int
            Only on these.
        """
        contig = np.searchsorted(self.offsets, self.starts, side="right") - 1
        wanted = np.zeros(len(self.lengths), bool)
        wanted[list(contigs)] = True
        inside = self.members[reverse, self.classes, label] & wanted[contig]
        first = np.diff(contig, prepend=-1) != 0
        begins = inside & (first | ~np.concatenate([[False], inside[:-1]]))
        finishes = inside & (np.append(first[1:], True) | ~np.append(inside[1:], False))
        return self.starts[begins], self.ends[finishes]


def gene_tracks(genes: pa.Table, lengths: Sequence[int]) -> ConceptTracks:
    """The concepts of a gene annotation.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
    lengths : sequence of int
        Bases of each contig.

    Returns
    -------
    tracks : ConceptTracks
        Of `GENE_CONCEPTS`, as far as the annotation has them.

    Raises
    ------
    CoordinateError
        If an interval lies outside its contig.
    """
    named = [name for name in GENE_CONCEPTS if name != INTERGENIC]
    table = pa.concat_tables([_parts(genes), exon_ends(genes), codons(genes)])
    kinds = table["kind"].combine_chunks().dictionary_encode()
    kind = np.array(kinds.dictionary.to_pylist(), dtype=object)[kinds.indices.to_numpy()]
    return _tracks(
        named, [table.filter(pa.array(kind == name)) for name in named], lengths, rest=INTERGENIC
    )


def bed_tracks(
    foreground: pa.Table,
    lengths: Sequence[int],
    *,
    background: pa.Table | None = None,
    concept: str = BED,
) -> ConceptTracks:
    """One concept from the intervals of a user.

    Parameters
    ----------
    foreground : Table of INTERVALS_SCHEMA
        Where the concept is.
    lengths : sequence of int
        Bases of each contig.
    background : Table of INTERVALS_SCHEMA, optional
        Where it is not: bases in neither are then left out of every figure. Without it the
        concept is absent wherever `foreground` is.
    concept : str
        Its name.

    Raises
    ------
    CoordinateError
        If an interval lies outside its contig.
    FormatError
        If there is no interval.
    """
    if not foreground.num_rows or (background is not None and not background.num_rows):
        raise FormatError("there are no intervals on the sequences; give at least one")
    return _tracks([concept], [foreground], lengths, background=background)


def read_intervals(
    source: BinaryIO | Path, contigs: Sequence[Contig], *, max_bytes: int = MAX_BYTES
) -> pa.Table:
    """Read a BED file, plain, gzip or bgzip: BED3 and more, narrowPeak and broadPeak too.

    Of a BED12 line the whole range is the interval.

    Parameters
    ----------
    source : binary file or Path
        Read to its end.
    contigs : sequence of Contig
        Their order numbers the contigs; lines on others are passed over.
    max_bytes : int
        Decompressed bytes allowed.

    Returns
    -------
    intervals : Table of INTERVALS_SCHEMA
        Sorted, each once.

    Raises
    ------
    FormatError, CoordinateError
        With the line number, or where no line lies on the sequences.
    LimitError
        If the file is larger than `max_bytes`.
    """
    placement = Placement(contigs, what="BED")
    models = read_bed(lines(source, max_bytes=max_bytes, what="BED file"), placement)
    placement.require_match()
    rows = sorted({(row.contig, row.start, row.end, row.strand) for row in models.rows})
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=INTERVALS_SCHEMA)


def exon_ends(genes: pa.Table) -> pa.Table:
    """The first and the last base of every exon, in the sense of its gene.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`

    Returns
    -------
    ends : Table
        Columns of INTERVALS_SCHEMA and `kind`: exon_first_base, exon_last_base. Exons without a
        strand give none.
    """
    exons = genes.filter(pc.and_(pc.equal(genes["kind"], "exon"), pc.not_equal(genes["strand"], 0)))
    contig, strand = column(exons, "contig"), column(exons, "strand")
    low, high = column(exons, "start"), column(exons, "end") - 1
    forward = strand > 0
    first, last = np.where(forward, low, high), np.where(forward, high, low)
    return pa.concat_tables(
        [
            _kind_table(contig, first, first + 1, strand, "exon_first_base"),
            _kind_table(contig, last, last + 1, strand, "exon_last_base"),
        ]
    )


def codons(genes: pa.Table) -> pa.Table:
    """The first and the last three coding bases of every transcript, in the sense of its gene.

    The stop codon is part of the CDS, as in GFF3 and BED12. A codon that an intron cuts gives
    two intervals. Transcripts marked as incomplete are not told apart from whole ones.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`

    Returns
    -------
    codons : Table
        Columns of INTERVALS_SCHEMA and `kind`: start_codon, stop_codon. A transcript without a
        strand or with fewer than three coding bases gives none.
    """
    coding = genes.filter(pc.and_(pc.equal(genes["kind"], "CDS"), pc.not_equal(genes["strand"], 0)))
    pieces: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    names = ("contig", "strand", "name", "transcript", "start", "end")
    for *transcript, start, end in zip(*(coding[name].to_pylist() for name in names), strict=True):
        pieces.setdefault(tuple(transcript), []).append((start, end))
    rows = []
    for (contig, strand, *_), spans in pieces.items():
        spans.sort()
        if sum(end - start for start, end in spans) < _CODON:
            continue
        kinds = ("start_codon", "stop_codon") if strand == 1 else ("stop_codon", "start_codon")
        rows += [(contig, start, end, strand, kinds[0]) for start, end in _leading(spans)]
        mirrored = [(-end, -start) for start, end in reversed(spans)]
        rows += [(contig, -end, -start, strand, kinds[1]) for start, end in _leading(mirrored)]
    columns = list(map(list, zip(*rows, strict=True))) or [[]] * len(_KIND_SCHEMA)
    return pa.table(columns, schema=_KIND_SCHEMA)


_KIND_SCHEMA = INTERVALS_SCHEMA.append(pa.field("kind", pa.string()))


def _leading(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first three bases of sorted spans."""
    missing, found = _CODON, []
    for start, end in spans:
        taken = min(missing, end - start)
        if taken > 0:
            found.append((start, start + taken))
        missing -= taken
    return found


def _parts(genes: pa.Table) -> pa.Table:
    return genes.select(_KIND_SCHEMA.names).cast(_KIND_SCHEMA)


def _kind_table(
    contig: NDArray[np.uint32],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    strand: NDArray[np.int8],
    kind: str,
) -> pa.Table:
    kinds = pa.array([kind] * len(start), pa.string())
    return pa.table([contig, start, end, strand, kinds], schema=_KIND_SCHEMA)


def _tracks(
    names: Sequence[str],
    parts: Sequence[pa.Table],
    lengths: Sequence[int],
    *,
    rest: str | None = None,
    background: pa.Table | None = None,
) -> ConceptTracks:
    """Tracks of one table of intervals for each name; `rest` names the bases in none."""
    if not sum(lengths):
        raise CoordinateError("concepts need sequence, got 0 bases")
    bits = [_Bits(part, 3 * at) for at, part in enumerate(parts)]
    if background is not None:
        bits.append(_Bits(background, 3 * len(parts), stranded=False))
    edges, sets = [], []
    offset = 0
    for contig, length in enumerate(lengths):
        first, held = _stretches(bits, contig, length)
        edges.append(first + offset)
        sets.append(held)
        offset += length
    distinct, classes = np.unique(np.concatenate(sets), return_inverse=True)
    bit_set = (distinct[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) > 0
    labels, members = [], []
    for at, name in enumerate(names):
        plus, minus, none = bit_set[:, 3 * at : 3 * at + 3].T
        either = plus | minus | none
        by_pass = ((plus, minus), (minus, plus), (either, either))
        for orientation, has in zip(ORIENTATIONS, by_pass, strict=True):
            if has[0].any() or has[1].any():
                labels.append(Label(name, orientation))
                members.append(has)
    nowhere = distinct == 0
    if rest is not None and nowhere.any():
        labels.append(Label(rest, "either"))
        members.append((nowhere, nowhere))
    return ConceptTracks(
        labels=tuple(labels),
        lengths=tuple(lengths),
        starts=np.concatenate(edges),
        classes=classes.astype(np.uint16),
        members=np.array(members, bool).reshape(len(labels), 2, -1).transpose(1, 2, 0),
        counted=np.ones(len(distinct), bool) if background is None else ~nowhere,
    )


class _Bits:
    """Intervals as arrays, each with the bit that its strand sets."""

    def __init__(self, table: pa.Table, first: int, *, stranded: bool = True) -> None:
        check_columns(table, INTERVALS_SCHEMA, what="a table of intervals")
        self.contig, self.start, self.end = (
            column(table, name) for name in ("contig", "start", "end")
        )
        strand = column(table, "strand") if stranded else np.zeros(table.num_rows, np.int8)
        self.bit = first + np.array([_STRANDS.index(int(s)) for s in strand], np.int64)


def _stretches(
    bits: Sequence[_Bits], contig: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Stretches of one contig over which the same bits are set: starts, and bits of each."""
    here = [one.contig == contig for one in bits]
    start = np.concatenate([one.start[at] for one, at in zip(bits, here, strict=True)])
    end = np.concatenate([one.end[at] for one, at in zip(bits, here, strict=True)])
    bit = np.concatenate([one.bit[at] for one, at in zip(bits, here, strict=True)])
    if len(start) and (start.min() < 0 or end.max() > length or (start >= end).any()):
        raise CoordinateError(
            f"an interval on contig {contig} is empty or outside its {length} bases; is the file "
            "of another assembly?"
        )
    edges = np.unique(np.concatenate([[0], start, end, [length]]))
    sets = np.zeros(len(edges), np.uint64)
    for one in np.unique(bit):
        mine = bit == one
        depth = np.zeros(len(edges), np.int64)
        np.add.at(depth, np.searchsorted(edges, start[mine]), 1)
        np.add.at(depth, np.searchsorted(edges, end[mine]), -1)
        sets |= (np.cumsum(depth) > 0).astype(np.uint64) << np.uint64(one)
    return edges[:-1].astype(np.int64), sets[:-1]
