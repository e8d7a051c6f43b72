"""GenBank flat files: records, and the gene models of their features.

Biopython reads one record at a time. Its leniency is not taken over: a record whose bases are
missing or do not add up to its LOCUS line, or that has no end mark, is refused.
"""

import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa
from Bio import BiopythonWarning, SeqIO
from Bio.Seq import UndefinedSequenceError
from Bio.SeqFeature import SeqFeature, UnknownPosition

from annotations.compression import numbered_lines
from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.records import WHAT, Limits, Record, RecordBuilder
from annotations.transcripts import (
    MIN_INTRON,
    SPLICE_SITE,
    GeneModels,
    Interval,
    Row,
    Transcript,
    gene_table,
    merged,
    transcript_rows,
)

MAX_RECORD = 100_000_000
"""Characters of one GenBank record, some 50 Mb of sequence; Biopython holds all of it in memory
several times over, so larger ones are to be sent as FASTA and GFF3."""

_LINE_COST = 40  # characters a line counts for beside its own, since short lines cost as much time

_LOCUS = re.compile(r"LOCUS\s+(\S.*?)\s+(\d+)\s+(bp|aa|rc)\b")
_NAME_QUALIFIERS = ("gene", "locus_tag", "standard_name", "protein_id", "product")
_TRANSCRIPTS = frozenset(
    {
        "mRNA",
        "tRNA",
        "rRNA",
        "ncRNA",
        "misc_RNA",
        "snRNA",
        "snoRNA",
        "tmRNA",
        "precursor_RNA",
        "prim_transcript",
    }
)
_LOOSE = frozenset({"exon", "intron"})
_READ: Any = SeqIO.read  # Biopython has types in part only
# What Biopython raises on text it cannot follow; it has no error of its own for it.
_PARSER_ERRORS = (ValueError, TypeError, LookupError, AttributeError, AssertionError)


def read_genbank(text: Iterable[bytes], limits: Limits) -> tuple[list[Record], pa.Table]:
    """Read GenBank records and their genes.

    Parameters
    ----------
    text : iterable of bytes
        The file, decompressed, in pieces of any size.

    Returns
    -------
    records : list of Record
    genes : pyarrow.Table
        `annotations.transcripts.GENES_SCHEMA`; contigs are numbered as `records`.

    Raises
    ------
    FormatError
        If a record is cut, cannot be parsed, is protein, or has no bases or not as many as its
        LOCUS line says; and as `RecordBuilder`.
    CoordinateError
        If a feature lies outside its record.
    LimitError
        If `limits` or `MAX_RECORD` are passed.
    """
    builder = RecordBuilder(limits)
    models = GeneModels()
    for contig, entry in enumerate(_entries(text)):
        parsed = _parse(entry, contig + 1)
        builder.begin(_name(parsed), " ".join(parsed.description.split()))
        builder.add(bytes(parsed.seq))
        genes_of_record(parsed, contig, models)
    builder.end()
    return builder.records, gene_table(models)


def _entries(text: Iterable[bytes]) -> Iterator[str]:
    """Whole entries, each from LOCUS to its end mark `//`."""
    entry: list[str] = []
    size = 0
    count = 0
    for _, line in numbered_lines(text, what=WHAT):
        size += len(line) + _LINE_COST
        if size > MAX_RECORD:
            raise LimitError(
                f"GenBank record {count + 1} has more than {MAX_RECORD:,} characters; send it as "
                "FASTA with a GFF3 annotation"
            )
        if not line.strip():
            continue
        entry.append(line)
        if line.rstrip() == "//":
            count += 1
            yield "\n".join(entry) + "\n"
            entry, size = [], 0
    if entry:
        raise FormatError(
            f"GenBank record {count + 1} is cut: it has no end mark '//'; upload the whole file"
        )


