"""Readers of GFF3 and GTF: numbered lines -> `GeneModels`.

Both have nine columns; they differ in how pieces are tied together: GFF3 by Parent, GTF by
gene_id and transcript_id. Attributes are read as they stand; nothing is guessed from names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from annotations.errors import FormatError
from annotations.gene_formats import OTHER_CONTIG, Line, Placement, strand_sign, whole_number
from annotations.transcripts import GeneModels, Interval, Row, Transcript, merged

_GTF_ATTRIBUTE = re.compile(r'([\w.-]+) +(?:"([^"]*)"|([^";\s]+))')
_GTF_KEYS = frozenset({"gene_id", "gene_name", "gene", "transcript_id"})
_GFF3_ATTRIBUTE = re.compile(
    r"(?:^|;) *(ID|Parent|Name|gene|locus_tag|exception|pseudo|start_range|end_range|Is_circular)="
    r"([^;]*)"
)
_GFF3_UTR = frozenset({"five_prime_UTR", "three_prime_UTR", "UTR"})
_GTF_UTR = frozenset({"UTR", "5UTR", "3UTR", "five_prime_utr", "three_prime_utr"})
_NOT_TRANSCRIPTS = frozenset({"protein", "polypeptide"})


class _Entry(NamedTuple):
    """A line of GFF3 or GTF on a contig of the submission."""

    line: int
    contig: int
    kind: str
    start: int
    end: int
    strand: int
    attributes: dict[str, str]

    @property
    def interval(self) -> Interval:
        return self.start, self.end


def _entries(
    lines: Iterable[Line], placement: Placement, models: GeneModels, *, gtf: bool
) -> Iterator[_Entry]:
    for number, text in lines:
        if text.startswith(("##FASTA", ">")):
            return
        if not text.strip() or text.startswith("#"):
            continue
        fields = text.split("\t")
        if len(fields) != 9:
            raise FormatError(
                f"annotation line {number}: {'GTF' if gtf else 'GFF3'} has 9 columns separated by "
                f"tabs, got {len(fields)}"
            )
        seqid = fields[0] if gtf else unquote(fields[0])
        attributes = _gtf_attributes(fields[8]) if gtf else _gff3_attributes(fields[8], number)
        start = whole_number(fields[3], "start", number) - 1
        end = whole_number(fields[4], "end", number)
        strand = strand_sign(fields[6], number)
        if attributes.get("Is_circular") == "true":
            placement.call_circular(seqid)
        if placement.crosses_origin(seqid, start, end):
            models.skipped["features across the origin of a circular sequence"] += 1
            continue
        contig = placement.find(seqid, start, end, number)
        if contig is None:
            models.skipped[OTHER_CONTIG] += 1
            continue
        yield _Entry(number, contig, fields[2], start, end, strand, attributes)


def _gff3_attributes(text: str, number: int) -> dict[str, str]:
    """The attributes that are used, decoded; `Parent` keeps its commas encoded until split.

    Other attributes are not looked at: files in use have free text with bare semicolons there.
    """
    if "=" not in text and text.strip() not in {"", "."}:
        raise FormatError(
            f"annotation line {number}: an attribute of GFF3 is written key=value, but the "
            f"{len(text)} characters of the ninth column hold no '='"
        )
    return {
        key: value if key == "Parent" else unquote(value)
        for key, value in _GFF3_ATTRIBUTE.findall(text)
    }


def _gtf_attributes(text: str) -> dict[str, str]:
    return {
        key: quoted or bare
        for key, quoted, bare in _GTF_ATTRIBUTE.findall(text)
        if key in _GTF_KEYS
    }


class _Parts:
    """The pieces of one transcript, as they are met."""

    def __init__(self) -> None:
        self.exons: list[_Entry] = []
        self.cds: list[_Entry] = []
        self.utrs: list[_Entry] = []
        self.itself: list[_Entry] = []
        """The transcript's own line."""

    def transcript(self, name: str, identifier: str, models: GeneModels) -> None:
        """Add the transcript to `models`, or count why it is left out."""
        pieces = self.exons or self.cds + self.utrs or self.itself
        everything = pieces + self.cds
        if len({(piece.contig, piece.strand) for piece in everything}) > 1 or any(
            piece.attributes.get("exception") == "trans-splicing" for piece in everything
        ):
            models.skipped["trans-spliced transcripts"] += 1
            return
        contig, strand = pieces[0].contig, pieces[0].strand
        exons = merged(piece.interval for piece in pieces)
        cds = tuple(merged(piece.interval for piece in self.cds))
        outermost = exons[0][0] if strand > 0 else exons[-1][1]
        models.transcripts.append(
            Transcript(
                contig,
                strand,
                name,
                identifier,
                tuple(exons),
                cds,
                open_start=any(_is_open(piece, outermost) for piece in self.itself + pieces),
                spliced=bool(self.exons)
                or all(piece.attributes.get("pseudo") != "true" for piece in self.cds),
            )
        )


def _is_open(entry: _Entry, outermost: int) -> bool:
    """Whether NCBI's `start_range=.,x` or `end_range=x,.` marks the 5' end as incomplete."""
    if entry.strand > 0:
        return entry.start == outermost and entry.attributes.get("start_range", "").startswith(".")
    return entry.end == outermost and entry.attributes.get("end_range", "").endswith(".")


def _is_gene(kind: str) -> bool:
    return kind in {"gene", "pseudogene"} or kind.endswith("_gene")


def _is_transcript(kind: str) -> bool:
    return kind.endswith("RNA") or "transcript" in kind