def _parse(entry: str, number: int) -> Any:
    locus = _LOCUS.match(entry)
    if locus is None:
        raise FormatError(
            f"GenBank record {number} does not start with a LOCUS line that says its name and "
            "length in bp"
        )
    name, length, unit = locus[1].split()[0], int(locus[2]), locus[3]
    if unit == "aa":
        raise FormatError(f"GenBank record {name!r} is protein; DNA or RNA is read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BiopythonWarning)  # what matters is checked below
            record = _READ(io.StringIO(entry), "genbank")
        found = len(bytes(record.seq))
    except UndefinedSequenceError as error:
        raise FormatError(
            f"GenBank record {name!r} has no bases (CONTIG or WGS entries only refer to them); "
            "download it as 'GenBank (full)'"
        ) from error
    except _PARSER_ERRORS as error:
        raise FormatError(
            f"GenBank record {name!r} cannot be parsed ({type(error).__name__} in Biopython); "
            "check its layout or send FASTA with a GFF3"
        ) from error
    if found != length:
        raise FormatError(
            f"GenBank record {name!r} has {found} bases where its LOCUS line says {length}; "
            "it may be cut"
        )
    return record


def _name(record: Any) -> str:
    """VERSION or ACCESSION, else the LOCUS name."""
    return str(record.name if record.id in {"", ".", "<unknown id>"} else record.id)


class _Placed(NamedTuple):
    """A feature with a usable location."""

    kind: str
    strand: int
    exons: tuple[Interval, ...]
    name: str
    identifier: str
    open_start: bool
    pseudo: bool


def genes_of_record(record: Any, contig: int, models: GeneModels) -> None:
    """Add the genes of one record to `models`.

    Joins of mRNA, other RNA and CDS features are exons; gaps between them are introns. A CDS
    belongs to the first mRNA of the same gene that holds all of it, else it is a transcript of its
    own. Exon and intron features are taken where no join says the same. Left out and counted:
    locations in other records, unknown positions, parts on both strands (trans-splicing), parts
    that are not in order (across the origin), `order()`.

    Raises
    ------
    CoordinateError
        If a feature lies outside the record.
    """
    by_kind: dict[str, list[_Placed]] = defaultdict(list)
    for feature in record.features:
        kind = str(feature.type)
        if kind in _TRANSCRIPTS | _LOOSE | {"CDS", "gene"}:
            placed = _placed(feature, len(record.seq), _name(record))
            if isinstance(placed, str):
                models.skipped[placed] += 1
            else:
                by_kind["transcript" if kind in _TRANSCRIPTS else kind].append(placed)
    found = _transcripts(by_kind["transcript"], by_kind["CDS"], contig)
    models.transcripts += found
    if by_kind["gene"]:
        genes = [(_extent(gene.exons), gene.strand, gene.name) for gene in by_kind["gene"]]
    else:
        genes = [(_extent(one.exons), one.strand, one.name) for one in found]
    models.rows += [
        Row(contig, *extent, strand, "gene", name, "") for extent, strand, name in genes
    ]
    known = {
        (row.kind, row.start, row.end)
        for transcript in found
        for row in transcript_rows(transcript)
    }
    for loose in by_kind["exon"] + by_kind["intron"]:
        for interval in loose.exons:
            if (loose.kind, *interval) not in known:
                models.rows += _loose_rows(loose, interval, contig)


def _placed(feature: SeqFeature, length: int, record: str) -> _Placed | str:
    """A feature's exons and names, or the reason why they cannot be told."""
    location = feature.location
    if location is None:
        return "features with a location that cannot be parsed"
    parts = location.parts
    if any(part.ref is not None for part in parts):
        return "features that refer to other records"
    if any(isinstance(end, UnknownPosition) for part in parts for end in (part.start, part.end)):
        return "features with unknown positions"
    strands = {part.strand for part in parts}
    if len(strands) > 1 or "trans_splicing" in feature.qualifiers:
        return "trans-spliced features"
    if getattr(location, "operator", "join") != "join":
        return "features whose parts are not joined (order)"
    strand = int(strands.pop() or 0)
    exons = tuple((int(part.start), int(part.end)) for part in parts)
    # Biopython lists the parts in the sense of the strand.
    inward = [start for start, _ in (exons if strand >= 0 else exons[::-1])]
    if inward != sorted(inward):
        return "features across the origin of a circular sequence"
    low, high = _extent(exons)
    if low < 0 or high > length or any(start >= end for start, end in exons):
        raise CoordinateError(
            f"record {record!r}: a {feature.type} feature at {low + 1}..{high} lies outside its "
            f"{length} bases or is reversed"
        )
    first = parts[0].start if strand >= 0 else parts[0].end
    names = (feature.qualifiers.get(key, [""])[0] for key in _NAME_QUALIFIERS)
    identifiers = (feature.qualifiers.get(key, [""])[0] for key in ("transcript_id", "protein_id"))
    return _Placed(
        str(feature.type),
        strand,
        exons,
        next(filter(None, names), ""),
        next(filter(None, identifiers), ""),
        open_start=type(first).__name__ in {"BeforePosition", "AfterPosition"},
        pseudo=not {"pseudo", "pseudogene"}.isdisjoint(feature.qualifiers),
    )


def _extent(exons: Sequence[Interval]) -> Interval:
    return min(start for start, _ in exons), max(end for _, end in exons)


def _transcripts(
    transcripts: Sequence[_Placed], codings: Sequence[_Placed], contig: int
) -> list[Transcript]:
    """Pair each CDS with an mRNA that holds it; what stays alone is its own transcript."""
    cds_of: dict[int, _Placed] = {}
    alone = []
    for coding in codings:
        home = next(
            (
                index
                for index, transcript in enumerate(transcripts)
                if index not in cds_of and transcript.kind == "mRNA" and _holds(transcript, coding)
            ),
            None,
        )
        if home is None:
            alone.append(coding)
        else:
            cds_of[home] = coding
    found = []
    for index, transcript in enumerate(transcripts):
        cds = cds_of[index].exons if index in cds_of else ()
        found.append(_transcript(transcript, cds, contig))
    return found + [_transcript(coding, coding.exons, contig) for coding in alone]


def _transcript(placed: _Placed, cds: tuple[Interval, ...], contig: int) -> Transcript:
    return Transcript(
        contig,
        placed.strand,
        placed.name,
        placed.identifier,
        placed.exons,
        cds,
        open_start=placed.open_start,
        spliced=not (placed.pseudo and placed.kind == "CDS"),
    )


def _holds(transcript: _Placed, coding: _Placed) -> bool:
    """Whether all coding pieces lie in exons and no intron of the two contradicts the other."""
    if transcript.strand != coding.strand or transcript.name != coding.name:
        return False
    exons, pieces = merged(transcript.exons), merged(coding.exons)
    low, high = _extent(pieces)
    clipped = [
        (max(start, low), min(end, high)) for start, end in exons if start < high and end > low
    ]
    return _gaps(clipped) == _gaps(pieces) and _extent(clipped) == (low, high) if clipped else False


def _gaps(blocks: Sequence[Interval]) -> list[Interval]:
    gaps = [(left[1], right[0]) for left, right in pairwise(blocks)]
    return [gap for gap in gaps if gap[1] - gap[0] >= MIN_INTRON]


def _loose_rows(placed: _Placed, interval: Interval, contig: int) -> Iterator[Row]:
    """Rows of an exon or intron feature that belongs to no transcript."""
    start, end = interval
    yield Row(contig, start, end, placed.strand, placed.kind, placed.name, "")
    if placed.kind == "intron" and placed.strand and end - start >= MIN_INTRON:
        low, high = (start, start + SPLICE_SITE), (end - SPLICE_SITE, end)
        donor, acceptor = (low, high) if placed.strand > 0 else (high, low)
        yield Row(contig, *donor, placed.strand, "splice_donor", placed.name, "")
        yield Row(contig, *acceptor, placed.strand, "splice_acceptor", placed.name, "")