def read_gff3(lines: Iterable[Line], placement: Placement) -> GeneModels:
    """Read GFF3 by its Parent structure.

    Exons and CDS belong to each of their parents, be it a transcript or a gene; a transcript
    without exon lines has its CDS and UTR pieces as exons, one without any pieces is one exon.
    Several CDS under one gene without transcripts between are a transcript per CDS id. A gene's
    name is its `Name`, else `gene`, `locus_tag` or ID.

    Raises
    ------
    FormatError, CoordinateError
        With the number of the first wrong line.
    """
    models = GeneModels()
    known: dict[str, _Entry] = {}
    parts: dict[tuple[str, str], _Parts] = defaultdict(_Parts)
    for entry in _entries(lines, placement, models, gtf=False):
        identifier = entry.attributes.get("ID", "")
        parents = [unquote(name) for name in entry.attributes.get("Parent", "").split(",") if name]
        if entry.kind in {"exon", "CDS"} or entry.kind.endswith("_exon") or entry.kind in _GFF3_UTR:
            for parent in parents or [identifier or f"line {entry.line}"]:
                split = identifier if entry.kind == "CDS" else ""
                _add_piece(parts[parent, split], entry)
            continue
        if identifier:
            known.setdefault(identifier, entry)
        if _is_transcript(entry.kind):
            parts[identifier or f"line {entry.line}", ""].itself.append(entry)
        elif _is_gene(entry.kind):
            name = _gff3_name(entry) or identifier
            models.rows.append(Row(entry.contig, *entry.interval, entry.strand, "gene", name, ""))
    for (parent, split), pieces in _joined(parts, known).items():
        owner = known.get(parent)
        if owner is not None and owner.kind in _NOT_TRANSCRIPTS:
            continue
        gene = _top(parent, known)
        first = (pieces.exons + pieces.cds + pieces.utrs + pieces.itself)[0]
        name = (_gff3_name(gene) if gene else _gff3_name(first)) or parent
        pieces.transcript(name, split or parent, models)
    return models


def _add_piece(parts: _Parts, entry: _Entry) -> None:
    if entry.kind == "CDS":
        parts.cds.append(entry)
    elif entry.kind in _GFF3_UTR or entry.kind in _GTF_UTR:
        parts.utrs.append(entry)
    else:
        parts.exons.append(entry)


def _joined(
    parts: dict[tuple[str, str], _Parts], known: dict[str, _Entry]
) -> dict[tuple[str, str], _Parts]:
    """Bring each CDS to the exons of its parent, unless the parent is a gene with several CDS."""
    coding: dict[str, list[str]] = defaultdict(list)
    for parent, split in parts:
        if parts[parent, split].cds:
            coding[parent].append(split)
    joined: dict[tuple[str, str], _Parts] = {}
    for (parent, split), pieces in parts.items():
        owner = known.get(parent)
        under_gene = owner is not None and _is_gene(owner.kind)
        if not under_gene or len(coding[parent]) == 1:
            home = joined.setdefault((parent, ""), _Parts())
        else:
            home = joined.setdefault((parent, split), _Parts())
        home.exons += pieces.exons
        home.cds += pieces.cds
        home.utrs += pieces.utrs
        home.itself += pieces.itself
    return joined


def _top(identifier: str, known: dict[str, _Entry]) -> _Entry | None:
    """The outermost ancestor of a feature that is in the file; None if it is not there itself."""
    entry = known.get(identifier)
    for _ in range(10):  # deeper than any real gene model; ends a cycle of parents
        if entry is None:
            return None
        parent = unquote(entry.attributes.get("Parent", "").split(",")[0])
        if parent not in known:
            return entry
        entry = known[parent]
    return entry


def _gff3_name(entry: _Entry) -> str:
    attributes = entry.attributes
    return next(
        (attributes[key] for key in ("Name", "gene", "locus_tag", "ID") if attributes.get(key)), ""
    )


def read_gtf(lines: Iterable[Line], placement: Placement) -> GeneModels:
    """Read GTF by gene_id and transcript_id.

    The stop codon, which GTF keeps apart, is counted as CDS as in the other formats. A gene's
    name is its `gene_name`, else `gene` or gene_id; where a file has no gene lines, a gene is the
    extent of its transcripts.

    Raises
    ------
    FormatError, CoordinateError
        With the number of the first wrong line.
    """
    models = GeneModels()
    parts: dict[tuple[int, str], _Parts] = defaultdict(_Parts)
    names: dict[tuple[int, str], str] = {}
    extents: dict[tuple[int, int, str], Interval] = {}
    genes: list[Row] = []
    for entry in _entries(lines, placement, models, gtf=True):
        gene = entry.attributes.get("gene_id") or entry.attributes.get("gene_name", "")
        name = entry.attributes.get("gene_name") or entry.attributes.get("gene") or gene
        if entry.kind == "gene":
            genes.append(Row(entry.contig, *entry.interval, entry.strand, "gene", name, ""))
            continue
        if entry.kind not in {"transcript", "exon", "CDS", "stop_codon"} | _GTF_UTR:
            continue
        transcript = entry.attributes.get("transcript_id") or gene
        if not transcript:
            raise FormatError(
                f"annotation line {entry.line}: {entry.kind} has no transcript_id and no gene_id"
            )
        pieces = parts[entry.contig, transcript]
        if entry.kind == "transcript":
            pieces.itself.append(entry)
        elif entry.kind == "stop_codon":
            pieces.cds.append(entry)
        else:
            _add_piece(pieces, entry)
        names[entry.contig, transcript] = name
        place = (entry.contig, entry.strand, name)
        start, end = extents.get(place, entry.interval)
        extents[place] = (min(start, entry.start), max(end, entry.end))
    for key, pieces in parts.items():
        pieces.transcript(names[key], key[1], models)
    models.rows += genes or [
        Row(contig, *extent, strand, "gene", name, "")
        for (contig, strand, name), extent in extents.items()
    ]
    return models
